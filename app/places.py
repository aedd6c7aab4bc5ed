"""Where the program writes. Needs no torch, so that recording a game does not wait for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]


def saves() -> Path:
    """What the program writes: $DREAMCADE_SAVES, or `saves/` in the checkout, or in the working directory."""
    chosen = os.environ.get("DREAMCADE_SAVES")
    if chosen:
        return Path(chosen)
    return (HOUSE if (HOUSE / "pyproject.toml").is_file() else Path.cwd()) / "saves"


@dataclass(frozen=True, slots=True)
class Places:
    """Where what a player makes goes. sessions: of one world; datasets: all of them, recordings among them."""

    captures: Path
    sessions: Path
    datasets: Path

    @classmethod
    def usual(cls, world: Path) -> Places:
        """Below `saves()`, for the world in this folder."""
        return cls(saves() / "captures", saves() / "sessions" / world.resolve().name, saves() / "datasets")

    @classmethod
    def within(cls, folder: Path) -> Places:
        """All of it below one folder."""
        return cls(folder / "captures", folder / "sessions", folder / "datasets")
