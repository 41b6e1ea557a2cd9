"""Losses on attention and on relations, from queries, keys and values of the capture.

Both models stay on SDPA: what their kernels never wrote down is computed here from q and k, one
layer at a time. Shapes: B texts, H heads, L tokens, d head size.
"""

from __future__ import annotations

import math

import torch

from lmkit_distillation.errors import RecipeError

__all__ = ["attention_kl", "attention_mse", "cut_into_heads", "relation_kl"]


def attention_mse(
    student: torch.Tensor, teacher: torch.Tensor, open_: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Sum over real queries of the mean over heads and open keys of the squared score difference.

    TinyBERT (Jiao et al. 2020, arXiv:1909.10351, equation 7) compares scores before the softmax.

    Args:
        student: (B, H, L, L) scores before the softmax.
        teacher: The same.
        open_: Bool, broadcastable to them: pairs that no mask closes.
        rows: (B, L) bool: real queries.
    """
    _same_heads(student, teacher)
    seen = (open_ & rows[:, None, :, None]).expand(student.shape)
    squared = (student.float() - teacher.float()).square()
    squared = torch.where(seen, squared, torch.zeros_like(squared))
    return (squared.sum(-1) / seen.sum(-1).clamp_min(1)).mean(1).sum()


def attention_kl(
    student: torch.Tensor, teacher: torch.Tensor, open_: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Sum over real queries of the mean over heads of KL(teacher's weights || student's).

    MiniLM (Wang et al. 2020, arXiv:2002.10957, equation 5). Arguments as for
    :func:`attention_mse`.
    """
    _same_heads(student, teacher)
    return _row_kl(student.float(), teacher.float(), open_, rows)


def relation_kl(
    student: torch.Tensor, teacher: torch.Tensor, open_: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Sum over real tokens of the mean over relation heads of KL(R_teacher || R_student).

    ``R = softmax(X X^T / sqrt(d))`` of queries, keys or values. Of values: MiniLM, equation 6; of
    all three: MiniLMv2 (Wang et al. 2021, arXiv:2012.15828, equations 1 to 4).

    Args:
        student: (B, R, L, d) vectors cut into R relation heads.
        teacher: (B, R, L, d').
        open_: Bool, broadcastable to (B, R, L, L).
        rows: (B, L) bool.
    """
    mine = student.float() @ student.float().transpose(-1, -2) / math.sqrt(student.shape[-1])
    theirs = teacher.float() @ teacher.float().transpose(-1, -2) / math.sqrt(teacher.shape[-1])
    return _row_kl(mine, theirs, open_, rows)


def cut_into_heads(vectors: torch.Tensor, heads: int, what: str) -> torch.Tensor:
    """(B, H, L, d) to (B, heads, L, H d / heads): all heads side by side, cut anew.

    Raises:
        RecipeError: they don't divide.
    """
    batch, own, length, size = vectors.shape
    if own * size % heads:
        raise RecipeError(
            f"loss.relation_heads is {heads}; it does not divide the {own * size} numbers of the "
            f"{what}.",
            hint="Choose a number that divides both models' widths.",
        )
    joined = vectors.transpose(1, 2).reshape(batch, length, heads, own * size // heads)
    return joined.transpose(1, 2)


def _row_kl(
    student: torch.Tensor, teacher: torch.Tensor, open_: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    # The lowest finite number instead of -inf: a row without any open key has a gradient of 0, not
    # of 0 / 0, and is not counted.
    closed = ~open_.expand(student.shape)
    low = torch.finfo(student.dtype).min
    log_q = torch.log_softmax(student.masked_fill(closed, low), -1)
    log_p = torch.log_softmax(teacher.masked_fill(closed, low), -1)
    terms = (log_p.exp() * (log_p - log_q)).masked_fill(closed, 0.0)
    counted = rows[:, None, :].expand(terms.shape[:-1])
    return torch.where(counted, terms.sum(-1), terms.new_zeros(())).mean(1).sum()


def _same_heads(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise RecipeError(
            f"An attention loss compares head with head; the student has {student.shape[1]} and "
            f"the teacher {teacher.shape[1]}.",
            hint="Use kind = 'relations', which compares models of different heads.",
        )
