"""Faults as they really come: each named in a sentence, nothing lost, and the run goes on."""

from __future__ import annotations

import io
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation import checkpoints
from lmkit_distillation import engine as engine_module
from lmkit_distillation.client import Run, summary
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import (
    DataError,
    DistillationError,
    NotFiniteError,
    RunFolderError,
)
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.history import History
from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.memory import Witness, died_of_memory
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.watched import info_of
from safetensors.torch import load_file

from lmkit.cli import main
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert

from .runs import failing

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    torch.manual_seed(0)
    tiny_bert(folder / "teacher", num_hidden_layers=3)
    rows = [f"the {'plot' if i % 2 else 'film'} is {'old ' * (i % 3)}\t{i % 2}" for i in range(24)]
    (folder / "d.tsv").write_text("\n".join(["text\tlabel", *rows]))
    Engine(recipe_from(plain(folder, folder / "whole")), KernelTools()).run()
    return folder


def plain(files: Path, out: Path, **train: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 2},
        "data": {"train": str(files / "d.tsv"), "dev": str(files / "d.tsv")},
        "loss": [{"kind": "ce"}, {"kind": "kl"}],
        "train": {"steps": 4, "batch": 8, "rate": 1e-3, "checkpoint_every": 1, "threads": 1,
                  "evaluate_every": 4, **train},
        "report": {"speed": False, "resamples": 100},
    }  # fmt: skip


def run(recipe: dict[str, Any]) -> Path:
    return Engine(recipe_from(recipe), KernelTools()).run()


def assert_the_same_bits(files: Path, student: Path) -> None:
    expected = load_file(files / "whole" / "student" / "model.safetensors")
    found = load_file(student / "model.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def last(out: Path) -> dict[str, Any]:
    return RunFolder(out).events()[-1]


@contextmanager
def short_files(size: int) -> Iterator[None]:
    """No file of this process may become larger, as on a disk that fills."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk of ``size`` bytes on a folder; False where this user may not mount one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(words, capture_output=True).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def grow(folder: Path, size: int) -> None:
    words = ["mount", "-o", f"remount,size={size}", str(folder)]
    subprocess.run(words, check=True, capture_output=True)


FULL = "is full; everything up to the last checkpoint is kept"


@pytest.mark.parametrize("how", ["files that may not grow", "a disk that is full"])
def test_a_disk_that_fills_ends_the_run_and_with_room_it_goes_on(
    how: str, files: Path, tmp_path: Path
) -> None:
    size = (files / "whole" / "checkpoints" / "step-00000004" / "state.pt").stat().st_size
    with small_disk(tmp_path / "disk", size + (size >> 1)) as mounted:
        out = tmp_path / "disk" / "run"
        recipe = plain(files, out)
        if how == "files that may not grow" or not mounted:
            if mounted:
                grow(tmp_path / "disk", 64 * size)
            with short_files(size >> 1), pytest.raises(RunFolderError, match=FULL):
                run(recipe)
        else:
            # The first checkpoint fits, the second does not.
            with pytest.raises(RunFolderError, match=FULL):
                run(recipe)
            assert [one.name for one in sorted((out / "checkpoints").iterdir())] == [
                "step-00000001"
            ]
            grow(tmp_path / "disk", 64 * size)
        assert (last(out)["kind"], FULL in last(out)["message"]) == ("failed", True)
        assert_the_same_bits(files, run(recipe))


def test_a_loss_that_becomes_nan_is_named_and_the_checkpoint_before_it_is_whole(
    files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(NotFiniteError, match=r"The loss ce is (nan|inf) at step \d") as found:
        run(plain(files, out, rate=1e30, clip=0.0, warmup=0.9, schedule="constant"))
    assert str(out / "checkpoints") in found.value.hint
    state, _, _, damaged = checkpoints.latest(RunFolder(out))
    assert state is not None
    assert damaged == []
    assert state["step"] == RunFolder(out).events()[-1]["step"]
    assert last(out)["kind"] == "failed"
    early = {"rate": 1e30, "clip": 0.0, "warmup": 0.9, "checkpoint_every": 4}
    with pytest.raises(NotFiniteError) as found:
        run(plain(files, tmp_path / "early", **early))
    assert "there was no checkpoint yet" in found.value.hint


def test_a_gradient_that_becomes_nan_reaches_neither_weights_nor_checkpoints(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of that step is finite: that of the next shows it, a checkpoint too late."""
    out = tmp_path / "run"
    recipe = plain(files, out)
    plainly = Engine._gradients

    def broken(self: Engine, texts: Any, size: int) -> torch.Tensor:
        sums = plainly(self, texts, size)
        if self.step == 2:
            grad = next(iter(self.pair.student.parameters())).grad
            assert grad is not None
            grad[0, 0] = torch.nan
        return sums

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_gradients", broken)
        with pytest.raises(NotFiniteError, match="The gradient is nan at step 2; nothing of"):
            run(recipe)
    state, _, _, _ = checkpoints.latest(RunFolder(out))
    assert state is not None
    assert state["step"] == 2
    assert_the_same_bits(files, run(recipe))


def test_killed_in_its_report_after_an_early_stop_it_trains_no_further(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 8, "evaluate_every": 1, "patience": 2, "rate": 1e-9}
    whole = run(plain(files, tmp_path / "whole", **settings))
    out = tmp_path / "run"

    def dies(*_: Any) -> None:
        raise DistillationError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("lmkit_distillation.report.write_report", dies)
        with pytest.raises(DistillationError, match="killed"):
            run(plain(files, out, **settings))
    student = run(plain(files, out, **settings))
    kinds = [e["kind"] for e in RunFolder(out).events() if e["kind"] in ("step", "evaluation")]
    assert kinds == ["step", "evaluation"] * 3
    expected, found = (load_file(one / "model.safetensors") for one in (whole, student))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_killed_between_the_two_names_of_a_folder_its_old_one_comes_back(
    files: Path, tmp_path: Path
) -> None:
    """A stop writes the checkpoint of its step anew where there is one, and a best one replaces
    the last: what was there is set aside first, and a kill then must not lose it."""
    out = tmp_path / "run"
    recipe = plain(files, out, keep_checkpoints=1)
    run(recipe)
    step = out / "checkpoints" / "step-00000004"
    step.rename(step.with_name(f".{step.name}-old"))
    (out / "best").rename(out / ".best-old")
    before = RunFolder(out).events()
    assert_the_same_bits(files, run(recipe))
    again = [e["time"] for e in RunFolder(out).events() if e["kind"] == "step"]
    assert again == [e["time"] for e in before if e["kind"] == "step"]  # none was made again


def test_a_teacher_that_is_gone_is_named_where_the_run_is_looked_at(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(files / "teacher", mine / "teacher")
    shutil.copy(files / "d.tsv", mine / "d.tsv")
    recipe = plain(mine, tmp_path / "run")
    plainly = Engine._gradients

    def stops(self: Engine, texts: Any, size: int) -> Any:
        self.folder.want("stop" if self.step == 1 else "run")
        return plainly(self, texts, size)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_gradients", stops)
        run(recipe)
    assert (last(tmp_path / "run")["kind"], last(tmp_path / "run")["step"]) == ("stopped", 2)
    (mine / "teacher").rename(mine / "away")
    there = Run(tmp_path / "run").resume()
    with pytest.raises(DistillationError, match="teacher"):
        there.wait(240)
    assert there.state == "failed"
    assert "Traceback" not in there.problem
    assert str(mine / "teacher") in there.problem
    (mine / "away").rename(mine / "teacher")
    assert_the_same_bits(files, run(recipe))


def test_labels_that_do_not_fit_are_named_and_can_be_put_right(files: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "dev.tsv"
    wrong.write_text("text\tlabel\nthe plot\tspam\n")
    recipe = plain(files, tmp_path / "run")
    recipe["data"]["dev"] = str(wrong)
    with pytest.raises(DataError, match=r"row 0: label is 'spam'.*negative, positive"):
        run(recipe)
    wrong.write_text((files / "d.tsv").read_text())
    assert_the_same_bits(files, run(recipe))
    other = tiny_bert(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config |= {"id2label": {"0": "ham", "1": "spam"}, "label2id": {"ham": 0, "spam": 1}}
    (other / "config.json").write_text(json.dumps(config))
    recipe = plain(files, tmp_path / "second")
    recipe["student"] = {"start": "model", "model": str(other)}
    with pytest.raises(DistillationError, match="different labels: ham, spam and negative, pos"):
        run(recipe)


def test_data_that_changed_is_named_and_what_it_held_goes_on(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(files / "d.tsv", mine)
    out = tmp_path / "run"
    recipe = plain(files, out)
    recipe["data"] = {"train": str(mine / "d.tsv"), "dev": str(files / "d.tsv")}
    before = (mine / "d.tsv").read_text()
    failing(recipe, monkeypatch, 2)
    events = RunFolder(out).events_file.read_bytes()
    (mine / "d.tsv").write_text(before.replace("plot", "film"))
    with pytest.raises(RunFolderError, match=r"d\.tsv has changed since .*run began to learn"):
        run(recipe)
    there = Run(out)
    with pytest.raises(RunFolderError, match="has changed"):  # the panel's Run asks this
        there.folder.claim(recipe_from(recipe))
    assert RunFolder(out).events_file.read_bytes() == events
    assert main(["distill", "--resume", str(out)]) == 1
    (mine / "d.tsv").write_text(before)
    assert_the_same_bits(files, run(recipe))
    (mine / "d.tsv").write_text(before + "one more\t1\n")
    assert main(["distill", "--resume", str(out)]) == 1  # it is no longer that which is finished
    (out / "data.json").unlink()  # a folder of an earlier version
    assert main(["distill", "--resume", str(out)]) == 0


def test_data_may_be_put_right_until_something_was_learnt_from_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d.tsv").write_text("text\tlabel\nthe plot\t1\n")
    recipe = plain(files, tmp_path / "run")
    recipe["data"] = {"train": str(tmp_path / "d.tsv"), "dev": str(files / "d.tsv")}
    failing(recipe, monkeypatch, 0)
    shutil.copy(files / "d.tsv", tmp_path)
    assert_the_same_bits(files, run(recipe))


def test_a_start_that_fails_shows_in_the_panel(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(recipe_from(plain(files, folder.path)))
    one = Run(folder.path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(DistillationError, match="can't be started: No such file"):
        one.resume()
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho No module named lmkit\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    one.resume()
    assert one._process is not None
    one._process.wait()
    info = info_of(one, History(folder.events_file))
    assert (info.state, info.problem) == ("failed", "No module named lmkit")
    assert info.actions == ("resume",)
    with pytest.raises(DistillationError, match="No module named lmkit"):
        one.wait()


def test_what_to_do_is_said_wherever_the_run_is_looked_at(files: Path, tmp_path: Path) -> None:
    """Of a damaged shard Resume alone would only say the same again."""
    out = tmp_path / "run"
    recipe = plain(files, out)
    recipe["cache"] = {"use": True, "folder": str(tmp_path / "cache")}
    run({**recipe, "out": str(tmp_path / "first")})
    (shard,) = (tmp_path / "cache").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(RunFolderError, match="is damaged"):
        run(recipe)
    there = Run(out)
    said = f"The shard {shard.name} of the teacher's cache is damaged."
    way_on = f"Delete {shard} and start again: it alone is made anew."
    assert (there.problem, there.hint) == (said, way_on)
    assert json.loads(summary(there))["hint"] == way_on
    assert info_of(there, History(RunFolder(out).events_file)).problem == f"{said} {way_on}"
    with pytest.raises(DistillationError) as found:
        there.wait()
    assert found.value.hint.startswith(way_on)
    shard.unlink()
    assert_the_same_bits(files, run(recipe))


def test_interrupted_from_the_keyboard_it_says_so_in_a_sentence(
    files: Path, tmp_path: Path
) -> None:
    """As Ctrl-C in a terminal: a signal to a process that listens to it."""
    out = tmp_path / "run"
    recipe = plain(files, out, steps=100_000, evaluate_every=100_000, checkpoint_every=2)
    RunFolder(out).claim(recipe_from(recipe))
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from lmkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "distill", "--resume", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=240)
    assert process.returncode == 130
    assert complained.splitlines()[-1] == "lmkit: stopped."
    assert "%" not in said + complained  # no bars of transformers among the run's words
    assert last(out)["kind"] == "failed"
    assert re.fullmatch(
        r"The run was interrupted at step \d+; it goes on from its last checkpoint\.",
        last(out)["message"],
    )
    assert Run(out).problem == last(out)["message"]


def test_an_interrupt_while_a_checkpoint_is_written_stays_one(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal's handler may run in what torch's writer calls, whose end then fails."""

    class Interrupted(io.BytesIO):
        writes = 0

        def write(self, data: Any) -> int:
            self.writes += 1
            if self.writes == 3:
                raise KeyboardInterrupt
            return super().write(data)

    plainly = torch.save

    def save(state: Any, file: Any) -> None:
        plainly(state, Interrupted())

    monkeypatch.setattr("lmkit_distillation.checkpoints.torch.save", save)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(plain(files, out))
    assert last(out)["message"].startswith("The run was interrupted at step 1")


@contextmanager
def limited(size: int) -> Iterator[list[str] | None]:
    """Words before a command that run it in a cgroup of so many bytes; None where none is ours.

    Args:
        size: Whole pages.
    """
    group = Path(tempfile.mkdtemp(prefix="lmkit-"))
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    made: Path | None = None
    with suppress(OSError):
        version_1 = (first / "memory.limit_in_bytes").exists()
        made = (first if version_1 else second) / group.name
        made.mkdir()
        limit = "memory.limit_in_bytes" if version_1 else "memory.max"
        (made / limit).write_text(str(size))
    usable = (
        made is not None
        and (made / "cgroup.procs").exists()
        and os.access(made / "cgroup.procs", os.W_OK)
    )
    usable = usable and any(
        (made / name).exists() and str(size) in (made / name).read_text()
        for name in ("memory.limit_in_bytes", "memory.max")
        if made is not None
    )
    try:
        script = f'echo $$ > "{made}/cgroup.procs"; exec "$@"'
        yield ["/bin/sh", "-c", script, "sh"] if usable else None
    finally:
        group.rmdir()
        if made is not None and made.is_dir():
            end = time.monotonic() + 10
            while made.is_dir() and time.monotonic() < end:  # until the last process is out of it
                with suppress(OSError):
                    made.rmdir()
                time.sleep(0.05)


def test_what_the_kernel_kills_for_memory_goes_on_with_half_the_texts(
    files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    recipe = plain(files, out)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    counter = tmp_path / "counter"
    counter.write_text("under_oom 0\noom_kill 0\n")
    words = [
        sys.executable,
        str(Path(__file__).with_name("dies.py")),
        str(tmp_path / "recipe.json"),
    ]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environ = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with limited(3 << 29) as before:
        words = [*words, str(counter)] if before is None else [*before, *words]
        done = subprocess.run(words, env=environ, capture_output=True, timeout=240)
    assert done.returncode == -9, done.stderr[-2000:]
    folder = RunFolder(out)
    dead = folder.running
    assert dead is not None
    assert (dead["doing"], dead["step"]) == ("step", 2)
    end = time.monotonic() + 60
    while not folder.kills_file.exists() and time.monotonic() < end:
        time.sleep(0.05)  # its witness is a process too, and on a loaded machine a late one
    assert died_of_memory(folder, None) == dead

    # The same death without a kill for memory, and with one of another process's later on.
    for name, at_death, doing in (("user", 0, "step"), ("idle", 1, "between steps")):
        other = RunFolder(tmp_path / name)
        shutil.copytree(out, other.path)
        count = int(dead["oom_kills"]) + at_death
        other.kills_file.write_text(f"oom_kill {count}\n")
        (other.path / "running.json").write_text(json.dumps({**dead, "doing": doing}))
        assert died_of_memory(other, int(dead["oom_kills"]) + 5) is None

    run(recipe)
    steps = [e for e in folder.events() if e["kind"] == "step"]
    assert [e["micro_batch"] for e in steps] == [8, 8, 4, 4]
    (said,) = [e["message"] for e in folder.events() if e["kind"] == "memory"]
    assert said == "The last process was killed for memory: 4 texts at a time from step 2 on."
    assert not folder.kills_file.exists()


def test_a_death_is_answered_once_however_often_the_answer_is_begun(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_from(plain(files, tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    folder.claim(recipe)
    dead = {"pid": 2**22 + 1, "born": "1", "step": 1, "doing": "step", "oom_kills": 7}
    (folder.path / "running.json").write_text(json.dumps(dead))
    folder.kills_file.write_text("oom_kill 8\n")

    def killed(self: Engine, doing: str) -> None:
        raise KeyboardInterrupt

    # Killed between the answer and its own mark: the evidence is there again at the next start.
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_mark", killed)
        patch.setattr(Engine, "_failed", lambda self, error: None)
        with pytest.raises(KeyboardInterrupt):
            Engine(recipe, KernelTools()).run()
    Engine(recipe, KernelTools()).run()
    sizes = [e["micro_batch"] for e in folder.events() if e["kind"] == "step"]
    assert sizes == [8, 4, 4, 4]


def test_the_witness_of_a_death_is_quiet_at_a_proper_end(tmp_path: Path) -> None:
    counter, kept = tmp_path / "counter", tmp_path / "kept"
    counter.write_text("oom_kill 3\n")
    Witness(counter, kept).close()
    assert not kept.exists()
    left = Witness(counter, kept)
    shell = left._shell
    assert shell is not None
    assert shell.stdin is not None
    shell.stdin.close()  # as the kernel does when the process is gone
    shell.wait(60)
    assert kept.read_text() == "oom_kill 3\n"


def test_what_is_not_finite_is_null_in_the_events(tmp_path: Path) -> None:
    """In fp16 a step that the scaler leaves out has an infinite norm, which is no JSON."""
    folder = RunFolder(tmp_path)
    folder.event("step", 1, norm=math.inf, loss=0.5, parts={"kl": 0.5}, memory=3)
    (line,) = folder.events_file.read_text().splitlines()

    def refuse(word: str) -> Any:
        raise AssertionError(word)

    found = json.loads(line, parse_constant=refuse)
    assert (found["norm"], found["loss"], found["memory"]) == (None, 0.5, 3)


def test_a_first_evaluation_that_is_nan_is_not_the_best_for_ever(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = engine_module.metrics

    def broken(*given: Any) -> dict[str, float]:
        values = plainly(*given)
        broken.calls += 1  # type: ignore[attr-defined]
        return {**values, "loss": math.nan} if broken.calls == 1 else values  # type: ignore[attr-defined]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(engine_module, "metrics", broken)
    out = tmp_path / "run"
    run(plain(files, out, evaluate_every=2, best_by="loss"))
    finished = last(out)
    assert (finished["kind"], finished["best_step"]) == ("finished", 4)
    first = next(e for e in RunFolder(out).events() if e["kind"] == "evaluation")
    assert first["loss"] is None


def test_a_line_that_two_runs_kept_is_not_damaged(tmp_path: Path) -> None:
    kept = KeptTexts(tmp_path, "settings")
    kept.add([("a", [1]), ("b", [2])])
    kept.file.write_text(kept.file.read_text() * 2 + '{"id": "c", "val')
    again = KeptTexts(tmp_path, "settings")
    assert again.values == {"a": [1], "b": [2]}
    assert again.damaged == 1
