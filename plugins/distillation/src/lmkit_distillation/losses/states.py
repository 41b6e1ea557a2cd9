"""Losses on hidden states and embeddings, with a learnt projection where widths differ.

Shapes: B texts, L tokens, W and W' the widths of student and teacher.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["hidden_cosine", "hidden_mse", "projection"]


def projection(student: int, teacher: int) -> nn.Module:
    """What turns the student's states into the teacher's width: nothing where they agree.

    A linear map without bias, learnt with the student and thrown away afterwards, as W_h and W_e
    of TinyBERT (Jiao et al. 2020, arXiv:1909.10351, equations 8 and 9).
    """
    return nn.Identity() if student == teacher else nn.Linear(student, teacher, bias=False)


def hidden_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum over real tokens of the mean over the width of (h W - h')^2.

    Args:
        student: (B, L, W'), projected.
        teacher: (B, L, W').
        mask: (B, L) bool, real tokens.
    """
    a, b = student[mask].float(), teacher[mask].float()
    return (a - b).square().mean(-1).sum()


def hidden_cosine(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum over real tokens of 1 - cos(h W, h'): DistilBERT, Sanh et al. 2019, arXiv:1910.01108."""
    a, b = student[mask].float(), teacher[mask].float()
    return (1 - torch.cosine_similarity(a, b, dim=-1)).sum()
