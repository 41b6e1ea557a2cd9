"""The training itself: one loop that can be killed at any point and goes on to the same bits.

What happens at a step is a function of the recipe, the step's number, the weights and the
optimiser's state: the order of texts comes from the seed and the epoch, random numbers from the
seed, the step and the process. So a checkpoint is the weights, the optimiser and a few numbers.

Several processes each take every n-th text of a step and add up their gradients before the
optimiser moves. Every part of the loss is divided by counts of the whole step, so neither the
number of processes nor the size of micro-batches changes it.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from lmkit.api import Tools
from lmkit_distillation import checkpoints
from lmkit_distillation.cache import TeacherCache
from lmkit_distillation.chat import check_template, template_mark
from lmkit_distillation.data import (
    Coder,
    Counts,
    Encoded,
    collate,
    epoch_order,
)
from lmkit_distillation.data_marks import data_marks
from lmkit_distillation.errors import (
    DistillationError,
    NotFiniteError,
    PeerGoneError,
    RunFolderError,
)
from lmkit_distillation.evaluate import Answers, answers, metrics
from lmkit_distillation.folder import RunFolder, new_folder, writing
from lmkit_distillation.memory import (
    MicroBatches,
    Witness,
    died_of_memory,
    free,
    is_out_of_memory,
    oom_counter,
    oom_kills,
    peak_bytes,
)
from lmkit_distillation.models import load_pair, longest, shape_of
from lmkit_distillation.objective import Inside, Objective, Seen
from lmkit_distillation.on_policy import OnPolicyTexts
from lmkit_distillation.peers import Peers
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.sampling import Writer
from lmkit_distillation.tensorboard import EventWriter
from lmkit_distillation.training_texts import Texts

__all__ = ["Engine"]


class Engine:
    """One run.

    Args:
        recipe: What to do.
        tools: Models and capture, from the host.
        kills: Counts processes killed for memory; replaced in tests.
        say: Told one line at a time what happens.
    """

    def __init__(
        self,
        recipe: Recipe,
        tools: Tools,
        *,
        kills: Callable[[], int | None] = oom_kills,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.recipe, self.tools = recipe, tools
        self._kills, self._say = kills, say
        self.folder = RunFolder(recipe.out)
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        self.state = _processes()
        self.rank, self.world = self.state.process_index, self.state.num_processes
        self.peers = Peers(self.rank, self.world)
        self.leader = self.peers.leader
        self.device: torch.device = self.state.device
        self.step = 0
        self.best: float | None = None
        self.best_step = 0
        self.without_better = 0
        self._told = False

    # from start to end

    def run(self) -> Path:
        """Train, or go on training; returns the folder of the finished student, or of the run.

        Raises:
            DistillationError: in one sentence; the run can be started again.
        """
        # Where the folder is another's, nothing is written into it.
        self.peers.led(self._take)
        witness: Witness | None = None
        try:
            self.peers.led(self._begin)
            if self.leader and (counter := oom_counter()) is not None:
                witness = Witness(counter, self.folder.kills_file)
            return self._run()
        except BaseException as error:
            if self.leader:
                self._failed(error)
            raise
        finally:
            if witness is not None:
                witness.close()

    def _take(self) -> None:
        if self.folder.alive():
            last = self.folder.running
            raise RunFolderError(
                f"{self.folder.path} is in use by process {last['pid'] if last else '?'}.",
                hint="Wait for it, or stop it with `lmkit distill --stop FOLDER`.",
            )

        self.folder.claim(self.recipe)
        self.folder.put_back()
        # Before anything is read: what changes later is then seen at the next start.
        self.data_marks = data_marks(self.recipe.data)

    def _begin(self) -> None:
        """Answer what the last process died of before its mark is gone."""
        self.folder.want("run")
        last = died_of_memory(self.folder, self._kills())
        if last is not None:
            micro = MicroBatches(self.folder, self._first_micro())
            of = f"{last.get('pid')} {last.get('born')}"
            self._halved(micro, int(last.get("step", 0)), "killed", of)
        self._mark("start")
        self.folder.kills_file.unlink(missing_ok=True)

    def _halved(self, micro: MicroBatches, step: int, why: str, of: str = "") -> None:
        size = micro.halve(step, why, of)
        words = {
            "allocation": "Memory ran out",
            "killed": "The last process was killed for memory",
            "peer": "A process of this run was killed for memory",
        }
        self._log("memory", message=f"{words[why]}: {size} texts at a time from step {step} on.")

    def _mark(self, doing: str) -> None:
        self.folder.mark(step=self.step, doing=doing, oom_kills=self._kills())

    def _failed(self, error: BaseException) -> None:
        """Write down what ended the run; where that fails too, the first fault is what counts."""
        message = getattr(error, "message", "") or str(error) or type(error).__name__
        hint = str(getattr(error, "hint", ""))
        if isinstance(error, KeyboardInterrupt):
            message = f"The run was interrupted at step {self.step}; it goes on from its last "
            message += "checkpoint."
        with suppress(DistillationError, OSError):
            last = self.folder.running or {}
            before, now = last.get("oom_kills"), self._kills()
            grown = now is not None and isinstance(before, int) and now > before
            if isinstance(error, PeerGoneError) and grown and last.get("doing") == "step":
                self._halved(MicroBatches(self.folder, self._first_micro()), self.step, "peer")
            told = {"hint": hint} if hint else {}
            self.folder.event("failed", self.step, message=message, **told)
        with suppress(OSError):
            self.folder.unmark()

    def _run(self) -> Path:
        self._prepare()
        micro = MicroBatches(self.folder, self._first_micro())
        # The folder of another machine may lack them.
        micro.changes = self.peers.led(lambda: micro.changes)
        self._resume()
        # Read and found fit by now. Until then data that is wrong may be put right.
        self.peers.led(lambda: self.folder.keep_data(self.data_marks))
        self.peers.led(
            lambda: self._log(
                "start",
                total=self.total,
                parameters=self._parameters(),
                pid=os.getpid(),
                processes=self.world,
            )
        )
        finished = self._train(micro)
        if finished:
            test = self.sources.measured(self.recipe.data.test) or self.dev
            self.peers.led(partial(self._finish, test))
        else:
            self.peers.led(lambda: self._log("stopped"))
        if self.leader:
            self.folder.unmark()
        return self.folder.student if finished else self.folder.path

    # making things ready

    def _prepare(self) -> None:
        self.peers.together(self._load)
        self.texts = self.sources.training()
        self.dev = self.sources.measured(self.recipe.data.dev)
        self.cache: TeacherCache | None = None
        if self.recipe.cache.use and self.recipe.needs_teacher:
            self._fill_cache()
        self.peers.together(self._plan)

    def _load(self) -> None:
        recipe = self.recipe
        self.pair = load_pair(recipe, self.tools, self.device)
        pair = self.pair
        self.pads = (_pad(pair.tokenizer), _pad(pair.teacher_tokenizer))
        self.coder = Coder(pair.tokenizer, recipe, longest(pair.student))
        self.other = (
            None if pair.aligned else Coder(pair.teacher_tokenizer, recipe, longest(pair.teacher))
        )
        self.teacher_mark = f"{recipe.teacher.model} {_checksum(pair.teacher)}"
        if recipe.data.chat:
            check_template(pair.teacher_tokenizer, recipe.teacher.model)
            check_template(pair.tokenizer, recipe.student.model)
            self.teacher_mark += f" chat {template_mark(pair.tokenizer)}"
        self.sources = Texts(
            recipe=recipe,
            tools=self.tools,
            pair=pair,
            coder=self.coder,
            other=self.other,
            folder=self.folder.path,
            teacher=self.teacher_mark,
            device=self.device,
            peers=self.peers,
            log=self._log,
        )
        student = Writer.of(pair.student, pair.tokenizer)
        self.own_texts = OnPolicyTexts(recipe, student, self.coder, self.peers)
        self.ask_student = Inside(pair.student, recipe, self.tools, pair.head)
        self.ask_teacher = Inside(pair.teacher, recipe, self.tools, pair.teacher_head)
        self.objective = Objective(recipe, shape_of(pair.student), shape_of(pair.teacher))
        self.objective.to(self.device)

    def _plan(self) -> None:
        train = self.recipe.train
        self.per_epoch = len(epoch_order(self._lengths(), train.batch, self.recipe.seed, 0))
        self.total = train.steps or max(1, round(train.epochs * self.per_epoch))
        self.evaluate_every = train.evaluate_every or max(1, self.total // 10)
        self.checkpoint_every = train.checkpoint_every or max(1, self.total // 10)
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            lr=train.rate,
            betas=(train.betas[0], train.betas[1]),
            # One pass over each tensor: for MiniLM's embeddings 9 ms of a CPU thread, not 73.
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=train.precision == "fp16")
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self.teacher_dev: Answers | None = None
        self.board = EventWriter(self.folder.path / "tensorboard") if self.leader else None

    def _lengths(self) -> list[int]:
        return [len(one.ids) for one in self.texts]

    def _fill_cache(self) -> None:
        share = self.recipe.on_policy.lambda_
        if share:
            words = "The teacher's cache knows the texts of the data alone; on those that the "
            words += "student writes the teacher itself is asked."
            self.peers.led(lambda: self._log("cache", message=words))
        if share == 1:
            return
        folder = self.recipe.cache.folder or str(self.folder.path / "teacher")
        cache = self.cache = TeacherCache(Path(folder), self.recipe, self.teacher_mark)

        def done(count: int, total: int) -> None:
            self._log("cache", done=count, total=total)

        def fill() -> None:
            cache.fill(self.texts, self.ask_teacher, self.pads, self.device, done)

        # One process writes: the leader, then one of each machine whose folder is another.
        first = self.state.local_process_index == 0
        self.peers.led(fill)
        if self.world > 1:
            self.peers.together(fill if first and not self.leader else lambda: None)
            self.peers.together(lambda: None if first else fill())

    def _groups(self) -> list[dict[str, Any]]:
        """Biases and norms are not decayed."""
        decay: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in (self.pair.student, self.objective):
            for parameter in module.parameters():
                (decay if parameter.dim() > 1 else plain).append(parameter)
        return [
            {"params": decay, "weight_decay": self.recipe.train.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]

    def _first_micro(self) -> int:
        share = math.ceil(self.recipe.train.batch / int(self.world))
        return min(self.recipe.train.micro_batch or share, share)

    def _parameters(self) -> dict[str, int]:
        return {
            name: sum(p.numel() for p in model.parameters())
            for name, model in (("teacher", self.pair.teacher), ("student", self.pair.student))
        }

    # checkpoints

    def _resume(self) -> None:
        state = self._newest()
        if state is not None:
            self.pair.student.load_state_dict(state["student"])
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.step = int(state["step"])
            self.best = state["best"]
            self.best_step = int(state["best_step"])
            self.without_better = int(state["without_better"])
        self.peers.led(self._forget)

    def _newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint of the leader's folder, in every process."""
        kept: list[dict[str, Any] | None] = [None]

        def look() -> tuple[str, str]:
            kept[0], name, mark, damaged = checkpoints.latest(self.folder)
            for other in damaged:
                self._log(
                    "damaged", message=f"Checkpoint {other} is damaged; an earlier one is used."
                )
            return name, mark

        name, mark = self.peers.led(look)
        if not name:
            return None
        kept[0] = self.peers.together(
            lambda: kept[0] if self.leader else checkpoints.read(self.folder, name, mark)
        )
        if self.peers.worst(int(kept[0] is None)):  # a machine with a folder of its own
            return self.peers.led(lambda: kept[0])
        return kept[0]

    def _forget(self) -> None:
        if self.folder.events_file.exists():
            self.folder.forget_after(self.step)
        if self.board is not None:
            with writing(self.folder.path):
                self.board.forget_after(self.step)
        self._say(f"step {self.step} of {self.total}")

    def _checkpoint(self) -> None:
        """The leader alone."""
        state = {
            "step": self.step,
            "student": self.pair.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "best_step": self.best_step,
            "without_better": self.without_better,
        }
        checkpoints.save(self.folder, self.step, state, self.recipe.train.keep_checkpoints)
        self._log("checkpoint")

    # the loop

    def _train(self, micro: MicroBatches) -> bool:
        """Whether the training came to its end; False after a stop."""
        if self._enough():  # it was killed after an early stop, in its report perhaps
            return True
        while self.step < self.total:
            if self.peers.led(self._wish) == "stop":
                self.peers.led(self._checkpoint)
                return False
            if self._one_step(micro):
                return True
        return True

    def _one_step(self, micro: MicroBatches) -> bool:
        """One optimiser step and all that follows it; True where it was enough."""
        begun = time.monotonic()
        with self._precision():
            texts = self.own_texts(self._texts_of(self.step), self.step)
        parts, norm = self._step_or_halve(texts, micro)
        self.step += 1
        speed = len(texts) / max(time.monotonic() - begun, 1e-9)
        own = texts[0].sampled
        return self.peers.led(partial(self._after_step, parts, norm, speed, micro, own))

    def _wish(self) -> str:
        """The leader alone: hold on as long as the user wants, and say which step comes now."""
        if self.folder.wish == "pause":
            self._log("pause")
            self._mark("pause")
            while self.folder.wish == "pause":
                time.sleep(0.1)
            self._log("continue")
        wish = self.folder.wish
        self._mark("stop" if wish == "stop" else "step")
        return wish

    def _after_step(
        self,
        parts: dict[str, float],
        norm: float,
        speed: float,
        micro: MicroBatches,
        own: bool,
    ) -> bool:
        """The leader alone: write the step down, evaluate, keep a checkpoint; True at the end."""
        self._report_step(parts, norm, speed, micro, own=own)
        self._tell_of_rotary()
        at_end = self.step == self.total
        evaluate = bool(self.dev) and (self.step % self.evaluate_every == 0 or at_end)
        save = self.step % self.checkpoint_every == 0 or at_end
        if evaluate or save:
            self._mark("between steps")
        enough = evaluate and self._evaluate()
        if enough:
            self._log("early-stop", best=self.best, best_step=self.best_step)
        if enough or save:
            self._checkpoint()
        return enough

    @property
    def post_rotary(self) -> list[str]:
        """The parts of the loss that hold positions too, known once a pass was made."""
        turned = self.ask_student.rotary or self.ask_teacher.rotary
        return self.objective.relations if turned else []

    def _tell_of_rotary(self) -> None:
        """Once a run. The parts keep their names, by which a resumed run's curves go on."""
        if self._told or not self.post_rotary:
            return
        self._told = True
        if not any(event["kind"] == "post-rotary" for event in self.folder.events()):
            words = "Relations of queries and keys are taken after rotary positions were turned "
            words += "into them (post-rotary), so they hold positions too."
            self._log("post-rotary", parts=self.post_rotary, message=words)

    def _texts_of(self, step: int) -> list[Encoded]:
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            made = epoch_order(self._lengths(), self.recipe.train.batch, self.recipe.seed, epoch)
            self._order = (epoch, made)
        return [self.texts[i] for i in self._order[1][place]]

    def _step_or_halve(
        self, texts: list[Encoded], micro: MicroBatches
    ) -> tuple[dict[str, float], float]:
        """One optimiser step; begun anew with smaller parts where memory runs out."""
        while True:
            problem: Exception | None = None
            sums = torch.zeros(0)
            try:
                sums = self._gradients(texts, micro.at(self.step))
            except Exception as error:
                problem = error
            full = problem is not None and is_out_of_memory(problem)
            state = self.peers.worst(0 if problem is None else 1 if full else 2)
            if state == 2:
                self.peers.settle(problem)
            if state:
                del problem
                self._clear()
                free()
                micro.changes = self.peers.led(partial(self._smaller, micro))
                continue
            return self._move(sums, texts)

    def _smaller(self, micro: MicroBatches) -> list[tuple[int, int]]:
        """The leader alone."""
        self._halved(micro, self.step, "allocation")
        return micro.changes

    def _gradients(self, texts: Sequence[Encoded], size: int) -> torch.Tensor:
        """Gradients of this process's share; returns each part's loss."""
        counts = Counts.of(texts)
        mine = texts[self.rank :: self.world]
        weights = self.objective.weights(self.step / self.total)
        seed = (self.recipe.seed * 1_000_003 + self.step) * 1_009 + self.rank
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        self._clear()
        self.pair.student.train()
        self.pair.teacher.eval()
        sums = torch.zeros(len(self.objective.names), device=self.device)
        for start in range(0, len(mine), size):
            batch = collate(mine[start : start + size], *self.pads).to(self.device)
            theirs = self._teacher(batch) if self.recipe.needs_teacher else None
            with self._precision():
                seen = self.ask_student(batch, batch.inputs)
            parts = self.objective(batch, seen, theirs, counts)
            loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(list(parts.values())).detach()
        return sums

    def _teacher(self, batch: Any) -> Seen:
        if self.cache is not None and not batch.texts[0].sampled:
            return self.cache.seen(batch, self.device)
        with torch.no_grad():
            return self.ask_teacher(batch, batch.teacher_inputs)

    def _precision(self) -> Any:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.train.precision)
        return nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)

    def _move(self, sums: torch.Tensor, texts: Sequence[Encoded]) -> tuple[dict[str, float], float]:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.world > 1:
            sums = self.peers.add_up(sums)
            self._add_up_gradients(parameters)
        values = dict(zip(self.objective.names, sums.tolist(), strict=True))
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            self._refuse(f"loss {wrong[0]}", values[wrong[0]], texts)
        rate = self._rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        clip = self.recipe.train.clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, clip))
        if not self.scaler.is_enabled() and not math.isfinite(norm):
            # The loss would show it a step later, after a checkpoint perhaps. In fp16 the scaler
            # leaves such a step out and goes on with a smaller scale.
            self._refuse("gradient", norm, texts)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return values, norm

    def _refuse(self, what: str, value: float, texts: Sequence[Encoded]) -> NoReturn:
        kept = (
            f"the checkpoints are in {self.folder.checkpoints}"
            if self.folder.checkpoints.is_dir()
            else "there was no checkpoint yet"
        )
        raise NotFiniteError(
            f"The {what} is {value} at step {self.step}; nothing of that step was kept.",
            hint=f"Set train.rate lower or train.clip above 0 in a new run; {kept}. The step's "
            f"first text is {texts[0].id}.",
        )

    def _rate(self, step: int) -> float:
        train = self.recipe.train
        warm = round(train.warmup * self.total)
        if step < warm:
            return train.rate * (step + 1) / warm
        share = (step - warm) / max(1, self.total - warm)
        if train.schedule == "linear":
            return train.rate * (1 - share)
        if train.schedule == "cosine":
            return train.rate * (1 + math.cos(math.pi * share)) / 2
        return train.rate

    def _clear(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    # evaluation

    def _evaluate(self) -> bool:
        """The leader alone: evaluate, keep the best; True where patience is at its end."""
        student = self._ask(self.dev)
        values = metrics(student, self.pair.labels, self.recipe.task)
        if not self.recipe.by_characters:  # else their tokens have nothing in common
            if self.teacher_dev is None:
                self.teacher_dev = self._ask(self.dev, teacher=True)
            if self.teacher_dev.predicted.shape == student.predicted.shape:
                same = self.teacher_dev.predicted == student.predicted
                values["agreement"] = float(same.mean())
        self._log("evaluation", **values)
        self._board(**{f"evaluation/{name}": value for name, value in values.items()})
        self._say(
            f"step {self.step}: "
            + ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        )
        score = self._score(values)
        if self.best is None or math.isnan(self.best) or score > self.best:
            self.best, self.best_step, self.without_better = score, self.step, 0
            self._save_student(self.folder.best)
        else:
            self.without_better += 1
        return self._enough()

    def _enough(self) -> bool:
        return 0 < self.recipe.train.patience <= self.without_better

    def _ask(self, texts: Sequence[Encoded], *, teacher: bool = False) -> Answers:
        model, ask = (
            (self.pair.teacher, self.ask_teacher)
            if teacher
            else (self.pair.student, self.ask_student)
        )
        model.eval()
        pads = self.pads
        if teacher and self.recipe.by_characters:
            # Its tokens are others, and so are the next ones that are right.
            texts, pads = [one.other or one for one in texts], (pads[1], pads[1])
        return answers(
            ask,
            texts,
            batch=max(1, min(64, self.recipe.train.batch)),
            pads=pads,
            device=self.device,
            as_teacher=teacher,
        )

    def _score(self, values: dict[str, float]) -> float:
        wanted = self.recipe.train.best_by
        if wanted == "auto":
            wanted = {"ner": "f1", "generation": "loss"}.get(self.recipe.task, "accuracy")  # type: ignore[assignment]
        if wanted not in values:
            wanted = "agreement"
        if wanted not in values:
            raise DistillationError(
                "The dev texts have neither labels nor answers of the teacher to be measured by."
            )
        return -values[wanted] if wanted == "loss" else values[wanted]

    # the end

    def _finish(self, test: Sequence[Encoded]) -> None:
        from lmkit_distillation.report import write_report

        if self.best is not None and self.folder.best.is_dir():
            best = type(self.pair.student).from_pretrained(self.folder.best)
            self.pair.student.load_state_dict(best.state_dict())
        self._save_student(self.folder.student)
        self._say(f"measuring both models on {len(test):,} texts, then how fast they are")
        write_report(self, test)
        self._log("finished", best=self.best, best_step=self.best_step)

    def _save_student(self, target: Path) -> None:
        with new_folder(target) as making:
            self.pair.student.save_pretrained(making)
            self.pair.tokenizer.save_pretrained(making)

    # between processes

    def _add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """One message for all gradients; a parameter that no text used here sends zeros."""
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
        )
        self.peers.add_up(flat)
        for p, grad in zip(
            parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True
        ):
            p.grad = grad.view_as(p)

    # what is written down

    def _log(self, kind: str, **values: Any) -> None:
        if self.leader:
            self.folder.event(kind, self.step, **values)
            if "message" in values:
                self._say(str(values["message"]))

    def _report_step(
        self,
        parts: dict[str, float],
        norm: float,
        speed: float,
        micro: MicroBatches,
        *,
        own: bool,
    ) -> None:
        if own:  # nobody says what the next token of the student's own text should be
            kinds = dict(zip(self.objective.names, self.recipe.loss, strict=True))
            parts = {name: value for name, value in parts.items() if kinds[name].kind != "ce"}
        weights = self.objective.weights((self.step - 1) / self.total)
        loss = sum(weights[name] * value for name, value in parts.items())
        rate = self._rate(self.step - 1)
        self._log(
            "step",
            loss=loss,
            parts=parts,
            rate=rate,
            norm=norm,
            texts_per_second=round(speed, 2),
            memory=peak_bytes(self.device),
            micro_batch=micro.at(self.step - 1),
            **({"on_policy": True} if own else {}),
        )
        self._board(
            loss=loss,
            rate=rate,
            texts_per_second=speed,
            **{f"loss/{name}": value for name, value in parts.items()},
        )

    def _board(self, **values: float) -> None:
        if self.board is not None:
            with writing(self.folder.path):
                self.board.add(self.step, values)


def _processes() -> PartialState:
    """The processes of this run, as ``accelerate launch`` or torchrun told them of each other.

    accelerate joins processes on CPUs only where it is told that they are on CPUs.
    """
    joined = "LOCAL_RANK" in os.environ
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return PartialState(cpu=joined and (wanted or not torch.cuda.is_available()))


def _pad(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(tokenizer, name, None)
        if found is not None:
            return int(found)
    return 0


def _checksum(model: nn.Module) -> str:
    """Of some of the weights: another teacher under the same name is another teacher."""
    total = 0.0
    for parameter in model.parameters():
        total += float(
            parameter.detach().reshape(-1)[:: max(1, parameter.numel() // 64)].double().sum()
        )
    return f"{total:.9g}"
