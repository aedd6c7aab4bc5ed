"""`dreamcade collect` records a game, `dreamcade inspect` says what was recorded."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.places import saves

if TYPE_CHECKING:
    from collectors.manifest import Manifest
    from collectors.rollout import CollectConfig

WHO = "random, sticky, scripted, novelty, agent:WHICH, human, mix, or shares: random:1,sticky:3"


def _size(text: str) -> tuple[int, int]:
    """`104x80` → (104, 80). Raises ValueError when it is not HxW."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if not found:
        raise ValueError(f"--size must be HEIGHTxWIDTH as in 104x80, found '{text}'")
    return int(found[1]), int(found[2])


def _workers(text: str) -> int:
    """`auto` → 0, else a number of processes. Raises ValueError when it is neither."""
    if text == "auto":
        return 0
    if not re.fullmatch(r"\d{1,4}", text) or int(text) == 0:
        raise ValueError(f"--workers must be auto or a number from 1 on, found '{text}'")
    return int(text)


@click.command()
@click.argument("game")
@click.option("--frames", default=200_000, show_default=True, help="Transitions to record.")
@click.option("--seed", "--first-level", "seed", default=0, show_default=True, help="Of the first episode; then + 1.")
@click.option("--levels", default=0, help="How many seeds there are before the first comes again.  [default: no end]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: saves/datasets/GAME]")
@click.option("--behaviour", default="mix", show_default=True, help=WHO)
@click.option("--workers", default="auto", show_default=True, help="Processes; the result does not depend on it.")
@click.option("--engine", default="local", show_default=True, help="local, or ray for a cluster; nor on this.")
@click.option("--pool", type=int, help="Raw frames merged, the brighter winning: 1 or 2.  [default: the game's own]")
@click.option("--size", help="Stored frame size, HEIGHTxWIDTH.  [default: the game's own]")
@click.option("--episode-frames", default=2000, show_default=True, help="Transitions at which an episode is cut.")
@click.option("--shard-frames", default=4096, show_default=True, help="Frames at which a shard is closed.")
def collect(
    game: str,
    frames: int,
    seed: int,
    levels: int,
    out: Path | None,
    behaviour: str,
    workers: str,
    engine: str,
    pool: int | None,
    size: str | None,
    episode_frames: int,
    shard_frames: int,
) -> None:
    """Record GAME (pong, coinrun, walker-walk, …; see dreamcade games) into a data set.

    The same command on the same folder goes on where it was interrupted. A level of Procgen is a seed. With
    --behaviour human you play in a window, at the game's own rate, until Esc or --frames.

    \b
      dreamcade collect coinrun --first-level 0 --levels 500
      dreamcade collect breakout --behaviour novelty
      dreamcade collect pong --behaviour random:1,sticky:3,novelty:2
      dreamcade collect pong --behaviour agent:my_players.py:clever
      dreamcade collect pong --behaviour human
    """
    from collectors.games import game_named
    from collectors.manifest import NAME, read_manifest
    from collectors.rollout import CollectConfig
    from collectors.rollout import collect as record

    config = CollectConfig(
        game=game,
        frames=frames,
        seed=seed,
        behaviour=behaviour,
        size=_size(size) if size else None,
        pooled=pool,
        episode_frames=episode_frames,
        shard_frames=shard_frames,
        levels=levels,
        engine=engine,
        workers=_workers(workers),
    )
    if _played_by_hand(config, out):
        return
    folder = out or saves() / "datasets" / game_named(game).id
    finished = (folder / NAME).exists() and read_manifest(folder).complete
    bar = _Bar(quiet=finished)
    try:
        manifest = record(config, folder, bar.show)
    except KeyboardInterrupt:
        bar.close()
        click.echo(f"stopped; finished shards are kept in {folder}, the same command goes on from there", err=True)
        sys.exit(130)
    finally:
        bar.close()
    click.echo(_summary(folder, manifest, finished))


def _played_by_hand(config: CollectConfig, out: Path | None) -> bool:
    """Whether a person plays, who has then done so. Before an agent plays there is a word of warning."""
    if config.behaviour == "human":
        from app.commands.by_hand import record_by_hand
        from collectors.games import game_named

        game = game_named(config.game, config.size, config.pooled)
        record_by_hand(game, out, frames=config.frames, seed=config.seed)
        return True
    if "agent:" in config.behaviour:
        from collectors.agents import WARNING

        click.echo(f"note: {WARNING}", err=True)
    return False


def _summary(folder: Path, manifest: Manifest, finished: bool) -> str:
    state = "already complete" if finished else "complete"
    gone = f"; episodes dropped by hand: {len(manifest.dropped)}" if manifest.dropped else ""
    counts = f"{manifest.steps} transitions in {manifest.episodes} episodes"
    return f"{folder}: {state}, {counts}, {manifest.game}{gone}"


class _Bar:
    """A progress bar on the error stream, made when the total is known."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None and not self.quiet:
            self._bar = tqdm(total=total, initial=done, unit=" frames", desc="collect", dynamic_ncols=True)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Compare every shard with its sha256 first.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write a PNG with frames of some episodes.")
def inspect(dataset: Path, as_json: bool, verify: bool, sheet: Path | None) -> None:
    """Say what is in the data set in folder DATASET."""
    from collectors.inspection import inspect_dataset, write_sheet
    from collectors.shards import Dataset

    with Dataset.open(dataset) as data:
        if verify:
            data.verify()
        facts = inspect_dataset(data) | ({"verified": True} if verify else {})
        if sheet:
            write_sheet(data, sheet)
    click.echo(json.dumps(facts, indent=1) if as_json else _table(facts))


def _table(facts: dict[str, Any]) -> str:
    height, width = facts["size"]
    progress = "complete" if facts["complete"] else f"unfinished, {facts['steps_requested']} requested"
    lines = [
        f"{facts['game']}  {height}x{width} at {facts['fps']:g} fps, {facts['behaviour']}, seed {facts['seed']}",
        f"{facts['steps']} transitions ({progress}), {facts['frames']} frames, {facts['episodes']} episodes",
        f"{facts['bytes'] / 1e6:.1f} MB in {facts['shards']} shards ({facts['raw_bytes'] / 1e6:.1f} MB unpacked)",
        "episodes: " + ", ".join(f"{name} {count}" for name, count in facts["splits"].items()),
    ]
    if facts["dropped"]["episodes"]:
        lines.append("dropped by hand: episodes {episodes}, transitions {steps}".format(**facts["dropped"]))
    lines.append("returns:")
    for name, row in facts["returns"].items():
        spread = f"mean {row['mean']:.2f}, {row['low']:g} to {row['high']:g}"
        lines.append(f"  {name:<12} {row['episodes']:>5} episodes, {spread}")
    if facts["sources"]["dream"]:
        who = ", ".join(facts["worlds"]) or "of unknown weights"
        lines.insert(2, f"{facts['sources']['dream']} of {facts['episodes']} episodes were dreamed, by world {who}")
    if facts["controls"]:
        lines.append("actions, mean and spread:")
        lines += [f"  {name:<14} {row['mean']:6.2f} {row['std']:6.2f}" for name, row in facts["controls"].items()]
    for title, counts in (("actions:", facts["actions"]), ("latent actions:", facts["latents"])):
        if counts:
            lines.append(title)
            lines += [f"  {name:<14} {100 * count / facts['steps']:5.1f} %" for name, count in counts.items()]
    if facts.get("verified"):
        lines.append("every shard matches its sha256")
    return "\n".join(lines)


COMMANDS = [collect, inspect]
