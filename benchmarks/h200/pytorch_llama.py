# SPDX-License-Identifier: MIT
"""A PyTorch service to checkpoint: a Llama-shaped model (8 billion parameters, 15 GiB in bf16) with random weights.

It answers the same prompt over and over. Outside programs watch it through a small file that it maps:
  u64 steps      forward passes done so far (0: not ready yet)
  u64 digest     of the logits of the last pass, bit for bit
  u64 weights    digest of every byte of the weights, computed on request
  u64 requested  the outside counts this up to ask for `weights`
  u64 answered   set to `requested` once `weights` is there
"""
import argparse
import hashlib
import mmap
import os
import struct
import time

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, heads, key_heads):
        super().__init__()
        self.heads, self.key_heads, self.head_width = heads, key_heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, key_heads * self.head_width, bias=False)
        self.value = nn.Linear(width, key_heads * self.head_width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        shape = lambda t, heads: t.view(batch, length, heads, self.head_width).transpose(1, 2)
        query = shape(self.query(x), self.heads)
        key = shape(self.key(x), self.key_heads)
        value = shape(self.value(x), self.key_heads)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width, heads, key_heads, inner):
        super().__init__()
        self.attention_norm, self.feed_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads, key_heads)
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        y = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, layers, width=4096, heads=32, key_heads=8, inner=14336, vocabulary=128256):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, key_heads, inner) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(self.move(x, block.up.weight.device))
        return self.head(self.norm(self.move(x, self.head.weight.device)))

    def move(self, x, device):
        """Between GPUs through the host, unless they may have peer access, which the first direct copy asks for."""
        return x if x.device == device else (x if self.peer else x.cpu()).to(device)

    def spread(self, devices, peer):
        """The blocks in equal parts on the first GPUs, the head on the last of them."""
        self.peer = peer
        places = {block: number * devices // len(self.blocks) for number, block in enumerate(self.blocks)}
        places.update({self.norm: devices - 1, self.head: devices - 1})
        for part, device in places.items():
            if device:
                (part if peer else part.cpu()).to(f"cuda:{device}")
        torch.cuda.empty_cache()


def digest_of(tensor):
    raw = tensor.contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return struct.unpack("<Q", hashlib.sha256(raw).digest()[:8])[0]


def digest_of_weights(model):
    """Reads every byte: position-weighted 64-bit sums of the bits, taken on the device."""
    total = 0
    for parameter in model.parameters():
        words = parameter.detach().view(torch.int16).flatten()
        for start in range(0, words.numel(), 1 << 26):
            part = words[start : start + (1 << 26)].long()
            weights = torch.arange(1, part.numel() + 1, device=part.device)
            total = (total * 1000003 + int((part * weights).sum().item())) % (1 << 64)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", required=True)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--devices", type=int, default=1, help="GPUs to spread the model over")
    parser.add_argument("--peer", action="store_true", help="with peer access between them")
    arguments = parser.parse_args()
    with open(arguments.state, "wb") as file:
        file.truncate(4096)
    file = open(arguments.state, "r+b")
    state = mmap.mmap(file.fileno(), 4096)
    file.close()

    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Llama(arguments.layers)
        model.spread(arguments.devices, arguments.peer)
        tokens = torch.randint(0, 128256, (1, 64))
    steps = 0
    with torch.inference_mode():
        while True:
            digest = digest_of(model(tokens))
            requested, = struct.unpack_from("<Q", state, 24)
            answered, = struct.unpack_from("<Q", state, 32)
            if requested != answered:
                struct.pack_into("<Q", state, 16, digest_of_weights(model))
                torch.cuda.empty_cache()  # what only the digest needed is no part of the service
                struct.pack_into("<Q", state, 32, requested)
            steps += 1
            struct.pack_into("<Q", state, 8, digest)
            struct.pack_into("<Q", state, 0, steps)
            time.sleep(0.001)


if __name__ == "__main__":
    main()
