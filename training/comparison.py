"""Several recipes on the same play, for the same time, by the same scorecard: one row a recipe.

Each recipe trains for so many minutes by the clock, is measured on held-out play, and keeps its scorecard; what is done
already is read back. Standing still, which costs nothing, is the last row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.checkpoint import load_world
from training.choice import with_fitting_patch
from training.evaluation import EvaluationOptions, evaluate
from training.held_out import Play
from training.pipeline import Data, Pipeline, check
from training.presets import preset
from training.runs import Run, write_text

ROWS = {
    "ours": "the preset that suits the data",
    "genie": "Genie as in the paper, at this size",
    "tinyworlds": "FSQ tokens, signs as actions",
    "one-pass": "our tokens and codes, all tokens of a frame at once",
}
"""Recipes by name, each a preset but for the first."""
STILL = "copy last frame"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """minutes: of training, for each row; clips, dreams, frames, judged: of the scorecard, see `EvaluationOptions`."""

    minutes: float = 20.0
    clips: int = 64
    dreams: int = 8
    frames: int = 300
    judged: int = 48

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, found {self.minutes}")

    def options(self, seed: int) -> EvaluationOptions:
        """What is measured."""
        return EvaluationOptions(
            clips=self.clips, gain_clips=self.clips, dreams=self.dreams, dream_frames=self.frames, judged=self.judged,
            judged_after=(16,), speed_frames=50, most_frames=2000, horizons=(1, 4, 10, 30), seed=seed,
        )  # fmt: skip


def compare(
    data: Data, play: Play, folder: Path, ours: str, budget: Budget, names: Sequence[str] = tuple(ROWS), *,
    size: Any = "small", seed: int = 0, autocast: bool = False, say: Say = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Train and measure the named rows. data: to learn from; play: to be measured on; folder: where runs, worlds and
    scorecards go; ours: the preset of the first row.

    Returns {"budget", "rows": {name: {"preset", "minutes", "card"}}}. Raises ValueError for a name that is not in ROWS
    and where a folder holds results of another budget.
    """
    check_rows(names)
    terms = {
        **asdict(budget),
        "seed": seed,
        "size": size,
        "autocast": autocast,
        "train_frames": data.train.frames,
        "ours": ours,
    }
    rows = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text())
            if found["terms"] != terms:
                raise ValueError(f"{path} was made under other terms, {found['terms']}; use another --out")
            say(f"{name}: done before")
        else:
            found = {
                "terms": terms,
                **_row(data, play, folder / name, ours if name == "ours" else name, budget, terms, say),
            }
            text = json.dumps(found, indent=1) + "\n"
            write_text(path, text)
            found = json.loads(text)
        rows[name] = found
    return {"terms": terms, "rows": rows}


def check_rows(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is not in ROWS."""
    if unknown := [name for name in names if name not in ROWS]:
        raise ValueError(f"no row {unknown[0]!r}; known: {', '.join(ROWS)}")


def _row(
    data: Data, play: Play, folder: Path, chosen: str, budget: Budget, terms: dict[str, Any], say: Say
) -> dict[str, Any]:
    """One recipe, trained and measured; chosen: its preset."""
    spec, seed, name = data.spec(), terms["seed"], folder.name
    experiment = preset(chosen, spec.game, spec.height, spec.width, terms["size"]).within(budget.minutes)
    experiment = with_fitting_patch(replace(experiment, seed=seed), data.train)
    check(experiment, data)
    say(f"{name}: {budget.minutes:g} minutes of training")
    resumed = (folder / "run" / "config.json").is_file()
    run = Run(folder / "run", {**terms, "preset": chosen}, resume=resumed)
    pipeline = Pipeline(experiment, data, run, autocast=terms["autocast"], say=lambda line: say(f"{name}: {line}"))
    pipeline.train()
    world = load_world(pipeline.finish(folder / "world", {"command": f"dreamcade bench families ({name})"}))
    card = evaluate(world, play, budget.options(seed), lambda line: say(f"{name}: {line}"))
    return {"preset": chosen, "minutes": run.minutes(), "card": card}


Figure = tuple[str, Callable[[Mapping[str, Any]], Any]]


def _value(*path: str) -> Callable[[Mapping[str, Any]], Any]:
    """What stands in a scorecard at a path, or None."""

    def find(card: Mapping[str, Any]) -> Any:
        found: Any = card
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return find


def _collapsed(card: Mapping[str, Any]) -> str | None:
    found = _value("dreams", "collapse")(card)
    return f"{found['collapsed']} of {found['of']}" if found else None


FIGURES: tuple[Figure, ...] = (
    ("reconstruction, dB", _value("tokenizer", "tokenizer", "psnr", "value")),
    ("ball kept", _value("tokenizer", "tokenizer", "ball", "value")),
    ("perplexity of codes", _value("lam", "perplexity")),
    ("direction from code", _value("lam", "direction", "balanced_accuracy", "value")),
    ("Δ4, dB", _value("prediction", "delta4_pooled_db", "all", "value")),
    ("next frame exact", _value("prediction", "world", "1", "exact", "value")),
    ("PSNR after 10, dB", _value("prediction", "world", "10", "psnr", "value")),
    ("moving pixels after 10, dB", _value("prediction", "world", "10", "moving_psnr", "value")),
    ("ball within 2 px after 10", _value("prediction", "world", "10", "ball", "value")),
    ("told from real after 16", _value("two_sample", "world", "16", "value")),
    ("one ball in dreams", _value("dreams", "world", "all", "ball_exactly_one", "value")),
    ("obeys in dreams", _value("dreams", "world", "all", "obeys_move", "value")),
    ("codes read back", _value("dreams", "world", "all", "read_back", "value")),
    ("collapsed", _collapsed),
    ("frames a second", _value("speed", "fps")),
)
"""Columns of the table, and where their figures stand in a scorecard."""

STILL_FIGURES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "next frame exact": _value("prediction", "copy_last_frame", "1", "exact", "value"),
    "PSNR after 10, dB": _value("prediction", "copy_last_frame", "10", "psnr", "value"),
    "moving pixels after 10, dB": _value("prediction", "copy_last_frame", "10", "moving_psnr", "value"),
    "ball within 2 px after 10": _value("prediction", "copy_last_frame", "10", "ball", "value"),
    "told from real after 16": _value("two_sample", "copy", "16", "value"),
}


def table(found: Mapping[str, Any]) -> str:
    """The comparison as a Markdown table, one column a recipe; figures that nobody has are left out."""
    rows = found["rows"]
    names = list(rows)
    cards = [rows[name]["card"] for name in names]
    lines = [f"| | {' | '.join(names)} | {STILL} |", "| --- " * (len(names) + 2) + "|"]
    spent = [_shown(sum(rows[name]["minutes"].values())) for name in names]
    lines.append(f"| minutes of training | {' | '.join(spent)} | 0 |")
    for title, of in FIGURES:
        values = [of(card) for card in cards]
        still = STILL_FIGURES[title](cards[0]) if title in STILL_FIGURES else None
        if any(value is not None for value in values):
            lines.append(f"| {title} | {' | '.join(_shown(value) for value in values)} | {_shown(still)} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
