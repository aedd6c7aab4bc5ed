"""Hands over to the command line: `python play.py` opens the arcade, `python play.py --help` lists the rest."""

from __future__ import annotations

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
