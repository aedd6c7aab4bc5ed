"""`dreamcade bench`: recipes side by side, on the same play and for the same time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from app.commands.train import autocast_option


@click.group()
def bench() -> None:
    """Compare recipes with each other, by the same scorecard."""


@bench.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set to learn from.")
@click.option(
    "--held-out", "play", type=click.Path(path_type=Path), help="Data set to be measured on.  [default: that of --data]"
)
@click.option(
    "--split",
    default="held-out",
    show_default=True,
    help="Of --held-out: held-out, validation, test, or all where nothing of it was trained on.",
)
@click.option("--minutes", default=20.0, show_default=True, help="Training of each recipe, by the clock.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all of it.  [default: saves/bench/GAME]")
@click.option("--only", multiple=True, metavar="ROW", help="ours, genie, tinyworlds or one-pass; may be repeated.")
@click.option("--clips", default=64, show_default=True, help="Clips for the roll-outs.")
@click.option("--dreams", default=8, show_default=True, help="Dreams under random codes.")
@click.option("--dream-frames", default=300, show_default=True, help="Frames of each dream.")
@click.option("--judged", default=48, show_default=True, help="Clips of the two-sample test; 0: none.")
@click.option("--size", type=click.Choice(["tiny", "small", "base", "paper"]), default="small", show_default=True)
@click.option("--threads", type=int, default=0, show_default=True, help="CPU threads; 0 takes every core.")
@autocast_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def families(
    data: Path,
    play: Path | None,
    split: str,
    minutes: float,
    out: Path | None,
    only: tuple[str, ...],
    clips: int,
    dreams: int,
    dream_frames: int,
    judged: int,
    size: str,
    threads: int,
    autocast: str,
    seed: int,
) -> None:
    """Our recipe, Genie as in the paper, one as TinyWorlds has it, a transformer that draws a frame in one pass, and
    standing still.

    Each trains for --minutes on the same frames and is measured on the same held-out play. Prints a table in Markdown
    and keeps it with all scorecards, runs and worlds in --out. Stopped in between, the same command goes on; rows
    that are done are not done again.

    \b
      dreamcade bench families --data saves/datasets/pong --held-out saves/datasets/pong-held-out --split all
    """
    import os

    import torch

    from app.commands.train import settle_autocast, splits_of
    from app.places import saves
    from training.choice import fitting_preset
    from training.comparison import ROWS, Budget, check_rows, compare, table
    from training.held_out import held_out
    from training.loop import Interrupted
    from training.runs import write_text
    from training.windows import open_datasets

    check_rows(only)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    datasets = open_datasets((data,))
    measured = open_datasets((play,))[0] if play is not None else datasets[0]
    splits = splits_of(datasets)
    folder = out or saves() / "bench" / datasets[0].manifest.game
    budget = Budget(minutes=minutes, clips=clips, dreams=dreams, frames=dream_frames, judged=judged)
    ours = fitting_preset(splits.train)[0]
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"size": size, "seed": seed}
    told |= {"autocast": settle_autocast(autocast, "cpu", folder), "say": lambda line: click.echo(line, err=True)}
    try:
        found = compare(splits, held_out(measured, split), folder, ours, budget, only or tuple(ROWS), **told)
    except Interrupted:
        click.echo(f"stopped; the same command goes on: --out {folder}")
        raise SystemExit(130) from None
    text = table(found)
    write_text(folder / "families.md", text + "\n")
    write_text(folder / "families.json", json.dumps(found, indent=1) + "\n")
    click.echo(text)


@bench.command()
@click.option(
    "--data", type=click.Path(path_type=Path), multiple=True, required=True, help="To learn from; one a game."
)
@click.option(
    "--held-out",
    "plays",
    type=click.Path(path_type=Path),
    multiple=True,
    help="To be measured on, one for each --data, in the same order.  [default: that of --data]",
)
@click.option("--split", default="held-out", show_default=True, help="Of --held-out: held-out, validation, test, all.")
@click.option("--tokenizer-minutes", default=6.0, show_default=True, help="Of a tokenizer or autoencoder that learns.")
@click.option("--lam-minutes", default=6.0, show_default=True, help="Of the latent actions.")
@click.option("--minutes", default=12.0, show_default=True, help="Of the dynamics.")
@click.option("--family", "names", multiple=True, help="Only this family; may be repeated.")
@click.option("--actions", "kinds", type=click.Choice(["latent", "real"]), multiple=True, help="Only these actions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all of it.  [default: saves/bench/dynamics]")
@click.option("--device", default="auto", show_default=True, help="Where rows are trained and measured, speed too.")
@click.option("--results", type=click.Path(path_type=Path), help="Folder for tables and rows alone.  [default: --out]")
@click.option("--clips", default=100, show_default=True, help="Clips for the roll-outs.")
@click.option("--dreams", default=8, show_default=True, help="Dreams under random actions.")
@click.option("--dream-frames", default=300, show_default=True, help="Frames of each dream.")
@click.option("--size", type=click.Choice(["tiny", "small", "base", "paper"]), default="small", show_default=True)
@click.option("--threads", type=int, default=0, show_default=True, help="CPU threads; 0 takes every core.")
@autocast_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def dynamics(
    data: tuple[Path, ...],
    plays: tuple[Path, ...],
    split: str,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    out: Path | None,
    device: str,
    results: Path | None,
    size: str,
    threads: int,
    autocast: str,
    seed: int,
    **spent: Any,
) -> None:
    """Every family of dynamics, under latent and under real actions, on the same frames and the same held-out play.

    Prints tables in Markdown, and whether what is asked of a family holds, and keeps them, a page a game, with all
    scorecards and worlds in --out. Stopped, the same command goes on.

    \b
      dreamcade bench dynamics --data saves/datasets/pong --held-out saves/datasets/pong-held-out --split all
    """
    import os

    import torch

    from app import library
    from app.commands.train import settle_autocast, splits_of
    from app.places import saves
    from training.dynamics_table import KINDS, ROWS, TableBudget, check_names, tabulate
    from training.held_out import held_out
    from training.loop import Interrupted
    from training.runs import write_text
    from training.windows import open_datasets

    check_names(names, kinds)
    if plays and len(plays) != len(data):
        raise ValueError(f"{len(data)} --data need as many --held-out or none, found {len(plays)}")
    torch.set_num_threads(threads or os.cpu_count() or 1)
    (folder := out or saves() / "bench" / "dynamics").mkdir(parents=True, exist_ok=True)
    budget = TableBudget(
        tokenizer=spent["tokenizer_minutes"], lam=spent["lam_minutes"], dynamics=spent["minutes"],
        clips=spent["clips"], dreams=spent["dreams"], frames=spent["dream_frames"],
    )  # fmt: skip
    rows, tables = (names or ROWS, kinds or KINDS), list[str]()
    told: dict[str, Any] = {"size": size, "seed": seed, "device": (where := library.device(device))}
    told |= {"autocast": settle_autocast(autocast, where, folder), "say": lambda line: click.echo(line, err=True)}
    for learned, play in zip(data, plays or data, strict=True):
        datasets, measured = open_datasets((learned,)), open_datasets((play,))[0]
        splits, game = splits_of(datasets), datasets[0].manifest.game
        told["results"] = (results or folder) / game
        try:
            found = tabulate(splits, held_out(measured, split), folder / game, budget, *rows, **told)
        except Interrupted:
            click.echo(f"stopped; the same command goes on: --out {folder}")
            raise SystemExit(130) from None
        tables.append("\n\n".join(_tables(found)) + "\n")
        write_text((results or folder) / f"{game}.md", tables[-1])
    click.echo("\n".join(tables), nl=False)


def _tables(found: Any) -> list[str]:
    """Of one game: the families, what only some of them have, and what is asked of them."""
    from training.dynamics_table import details, table
    from training.exit_gates import gates, written

    return [text for text in (table(found), details(found), written(gates(found))) if text]


COMMANDS = [bench]
