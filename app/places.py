"""Where the program writes. Needs no torch, so that recording a game does not wait for it."""

from __future__ import annotations

import os
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]


def saves() -> Path:
    """What the program writes: $DREAMCADE_SAVES, or `saves/` in the checkout, or in the working directory."""
    chosen = os.environ.get("DREAMCADE_SAVES")
    if chosen:
        return Path(chosen)
    return (HOUSE if (HOUSE / "pyproject.toml").is_file() else Path.cwd()) / "saves"
