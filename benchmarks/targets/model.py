# SPDX-License-Identifier: MIT
"""A small language model of the blocks of ../h200/pytorch_llama.py."""
import sys
from pathlib import Path

from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "h200"))
from pytorch_llama import Block  # noqa: E402


class Model(nn.Module):
    def __init__(self, layers, width, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, 32, 8, 14336) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
