"""`dreamcade collect` records a game."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from app.places import saves

if TYPE_CHECKING:
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
@click.option("--out", help="Folder, or a URL such as s3://bucket/pong.  [default: saves/datasets/GAME]")
@click.option("--behaviour", default="mix", show_default=True, help=WHO)
@click.option("--workers", default="auto", show_default=True, help="Processes; the result does not depend on it.")
@click.option("--engine", default="local", show_default=True, help="local, or ray for a cluster; nor on this.")
@click.option(
    "--labels",
    is_flag=True,
    help="Record where the player is also where that takes long, as in CoinRun.",
)
@click.option("--pool", type=int, help="Raw frames merged, the brighter winning: 1 or 2.  [default: the game's own]")
@click.option("--size", help="Stored frame size, HEIGHTxWIDTH.  [default: the game's own]")
@click.option("--episode-frames", default=2000, show_default=True, help="Transitions at which an episode is cut.")
@click.option("--shard-frames", default=4096, show_default=True, help="Frames at which a shard is closed.")
def collect(
    game: str,
    frames: int,
    seed: int,
    levels: int,
    out: str | None,
    behaviour: str,
    workers: str,
    engine: str,
    labels: bool,
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
    from collectors.rollout import CollectConfig

    config = CollectConfig(
        game=game,
        frames=frames,
        seed=seed,
        behaviour=behaviour,
        size=_size(size) if size else None,
        pooled=pool,
        labels=labels,
        episode_frames=episode_frames,
        shard_frames=shard_frames,
        levels=levels,
        engine=engine,
        workers=_workers(workers),
    )
    if behaviour == "human":
        _by_hand(config, out)
    else:
        _by_machine(config, out)


def _by_hand(config: CollectConfig, out: str | None) -> None:
    """A person plays and is recorded."""
    from app.commands.by_hand import record_by_hand
    from collectors.games import game_named
    from collectors.manifest import NAME
    from collectors.remote import send, staging_folder

    folder = staging_folder(out) if out else None
    game = game_named(config.game, config.size, config.pooled, config.labels)
    record_by_hand(game, folder, frames=config.frames, seed=config.seed)
    if folder and out and (folder / NAME).exists():
        send(folder, out)


def _by_machine(config: CollectConfig, out: str | None) -> None:
    """Players of our own, or agents, are recorded; or the recording in the folder goes on."""
    from collectors.games import game_named
    from collectors.manifest import NAME, read_manifest
    from collectors.remote import send, staging_folder
    from collectors.rollout import collect as record

    if "agent:" in config.behaviour:
        from collectors.agents import WARNING

        click.echo(f"note: {WARNING}", err=True)
    folder = staging_folder(out) if out else saves() / "datasets" / game_named(config.game).id
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
    if out:
        send(folder, out)
    state = "already complete" if finished else "complete"
    gone = f"; episodes dropped by hand: {len(manifest.dropped)}" if manifest.dropped else ""
    counts = f"{manifest.steps} transitions in {manifest.episodes} episodes"
    click.echo(f"{out or folder}: {state}, {counts}, {manifest.game}{gone}")


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


COMMANDS = [collect]
