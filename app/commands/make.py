"""`dreamcade make`: from nothing to a world that was measured, within a budget of minutes."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from app.commands.train import training_options
from app.places import saves

LAM_SHARE = 0.25  # of what collecting and measuring leave; the dynamics have the rest
LEAST = 3.0  # minutes below which nothing useful comes out


@click.command()
@click.argument("game")
@click.option("--minutes", default=90.0, show_default=True, help="Budget for collecting, training and measuring.")
@click.option("--frames", default=150_000, show_default=True, help="Transitions to record for training.")
@click.option("--out", type=click.Path(), help="Where the world goes.  [default: saves/worlds/GAME]")
@click.option("--run", "run_folder", type=click.Path(), help="Run folder.  [default: saves/runs/GAME-make]")
@click.option("--resume", is_flag=True, help="Go on with an interrupted make.")
@training_options
def make(
    game: str,
    minutes: float,
    frames: int,
    out: str | None,
    run_folder: str | None,
    resume: bool,
    **options: Any,
) -> None:
    """Collect GAME (pong, breakout, …), train a world on it and measure the world, in one go.

    How many steps are trained follows from how fast this machine turns out to be. Interrupted? The same command
    with --resume goes on. At the end it says how to play what was learned.

    \b
      dreamcade make pong --minutes 90
    """
    from app.commands.train import named, run_training
    from collectors.games import game_named
    from training.windows import open_datasets

    if minutes < LEAST:
        too_little = f"--minutes {minutes:g} is too little for collecting, training and measuring"
        raise ValueError(f"{too_little}; give {LEAST:g} or more")
    begin = time.monotonic()
    row = game_named(game)
    name = named(row.id, options)
    folder = Path(run_folder) if run_folder else saves() / "runs" / f"{name}-make"
    target = Path(out) if out else saves() / "worlds" / name
    _check(row, folder, target, resume, options)
    experiment = _kept_experiment(folder) if resume else None
    train_data, held_out = (saves() / "datasets" / name for name in (row.id, f"{row.id}-held-out"))
    _collect(row.id, frames, 0, train_data)
    _collect(row.id, max(5000, frames // 20), 1_000_000, held_out)
    datasets = open_datasets((train_data,), row.id)
    spent = (time.monotonic() - begin) / 60
    if experiment is None:
        left = minutes - spent - min(12.0, 0.15 * minutes)
        experiment = _within(left, datasets, options)
    command = f"dreamcade make {row.id} --minutes {minutes:g}"
    going_on = resume and folder.exists()
    world = run_training(datasets, folder, target, "dynamics", True, going_on, False, command, options, experiment)
    assert world is not None
    click.echo(f"trained after {(time.monotonic() - begin) / 60:.1f} minutes; measuring")
    _evaluate(world, held_out, quick=minutes < 30)
    click.echo(f"done in {(time.monotonic() - begin) / 60:.1f} minutes; play it: dreamcade play {world}")


def _check(row: Any, folder: Path, target: Path, resume: bool, options: dict[str, Any]) -> None:
    """Raise ValueError for what would only fail after the game was recorded."""
    from app.commands.experiments import chosen_experiment
    from app.commands.train import settle_machine
    from models.checkpoint import check_out
    from models.world import WorldSpec
    from training.runs import check_free

    if row.continuous:
        raise ValueError(f"'{row.id}' has continuous actions; worlds are learned from games with action ids")
    if not resume:
        check_free(folder)
    check_out(target)
    settle_machine(options)
    experiment = chosen_experiment(options, row.id, row.height, row.width)
    experiment.family.tokenizer.build(WorldSpec(game=row.id, height=row.height, width=row.width))


def _collect(game: str, frames: int, seed: int, out: Path) -> None:
    from tqdm import tqdm

    from collectors.rollout import CollectConfig, collect

    with tqdm(total=frames, desc=f"collect {out.name}", unit="frame") as bar:
        collect(CollectConfig(game=game, frames=frames, seed=seed), out, lambda done, total: _advance(bar, done))


def _advance(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def _kept_experiment(folder: Path) -> Any:
    """The experiment of an interrupted run, or None where there is none."""
    from models.checkpoint import from_json
    from training.presets import Experiment
    from training.runs import read_json

    path = folder / "config.json"
    if not path.is_file():
        return None
    found = read_json(path)
    return from_json(Experiment, found.get("experiment") if isinstance(found, dict) else found, str(path))


def _within(minutes: float, datasets: list[Any], options: dict[str, Any]) -> Any:
    """The preset with as many steps as fit into so many minutes on this machine."""
    import tempfile

    from app.commands.experiments import chosen_experiment
    from app.commands.train import settle_machine
    from training.loop import bf16_pays
    from training.pipeline import Data, Pipeline
    from training.runs import Run
    from training.windows import Windows

    manifest = datasets[0].manifest
    experiment = chosen_experiment(options, manifest.game, manifest.height, manifest.width, datasets)
    device = settle_machine(options)
    autocast = options["autocast"] == "on" or (options["autocast"] == "auto" and bf16_pays(device))
    windows = Windows(datasets, "train")
    with tempfile.TemporaryDirectory() as scratch:
        trial = _trial(experiment)
        run = Run(Path(scratch) / "run", {})
        pipeline = Pipeline(trial, Data(windows, windows), run, device, autocast)
        pipeline.train()
        rates = _rates(run.folder / "metrics.jsonl")
    seconds, steps = minutes * 60, dict[str, int]()
    if "tokenizer" in rates:  # one that learns by gradient
        most = experiment.tokenizer.steps
        steps["tokenizer"] = min(most, max(20, int(seconds * experiment.shares[0] * rates["tokenizer"])))
        seconds -= steps["tokenizer"] / rates["tokenizer"]
    if "lam" in rates:
        most = experiment.lam.steps  # trained much longer, codes told less of the player
        steps["lam"] = min(most, max(20, int(seconds * LAM_SHARE * rates["lam"])))
        seconds -= steps["lam"] / rates["lam"]
    steps["dynamics"] = max(20, int(seconds * rates["dynamics"]))
    for part, count in steps.items():
        click.echo(f"{part}: {rates[part]:.2f} steps/s here, {count} steps")
        experiment = replace(experiment, **{part: replace(getattr(experiment, part), steps=count)})
    return experiment


def _trial(experiment: Any) -> Any:
    """The same experiment, a few steps long, to be timed; the first report is warm-up."""
    short = {
        part: replace(getattr(experiment, part), steps=24, report_every=8, keep_every=1000)
        for part in ("tokenizer", "lam", "dynamics")
    }
    return replace(experiment, **short)


def _rates(path: Path) -> dict[str, float]:
    """Steps a second of each part, over all its reports but the first: the later steps of a part cost more."""
    import json

    paces: dict[str, list[float]] = {}
    for line in map(json.loads, path.read_text().splitlines()):
        if "steps_per_second" in line:
            paces.setdefault(line["part"], []).append(line["steps_per_second"])
    return {part: statistics.harmonic_mean(found[1:] or found) for part, found in paces.items()}


def _evaluate(world: Path, data: Path, quick: bool) -> None:
    from click.testing import CliRunner

    from app.commands.evaluate import evaluate

    card = world.parent / f"{world.name}.json"
    arguments = [str(world.resolve()), "--data", str(data), "--split", "all", "--write", "--json", str(card)]
    if quick:
        arguments += ["--clips", "32", "--dreams", "4", "--dream-frames", "200", "--judged", "16"]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    click.echo(result.output)


COMMANDS = [make]
