# SPDX-License-Identifier: MIT
"""Digests of PyTorch's tensors."""
import torch

PART = 1 << 23


def digest_of(tensors, start=0):
    """Reads every byte: sums of the words, each weighted with its place, taken where the tensor is."""
    total = start
    for tensor in tensors:
        words = tensor.detach().contiguous().flatten().view(torch.int16 if tensor.element_size() == 2 else torch.int32)
        for at in range(0, words.numel(), PART):
            part = words[at:at + PART].long()
            weights = torch.arange(1, part.numel() + 1, device=part.device)
            total = (total * 1000003 + int((part * weights).sum().item())) % (1 << 64)
    return total
