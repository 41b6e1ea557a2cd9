"""The beams of a search as a tree, noted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmkit.api import Change, Tree, TreeNode

if TYPE_CHECKING:
    import torch

__all__ = ["BeamWatch"]


@dataclass
class _Node:
    token: int
    parent: int | None
    score: float | None
    children: dict[int, int] = field(default_factory=dict)


class BeamWatch:
    """A logits processor that changes nothing and notes which beams there are at each step.

    It stands last, so that it sees the log-probabilities that the search adds up. A node's score is
    the sum of them from the prompt on: what the search compares before it divides by the length.
    """

    def __init__(self) -> None:
        self._nodes: list[_Node] = []
        self._roots: dict[int, int] = {}
        self._prompt: int | None = None
        self._before: tuple[dict[tuple[int, ...], int], torch.Tensor] | None = None
        self._ended = False

    def end(self) -> None:
        """The search is over: hold nothing on the device. A text made again is not noted again."""
        self._ended, self._before = True, None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Note the rows of ``input_ids`` (beams, length); return ``scores`` as they are."""
        if self._ended:
            return scores
        if self._prompt is None or input_ids.shape[1] < self._prompt:
            self._prompt = input_ids.shape[1]
        rows = [tuple(row[self._prompt :]) for row in input_ids.tolist()]
        for row in rows:
            self._add(row)
        self._before = ({row: at for at, row in reversed(list(enumerate(rows)))}, scores.detach())
        return scores

    def _add(self, written: tuple[int, ...]) -> list[int]:
        """The nodes along a sequence, made where they are missing."""
        path: list[int] = []
        children, parent = self._roots, None
        for place, token in enumerate(written):
            at = children.get(token)
            if at is None:
                at = len(self._nodes)
                self._nodes.append(_Node(token, parent, self._score(written[: place + 1], parent)))
                children[token] = at
            path.append(at)
            children, parent = self._nodes[at].children, at
        return path

    def _score(self, written: tuple[int, ...], parent: int | None) -> float | None:
        if self._before is None:
            return None
        rows, scores = self._before
        row = rows.get(written[:-1])
        base = 0.0 if parent is None else self._nodes[parent].score
        if row is None or base is None:
            return None
        return base + float(scores[row, written[-1]])

    def _path(self, at: int | None) -> tuple[int, ...]:
        """The ids from the prompt to a node, its own the last."""
        path: list[int] = []
        while at is not None:
            path.append(self._nodes[at].token)
            at = self._nodes[at].parent
        return tuple(reversed(path))

    def tree(
        self,
        returned: Sequence[Sequence[int]],
        said: Callable[[int], str],
        *,
        ends: Iterable[int] = (),
        go_on: Callable[[tuple[int, ...]], Change] | None = None,
        title: str = "",
        note: str = "",
    ) -> Tree:
        """The tree of all beams.

        Args:
            returned: The sequences that the search returned, best first, prompt included.
            said: What a token says.
            ends: Ids after which a sequence is padding.
            go_on: What a click on a node does, given the ids from the prompt to it.
            title: Drawn above.
            note: Drawn below.
        """
        stops = set(ends)
        kept: set[int] = set()
        best: set[int] = set()
        for number, sequence in enumerate(returned):
            written = tuple(sequence[self._prompt or 0 :])
            end = next((at + 1 for at, one in enumerate(written) if one in stops), len(written))
            path = self._add(written[:end])
            kept.update(path)
            if number == 0:
                best.update(path)
        nodes = tuple(
            TreeNode(
                text=said(one.token),
                parent=one.parent,
                score=one.score,
                kept=at in kept,
                best=at in best,
                detail="" if one.score is None else f"log-probability so far {one.score:.4f}",
                change=None if go_on is None else go_on(self._path(at)),
            )
            for at, one in enumerate(self._nodes)
        )
        return Tree(nodes=nodes, title=title, note=note)
