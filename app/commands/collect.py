"""`dreamcade collect` records a game, `dreamcade inspect` says what was recorded."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from app.places import saves


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
@click.option("--seed", default=0, show_default=True, help="Seed of the first episode; the next have seed + 1, …")
@click.option("--out", help="Folder, or a URL such as s3://bucket/pong.  [default: saves/datasets/GAME]")
@click.option("--behaviour", default="mix", show_default=True, help="random, sticky, scripted, mix, random:1,sticky:3")
@click.option("--workers", default="auto", show_default=True, help="Processes; the result does not depend on it.")
@click.option("--pool", type=int, help="Raw frames merged, the brighter winning: 1 or 2.  [default: the game's own]")
@click.option("--size", help="Stored frame size, HEIGHTxWIDTH.  [default: the game's own]")
@click.option("--episode-frames", default=2000, show_default=True, help="Transitions at which an episode is cut.")
@click.option("--shard-frames", default=4096, show_default=True, help="Frames at which a shard is closed.")
def collect(
    game: str,
    frames: int,
    seed: int,
    out: str | None,
    behaviour: str,
    workers: str,
    pool: int | None,
    size: str | None,
    episode_frames: int,
    shard_frames: int,
) -> None:
    """Record GAME (pong, breakout, any Atari game) into a data set.

    The same command on the same folder goes on where it was interrupted.
    """
    from collectors.games import game_named
    from collectors.manifest import NAME, read_manifest
    from collectors.remote import send, staging_folder
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
        workers=_workers(workers),
    )
    folder = staging_folder(out) if out else saves() / "datasets" / game_named(game).id
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


@click.command()
@click.argument("dataset")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Compare every shard with its sha256 first and name those that differ.")
@click.option("--repair", "mend", is_flag=True, help="Set damaged shards aside, into the folder damaged/ beside them.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write a PNG with frames of some episodes.")
def inspect(dataset: str, as_json: bool, verify: bool, mend: bool, sheet: Path | None) -> None:
    """Say what is in the data set in folder DATASET, or behind a URL.

    A recorded data set that was repaired becomes whole again by the command that recorded it.
    """
    from collectors.inspection import inspect_dataset, write_sheet
    from collectors.shards import Dataset

    if verify or mend:
        _check(dataset, mend)
    with Dataset.open(dataset) as data:
        facts = inspect_dataset(data) | ({"verified": True} if verify or mend else {})
        if data.manifest.lost:
            facts["lost"] = [shard.file for shard in data.manifest.lost]
        if sheet:
            write_sheet(data, sheet)
    click.echo(json.dumps(facts, indent=1) if as_json else _table(facts))


def _check(dataset: str, mend: bool) -> None:
    """Compare every shard with its sha256; damaged ones are an error, or with `mend` set aside."""
    from collectors.remote import folder_of, is_remote, local_folder
    from collectors.verify import check_dataset, repair

    if mend and is_remote(dataset):
        raise ValueError(f"{dataset} is repaired where it lies; copy the damaged shards there again")
    folder = folder_of(dataset) if mend else local_folder(dataset)
    if mend:
        for damage in repair(folder):
            click.echo(f"set aside: {damage}", err=True)
    check_dataset(folder)


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
    if facts.get("lost"):
        lines.append(f"damaged and set aside: {', '.join(facts['lost'])}; the same collect command records them again")
    lines.append("returns:")
    for name, row in facts["returns"].items():
        spread = f"mean {row['mean']:.2f}, {row['low']:g} to {row['high']:g}"
        lines.append(f"  {name:<12} {row['episodes']:>5} episodes, {spread}")
    if facts["sources"]["dream"]:
        who = ", ".join(facts["worlds"]) or "of unknown weights"
        lines.insert(2, f"{facts['sources']['dream']} of {facts['episodes']} episodes were dreamed, by world {who}")
    for title, counts in (("actions:", facts["actions"]), ("latent actions:", facts["latents"])):
        if counts:
            lines.append(title)
            lines += [f"  {name:<14} {100 * count / facts['steps']:5.1f} %" for name, count in counts.items()]
    if facts.get("verified"):
        lines.append("every shard matches its sha256")
    return "\n".join(lines)


COMMANDS = [collect, inspect]
