"""``python -m lmkit``."""

import sys

from lmkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
