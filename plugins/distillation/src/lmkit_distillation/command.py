"""``lmkit distill`` and ``lmkit.distill``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmkit.api import Command, Tools

__all__ = ["Distill"]


class Distill(Command):
    """Distils a model by a recipe."""

    name = "distill"
    help = "train a small model from a big one: lmkit distill recipe.toml"

    def main(self, tools: Tools, words: Sequence[str]) -> int:
        """Run, resume, stop or look at a distillation."""
        from lmkit_distillation.client import Run, summary
        from lmkit_distillation.recipe import load_recipe

        parser = argparse.ArgumentParser("lmkit distill", description="Distil by a recipe.")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("recipe", nargs="?", help="the TOML file; goes on where it was stopped")
        what.add_argument("--resume", metavar="FOLDER", help="go on with a run by its folder")
        what.add_argument("--pause", metavar="FOLDER", help="hold a running one")
        what.add_argument("--stop", metavar="FOLDER", help="write a checkpoint and end")
        what.add_argument("--status", metavar="FOLDER", help="print its state as JSON")
        what.add_argument(
            "--compare", nargs="+", metavar="FOLDER", help="write a page of several runs' students"
        )
        what.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="train.rate=1e-4"
        )
        parser.add_argument(
            "--out",
            default="compare.html",
            metavar="FILE",
            help="of --compare; beside it FILE.json",
        )
        try:
            options = parser.parse_args(list(words))
        except SystemExit as asked:
            return int(asked.code or 0)
        if options.pause or options.stop:
            run = Run(options.pause or options.stop)
            run.folder.recipe()
            wish = "pause" if options.pause else "stop"
            if run.active:
                run.folder.want(wish)
            else:
                sys.stdout.write(f"{run.folder.path} does not run ({run.state}): ")
                sys.stdout.write(f"there is nothing to {wish}.\n")
            return 0
        if options.status:
            sys.stdout.write(summary(Run(options.status)) + "\n")
            return 0
        if options.measure:
            from lmkit_distillation.cost import measure_here

            sys.stdout.write(json.dumps(measure_here(tools, json.load(sys.stdin))) + "\n")
            return 0
        if options.compare:
            from lmkit_distillation.compare import compare_runs, write_comparison

            sys.stdout.write(write_comparison(compare_runs(options.compare), options.out) + "\n")
            return 0
        if options.resume:
            recipe = Run(options.resume).folder.recipe()
        else:
            recipe = load_recipe(options.recipe, options.set)
        done = Run(recipe.out)
        if done.state == "finished" and done.folder.recipe().fingerprint() == recipe.fingerprint():
            done.folder.check_data(recipe)
            sys.stdout.write(f"{done.folder.path} is finished.\n{done.folder.student}\n")
            return 0
        from transformers.utils import logging

        from lmkit_distillation.engine import Engine

        # Bars of each file that is written and read would bury what the run says of itself.
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]

        def say(line: str) -> None:
            with suppress(OSError):  # a disk that has no room for words may have it for the run
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

        engine = Engine(recipe, tools, say=say)
        target = engine.run()
        engine.state.destroy_process_group()
        if engine.leader:
            say(str(target))
        if engine.world > 1:
            # All is written. What torch's threads do as the interpreter is taken apart can still
            # abort a process ("terminate called without an active exception", once in some dozens
            # of runs on a loaded machine), and the launcher of another machine waits 300 s for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        return 0

    def call(self, tools: Tools, recipe: Any, *, wait: bool = False) -> Any:
        """Start a recipe (a TOML file or plain values), or go on with it or with a run folder.

        It runs in a process of its own. What comes back has ``state``, ``events()``, ``pause()``,
        ``stop()``, ``resume()``, ``wait()``, ``report`` and ``student``.
        """
        from lmkit_distillation.client import Run, start
        from lmkit_distillation.known import remember

        if isinstance(recipe, Path | str) and (Path(recipe) / "recipe.json").is_file():
            run = remember(Run(recipe)).resume()
        else:
            run = remember(start(recipe))
        return run.wait() if wait else run
