"""``python -m lmkit.protocol [FILE]`` writes the JSON Schema that the front end is made from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lmkit.protocol.schema import schema


def main(arguments: list[str]) -> None:
    """Write the schema to the file named, or print it."""
    text = json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
