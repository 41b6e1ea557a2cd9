"""Several processes of one run: the same as one, and a fault in one of them ends all."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.engine import Engine
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.toml import to_toml

from lmkit.tools import KernelTools
from tests.tiny import tiny_bert, tiny_llama

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    tiny_bert(folder / "teacher", num_hidden_layers=3)
    tiny_llama(folder / "causal")
    rows = [f"the {'plot' if i % 2 else 'film'} is {'old' * (i % 3)}\t{i % 2}" for i in range(24)]
    (folder / "d.tsv").write_text("\n".join(["text\tlabel", *rows]))
    return folder


def plain(files: Path, out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 2, "dropout": 0.0},
        "data": {"train": str(files / "d.tsv"), "dev": str(files / "d.tsv")},
        "loss": [{"kind": "ce", "weight": 0.5}, {"kind": "kl"}, {"kind": "hidden"}],
        "train": {"steps": 3, "batch": 6, "rate": 1e-3, "checkpoint_every": 1, "threads": 1},
        "report": {"speed": False, "resamples": 100},
    }


def written(files: Path, out: Path) -> dict[str, Any]:
    """A run whose texts are made: copies of prompts, the teacher's sequences, the student's own."""
    return {
        **plain(files, out),
        "task": "generation",
        "teacher": {"model": str(files / "causal")},
        "student": {"layers": 1},
        "data": {
            "train": str(files / "d.tsv"),
            "prompt": "text",
            "augment": {"copies": 1, "writer": str(files / "causal")},
        },
        "loss": [{"kind": "jsd"}],
        "sequences": {"use": True, "max_new_tokens": 6},
        "on_policy": {"lambda": 0.5, "max_new_tokens": 6, "batch": 2},
    }


def run_pair(folder: Path, orders: list[dict[str, Any]]) -> tuple[list[list[list[str]]], list[int]]:
    """What each process says of each order, and how each ended."""
    (folder / "orders.json").write_text(json.dumps(orders))
    processes = []
    for rank in range(2):
        # What `accelerate launch` and torchrun set.
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        environ = {
            **os.environ,
            **{name: str(value) for name, value in told.items()},
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        script = str(Path(__file__).with_name("pair.py"))
        words = [script, str(rank), str(folder / "store"), str(folder / "orders.json")]
        with (folder / f"said-{rank}").open("wb") as said:
            processes.append(
                subprocess.Popen([sys.executable, *words], env=environ, stdout=said, stderr=said)
            )
    try:
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    outcomes = [json.loads((folder / f"outcome-{rank}.json").read_text()) for rank in range(2)]
    return outcomes, codes


def losses(out: Path) -> list[float]:
    return [e["loss"] for e in RunFolder(out).events() if e["kind"] == "step"]


@pytest.mark.timeout(900)  # each process is given 600
def test_two_processes_equal_one_through_every_fault(files: Path, tmp_path: Path) -> None:
    Engine(recipe_from(plain(files, tmp_path / "one")), KernelTools()).run()
    Engine(recipe_from(written(files, tmp_path / "alone")), KernelTools()).run()
    expected = losses(tmp_path / "one")
    assert len(expected) == 3
    full = "is full; everything up to the last checkpoint is kept."
    faults: list[tuple[str, int, str]] = [
        ("disk", 0, full),
        ("events", 0, "Input/output error"),
        ("teacher", 0, "The teacher can't be reached. Plug in."),
        ("report", 0, "RuntimeError: no page"),
        ("step", 1, "ValueError: no such token"),
    ]
    orders: list[dict[str, Any]] = [
        {"fault": "none", "rank": 0, "recipe": plain(files, tmp_path / "two")},
        {"fault": "pause", "rank": 0, "recipe": plain(files, tmp_path / "pause"), "timeout": 6},
    ]
    for name, rank, _ in faults:
        recipe = plain(files, tmp_path / f"{name}-{rank}")
        orders += [{"fault": name, "rank": rank, "recipe": recipe}]
        orders += [{"fault": "none", "rank": 0, "recipe": recipe}]
    # A machine whose folder is not the leader's goes on from the leader's checkpoint.
    apart = {"recipe": plain(files, tmp_path / "apart"), "other": {"out": str(tmp_path / "other")}}
    orders += [{"fault": "step", "rank": 0, **apart}, {"fault": "none", "rank": 0, **apart}]
    # What is written, by the teacher and the student, and made more of is the same for all.
    orders += [{"fault": "none", "rank": 0, "recipe": written(files, tmp_path / "written")}]
    orders += [{"fault": "killed", "rank": 1, "recipe": plain(files, tmp_path / "killed")}]

    (lead, other), codes = run_pair(tmp_path, orders)
    assert len(lead) == len(orders), (tmp_path / "said-0").read_text()[-3000:]
    assert codes[1] == -9
    for place, (name, rank, words) in enumerate(faults):
        failed, resumed = 2 + 2 * place, 3 + 2 * place
        assert words in lead[failed][0], name
        assert lead[failed][1] == "failed"
        # The leader's own error may be of another class; the sentence is the same.
        assert lead[failed][0].endswith(other[failed][0]) or rank == 1
        assert lead[failed][0].startswith("Process 1 of 2: ") == (rank == 1)
        assert lead[resumed] == ["", "finished"], name
        assert other[resumed][0] == "", name
    apart_failed, apart_resumed = 2 + 2 * len(faults), 3 + 2 * len(faults)
    assert lead[apart_failed][0].endswith(other[apart_failed][0])
    assert (lead[apart_resumed][0], other[apart_resumed][0]) == ("", "")
    assert not RunFolder(tmp_path / "other").checkpoints.exists()
    assert "Another process of this run is gone" in lead[-1][0]
    names = [f"{name}-{rank}" for name, rank, _ in faults]
    for name in ("two", "pause", "apart", *names):
        assert losses(tmp_path / name) == pytest.approx(expected, rel=1e-4), name
    alone = losses(tmp_path / "alone")
    assert losses(tmp_path / "written") == pytest.approx(alone, rel=1e-4)
    started = [e for e in RunFolder(tmp_path / "two").events() if e["kind"] == "start"]
    assert [e["processes"] for e in started] == [2]
    paused = [e["time"] for e in RunFolder(tmp_path / "pause").events()
              if e["kind"] in ("pause", "continue")]  # fmt: skip
    assert paused[1] - paused[0] > 8  # longer than the group's timeout


def free_port() -> int:
    """Below those that the kernel hands out: no connection of this machine takes it meanwhile."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32768
    while True:
        port = random.randrange(min(10_000, first - 1000), first)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


TAKEN = ("another process is utilizing it", "EADDRINUSE", "address already in use")


def both_ended(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for two processes; where one fails, the other would wait for it for minutes."""
    end = time.monotonic() + 300
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if any(process.poll() for process in processes):
            end = min(end, time.monotonic() + 10)
        time.sleep(0.2)


def launch(folder: Path, port: int) -> list[str]:
    """What two machines print that `accelerate launch` joins; each has a recipe and a folder."""
    processes = []
    for rank in range(2):
        machine = ["--num_machines", "2", "--num_processes", "2", "--machine_rank", str(rank)]
        meet = ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
        plainly = ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
        words = ["-m", "lmkit", "distill", str(folder / str(rank) / "recipe.toml")]
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        with (folder / f"said-{rank}").open("wb") as said:
            processes.append(
                subprocess.Popen(
                    [*command, *plainly, *machine, *meet, *words], stdout=said, stderr=said,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                )
            )  # fmt: skip
    try:
        both_ended(processes)
    finally:
        for process in processes:
            process.terminate()  # which ends the workers, too
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            process.wait()
    return [(folder / f"said-{rank}").read_text() for rank in range(2)]


def test_two_machines_of_accelerate_launch_make_one_student(files: Path, tmp_path: Path) -> None:
    for rank in range(2):
        recipe = recipe_from(plain(files, tmp_path / str(rank) / "run"))
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "recipe.toml").write_text(to_toml(recipe))
    for _ in range(5):
        said = launch(tmp_path, free_port())
        # A port that was free may be another's a moment later: accelerate's words, or torch's.
        if not any(words in one for one in said for words in TAKEN):
            break
    events = RunFolder(tmp_path / "0" / "run").events()
    assert [e["processes"] for e in events if e["kind"] == "start"] == [2], said[0][-3000:]
    assert events[-1]["kind"] == "finished"
    assert (tmp_path / "0" / "run" / "student" / "model.safetensors").is_file()
    assert not (tmp_path / "1" / "run").exists()
