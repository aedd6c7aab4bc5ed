"""A world described in a few lines of text, from its card alone: nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import checkpoint


def describe(name: str, folder: Path) -> list[str]:
    """Lines for `worlds`: name, game, family, sizes; the scorecard; where it is. A broken card is one line."""
    try:
        card = checkpoint.read_card(folder)
    except (ValueError, OSError) as problem:
        return [f"{name}: cannot be read: {problem}"]
    spec, facts = _mapping(card.get("spec")), _mapping(card.get("facts"))
    size = f"{spec.get('width', '?')} x {spec.get('height', '?')}"
    head = f"{name}: {spec.get('game', '?')}, {card.get('family', '?')}, {size} pixels, {_weight(folder)}"
    score = facts.get("scorecard", {name: value for name, value in facts.items() if not isinstance(value, Mapping)})
    return [head, f"    {_scores(score) or 'not evaluated yet'}", f"    {folder}"]


def _scores(score: Any) -> str:
    """`psnr 31.2, ball 0.93`: numbers rounded, nested tables flattened one level deep, a long tail left out."""
    if not isinstance(score, Mapping):
        return str(score) if score else ""
    parts: list[str] = []
    for name, value in score.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        parts += [
            f"{name} {key} {_short(v)}".replace("  ", " ") for key, v in inner if isinstance(v, (int, float, str))
        ]
    return ", ".join(parts[:8]) + (", .." if len(parts) > 8 else "")


def _short(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _weight(folder: Path) -> str:
    """Megabytes of all files of a world."""
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{total / 1e6:.1f} MB"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
