"""Sequence-level distillation: the teacher writes the targets, once, and they are kept.

Kim and Rush 2016, arXiv:1606.07947, section 3.2: the student learns by cross-entropy what the
teacher's beam search finds most probable, in place of what the data say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b

from lmkit_distillation.data import Coder, Encoded, without_label
from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.sampling import Writer, groups

__all__ = ["continued", "room_after", "settings_of", "write_targets"]


def room_after(prompt: Encoded, coder: Coder, most: int) -> int:
    """How many tokens fit behind a prompt: ``most``, or what the longest text leaves."""
    return max(0, min(most, coder.max_length - len(prompt.ids)))


def continued(prompt: Encoded, ids: Sequence[int], coder: Coder, *, known: bool) -> Encoded:
    """A prompt with a continuation, which alone is counted.

    Args:
        prompt: Without a completion.
        ids: Tokens that follow.
        coder: Of the student.
        known: Whether those tokens are to be learnt as they stand, or only places to compare at.
    """
    body = f"{prompt.id} {' '.join(map(str, ids))}".encode()
    name = blake2b(body, digest_size=10).hexdigest()
    made = coder.of_ids(name, (*prompt.ids, *ids), len(prompt.ids))
    made = replace(made, types=(*prompt.types, *(0 for _ in ids)) if prompt.types else ())
    return made if known else without_label(made)


def settings_of(recipe: Recipe, teacher: str, writer: Writer) -> list[object]:
    """All that the teacher's texts depend on."""
    wish = recipe.sequences
    return [
        "sequences", teacher, wish.beams, wish.length_penalty if wish.beams > 1 else 1.0,
        wish.max_new_tokens, recipe.data.max_length, list(writer.ends), writer.vocabulary,
    ]  # fmt: skip


def write_targets(
    prompts: Sequence[Encoded],
    writer: Writer,
    kept: KeptTexts,
    recipe: Recipe,
    coder: Coder,
    done: Callable[[int, int], None],
) -> None:
    """Let the teacher write what is not there yet, group by group, each kept once it is written.

    The groups are those of all prompts, so that a run that was killed in between goes on with the
    texts that it would have had.

    Args:
        prompts: Without completions.
        writer: The teacher.
        kept: Takes the token ids of each continuation.
        recipe: Says how to search.
        coder: Of the student, which reads what the teacher reads.
        done: Told how many are there, and of how many.

    Raises:
        DistillationError: memory ran out.
        RunFolderError: the disk is full.
    """
    wish = recipe.sequences
    each = list({one.id: one for one in prompts}.values())
    rooms = [room_after(one, coder, wish.max_new_tokens) for one in each]
    kept.add((one.id, []) for one, room in zip(each, rooms, strict=True) if room == 0)
    ready = sum(one.id in kept for one in each)
    for chosen in groups([len(one.ids) for one in each], rooms, wish.batch):
        if all(each[i].id in kept for i in chosen):
            continue
        written = writer.best(
            [each[i].ids for i in chosen],
            rooms[chosen[0]],
            beams=wish.beams,
            length_penalty=wish.length_penalty,
        )
        ready += sum(each[i].id not in kept for i in chosen)
        kept.add((each[i].id, list(ids)) for i, ids in zip(chosen, written, strict=True))
        done(ready, len(each))
