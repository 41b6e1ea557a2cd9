"""``python -m benchmarks [--only load,capture]`` prints a table and writes benchmarks/latest.json.

Each ``bench_NAME.py`` that has ``rows()`` is one: name -> {value, unit, goal, better, runs} and,
where a figure needs a word, note. Values are medians; what can be a ratio of one run is one: times
of different machines cannot be compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LATEST = HERE / "latest.json"


def names() -> list[str]:
    """The benchmarks that there are."""
    files = [one for one in HERE.glob("bench_*.py") if "def rows(" in one.read_text("utf-8")]
    return sorted(one.stem.removeprefix("bench_").replace("_", "-") for one in files)


def verdict(row: dict[str, Any]) -> str:
    """Whether a figure reaches its goal."""
    goal, value = row["goal"], row["value"]
    if goal is None:
        return ""
    reached = value <= goal if row["better"] == "lower" else value >= goal
    return "reached" if reached else "MISSED"


def show(name: str, row: dict[str, Any]) -> str:
    """One line of the table, three significant digits."""
    value = row["value"]
    size = math.floor(math.log10(abs(value))) if value else 0
    number = f"{value:.{max(0, 2 - size)}f}"
    sign = "<=" if row["better"] == "lower" else ">="
    goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
    note = f"  ({row['note']})" if row.get("note") else ""
    line = f"{name:<62} {number:>12} {row['unit']:<6} {goal:<9} {verdict(row):<8} n={row['runs']}"
    return line + note


def main() -> int:
    """Run the benchmarks asked for; status 1 when one of them fails to run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"comma-separated, of: {', '.join(names())}")
    asked = [name for name in parser.parse_args().only.split(",") if name] or names()
    unknown = sorted(set(asked) - set(names()))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    results: dict[str, dict[str, Any]] = {}
    if LATEST.exists():
        results = json.loads(LATEST.read_text(encoding="utf-8"))
    failed = 0
    for name in asked:
        started = time.monotonic()
        sys.stdout.write(f"-- {name}\n")
        sys.stdout.flush()
        try:
            rows = importlib.import_module(f"benchmarks.bench_{name.replace('-', '_')}").rows()
        except Exception as error:
            failed += 1
            sys.stdout.write(f"{name} failed: {type(error).__name__}: {error}\n")
            continue
        for key, row in rows.items():
            results[key] = row
            sys.stdout.write(show(key, row) + "\n")
        sys.stdout.write(f"   ({time.monotonic() - started:.0f} s)\n")
        LATEST.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
