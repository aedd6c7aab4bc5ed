"""Every family of dynamics on the same play, under latent and under real actions: one row a family and kind of actions.

Each row trains for the same minutes and is measured on the same held-out play. A tokenizer, an autoencoder or a LAM
that several rows have in common is trained once, and its minutes count for each of them. Rows that are done are read
back.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.checkpoint import load_world
from models.latent_actions import LatentActionConfig
from training.evaluation import EvaluationOptions, evaluate
from training.families import Look, family_experiment
from training.family_figures import AT, DRAWN, FEW, autoencoder, drawn_often, few_steps, regressed, whole_rollouts
from training.held_out import Play
from training.pipeline import Data, Pipeline, check
from training.presets import Experiment
from training.runs import Run, write_bytes, write_text

ROWS = (
    *("maskgit", "autoregressive", "one_pass", "regression"),
    *("pixel_film", "latent_predictor", "latent_flow", "warp"),
)
KINDS = ("latent", "real")
HORIZONS = (1, 5, 10, 30)
STILL = "copy last frame"
Say = Callable[[str], None]
Columns = tuple[tuple[str, Callable[[Mapping[str, Any]], float | None]], ...]
"""Titles, and what they show of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableBudget:
    """Minutes of each part, where it is trained at all; clips of the roll-outs; dreams and frames of each."""

    tokenizer: float = 6.0
    lam: float = 6.0
    dynamics: float = 12.0
    clips: int = 100
    dreams: int = 8
    frames: int = 300

    def __post_init__(self) -> None:
        for name in ("tokenizer", "lam", "dynamics"):
            if getattr(self, name) <= 0:
                raise ValueError(f"minutes of {name} must be above 0, found {getattr(self, name)}")

    def of(self, experiment: Experiment) -> Experiment:
        """The experiment with these minutes."""
        loops = {name: replace(getattr(experiment, name), minutes=getattr(self, name)) for name in PARTS}
        return replace(experiment, **loops)


PARTS = ("tokenizer", "lam", "dynamics")


def check_names(families: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise ValueError for a family or a kind of actions that is not in the table."""
    for found, known in ((families, ROWS), (kinds, KINDS)):
        if unknown := [name for name in found if name not in known]:
            raise ValueError(f"no row {unknown[0]!r}; known: {', '.join(known)}")


def tabulate(
    data: Data, play: Play, folder: Path, budget: TableBudget, families: Sequence[str] = ROWS,
    kinds: Sequence[str] = KINDS, *, size: Any = "small", seed: int = 0, autocast: bool = False, device: str = "cpu",
    results: Path | None = None, say: Say = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Train and measure rows on one game, beside those that are done before.

    Returns {"game", "terms", "rows": {"FAMILY-ACTIONS": {...}}}.

    folder: of the runs and worlds; results: of the rows' figures, and where those of before lie, else the same.
    Raises ValueError for a name that is not known and where a folder holds results under other terms.
    """
    check_names(families, kinds)
    look = Look.of(data.train)
    terms = {**asdict(budget), "seed": seed, "size": size, "autocast": autocast, "device": device}
    terms |= {
        "train_frames": data.train.frames,
        "learned": _seen(data.train.datasets),
        "measured": [ref.seed for ref in play.episodes],
    }
    rows, kept = {}, results or folder
    for family, kind in ((family, kind) for family in ROWS for kind in KINDS):
        path, asked = kept / f"{(name := f'{family}-{kind}')}.json", family in families and kind in kinds
        if not asked and not path.is_file():
            continue
        if path.is_file():
            found = json.loads(path.read_text())
            if found["terms"] != terms:
                advice = "use another --out, or --results if it is given"
                raise ValueError(f"{path} was made under other terms, {found['terms']}; {advice}")
            say(f"{name}: done before")
        else:
            found = {"terms": terms, **_row(data, play, folder, name, look, budget, terms, say)}
            kept.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(found) + "\n")
            found = json.loads(path.read_text())
        rows[name] = found
    return {"game": data.spec().game, "terms": terms, "rows": rows}


def _row(
    data: Data, play: Play, folder: Path, name: str, look: Look, budget: TableBudget, terms: dict[str, Any], say: Say
) -> dict[str, Any]:
    """One family, trained and measured."""
    family, _, kind = name.rpartition("-")
    experiment = family_experiment(family, data.spec().game, look, terms["size"], kind)  # type: ignore[arg-type]  # checked
    experiment = budget.of(replace(experiment, seed=terms["seed"]))
    check(experiment, data)
    begun = (folder / name / "config.json").is_file()
    run = Run(folder / name, {**terms, "experiment": asdict(experiment)}, resume=begun)
    device, tell = terms["device"], lambda line: say(f"{name}: {line}")
    pipeline = Pipeline(experiment, data, run, device, terms["autocast"], say=tell)
    shared = {part: folder / "shared" / _digest(experiment, part, terms) for part in ("tokenizer", "lam")}
    for part, kept in shared.items():
        if not run.part_done(part) and kept.with_suffix(".safetensors").is_file():
            weights = kept.with_suffix(".safetensors").read_bytes()
            write_bytes(run.folder / "parts" / f"{part}.safetensors", weights)
            run.add_minutes(part, json.loads(kept.with_suffix(".json").read_text()))
    pipeline.train("lam")
    for part, kept in shared.items():
        if not kept.with_suffix(".safetensors").is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_text(kept.with_suffix(".json"), json.dumps(run.minutes().get(part, 0.0)))
            weights = (run.folder / "parts" / f"{part}.safetensors").read_bytes()
            write_bytes(kept.with_suffix(".safetensors"), weights)
    pipeline.train()
    written = pipeline.finish(folder / "worlds" / name, {"command": f"dreamcade bench dynamics ({name})"})
    world = load_world(written, device)
    shutil.rmtree(pipeline.cache, ignore_errors=True)  # it is large, and made again where it is wanted
    return {
        "minutes": run.minutes(),
        **measured(world, play, budget, terms["seed"], tell),
    }


def measured(world: Any, play: Play, budget: TableBudget, seed: int, say: Say) -> dict[str, Any]:
    """The scorecard of a world, and what `family_figures` adds to it."""
    options = EvaluationOptions(
        clips=budget.clips, gain_clips=budget.clips, dreams=budget.dreams, dream_frames=budget.frames, judged=0,
        speed_frames=100, most_frames=2000, horizons=HORIZONS, seed=seed,
    )  # fmt: skip
    card = evaluate(world, play, options, say)
    say("roll-outs and samples")
    return {
        "card": card,
        "whole": whole_rollouts(world, play, budget.clips, seed),
        "drawn": drawn_often(world, play, budget.clips, seed),
        "few_steps": few_steps(world, play, budget.clips, seed),
        "autoencoder": autoencoder(world, play, options.most_frames, seed),
        "regressed": regressed(world, play, options.most_frames, seed),
    }


def _seen(datasets: Sequence[Any]) -> str:
    """What tells some data sets from others: a digest of their shards."""
    shards = [shard.sha256 for dataset in datasets for shard in dataset.manifest.shards]
    return hashlib.sha256(repr(shards).encode()).hexdigest()[:16]


def _digest(experiment: Experiment, part: str, terms: Mapping[str, Any]) -> str:
    """What tells a part from others: its config, how it is trained, and on what."""
    family = experiment.family
    told: list[Any] = [part, asdict(getattr(experiment, part)), terms, experiment.augment]
    told += [type(family.tokenizer).__name__, asdict(family.tokenizer)] if part == "tokenizer" else []
    if part == "lam":
        told += [type(family.latent_actions).__name__, asdict(family.latent_actions), experiment.lam_behaviours]
        told += [asdict(family.tokenizer)] if isinstance(family.latent_actions, LatentActionConfig) else []
    return f"{part}-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}"


def table(found: Mapping[str, Any]) -> str:
    """The rows of one game as a Markdown table."""
    first = next(iter(found["rows"].values()))
    still = {**first, "card": {"prediction": {"world": first["card"]["prediction"]["copy_last_frame"]}}, "minutes": {}}
    still |= {"whole": {"world": first["whole"]["copy_last_frame"]}}
    return _lines(found["game"], {**found["rows"], STILL: still}, COLUMNS)


def details(found: Mapping[str, Any]) -> str:
    """What only some families have, as a second table: dreams drawn often, few steps, autoencoder, copied vectors."""
    return _lines(found["game"], found["rows"], DETAILS)


def _lines(game: str, rows: Mapping[str, Any], columns: Columns) -> str:
    lines = [f"| {game} | {' | '.join(title for title, _ in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(_shown(of(row)) for _, of in columns)} |")
    return "\n".join(lines)


def _at(*path: str, times: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    def find(row: Mapping[str, Any]) -> float | None:
        found: Any = row
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found) * times

    return find


def _guess(horizon: int, name: str, times: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    return _at("card", "prediction", "world", str(horizon), name, "value", times=times)


COLUMNS: Columns = (
    *((f"MSE·10³ @{horizon}", _guess(horizon, "mse", 1000.0)) for horizon in HORIZONS),
    ("PSNR @1", _guess(1, "psnr")),
    ("SSIM @1", _guess(1, "ssim")),
    ("moving @1", _guess(1, "moving_psnr")),
    ("PSNR 1–32", _at("whole", "world", "psnr", "value")),
    ("Δ4, dB", _at("card", "prediction", "delta4_pooled_db", "all", "value")),
    ("one ball", _at("card", "dreams", "world", "all", "ball_exactly_one", "value")),
    ("FPS", _at("card", "speed", "fps")),
    ("M weights", _at("card", "speed", "parameters", times=1e-6)),
    ("minutes", lambda row: sum(row["minutes"].values())),
)
DETAILS: Columns = (
    *(
        (f"{title}, MSE·10³ @{AT}", _at("drawn", name, "value", times=1000.0))
        for name, title in (("each", "one dream"), ("best", f"best of {DRAWN}"), ("mean", f"mean of {DRAWN}"))
    ),
    ("diversity·10³", _at("drawn", "diversity", "value", times=1000.0)),
    *((f"{steps} steps", _at("few_steps", "mse", str(steps), "value", times=1000.0)) for steps in FEW),
    ("autoencoder, dB", _at("autoencoder", "frames", "tokenizer", "psnr", "value")),
    ("SSIM", _at("autoencoder", "frames", "tokenizer", "ssim", "value")),
    ("variance of latents", _at("autoencoder", "latents", "variance")),
    ("vectors below copied ones", _at("regressed", "below_copy")),
)


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
