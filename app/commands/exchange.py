"""`dreamcade export` hands a data set to Minari, `dreamcade import` takes in what others recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.places import saves
from app.progress import Bar

if TYPE_CHECKING:
    from collectors.importing import ImportConfig


@click.command()
@click.argument("dataset")
@click.option("--format", "kind", type=click.Choice(["minari"]), default="minari", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of Minari data sets.  [default: saves/minari]")
@click.option("--id", "name", default="", help="Name in Minari.  [default: dreamcade/GAME-v0]")
def export(dataset: str, kind: str, out: Path | None, name: str) -> None:
    """Write the data set in folder DATASET, or behind a URL, in another format without losing a pixel.

    Minari finds it where MINARI_DATASETS_PATH is the folder --out.
    """
    from collectors.minari_export import export_minari
    from collectors.shards import Dataset

    root = out or saves() / "minari"
    with Dataset.open(dataset) as data, Bar("export", "episode") as bar:
        place = export_minari(data, root, name, bar.show)
        counts = f"{data.manifest.steps} transitions in {data.manifest.episodes} episodes"
    shown = place.relative_to(root).as_posix()
    click.echo(f"{place}: {counts}, every pixel read back and compared")
    click.echo(f"in Python: MINARI_DATASETS_PATH={root} and minari.load_dataset('{shown}')")


@click.command(name="import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--game", help="The game that is shown; any short name.  [default: what an export of our own says]")
@click.option("--out", type=click.Path(path_type=Path), help="New folder.  [default: saves/datasets/GAME-imported]")
@click.option("--size", help="Stored frame size, HEIGHTxWIDTH.  [default: the source's own]")
@click.option("--fps", type=float, help="Frames a second to keep.  [default: the source's own, or 15]")
@click.option("--stride", type=int, help="Keep every so many-th frame.")
@click.option("--cuts/--no-cuts", default=True, show_default=True, help="Begin an episode where a new scene does.")
@click.option("--filter", "drop", is_flag=True, help="Leave out frames that are black, frozen or of a menu.")
@click.option("--episode-frames", default=2000, show_default=True, help="Transitions at which an episode is cut.")
@click.option("--shard-frames", default=4096, show_default=True, help="Frames at which a shard is closed.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def import_(
    source: Path,
    game: str | None,
    out: Path | None,
    size: str | None,
    fps: float | None,
    stride: int | None,
    cuts: bool,
    drop: bool,
    episode_frames: int,
    shard_frames: int,
    as_json: bool,
) -> None:
    """Make a data set of SOURCE: a data set of Minari, or pictures without actions.

    \b
    Pictures are a video (MP4, MOV, MKV, WebM, AVI), a GIF, a folder of PNG or JPEG,
    an HDF5 file with one column `frames`, or a folder of any of these.

    Every frame is looked at, and what is black, frozen, of a menu or cut is told; --filter leaves such frames
    out, and the episode ends before them. Video is lossy: a ball of one pixel may be gone from it.
    """
    from collectors.importing import ImportConfig, known_game
    from collectors.minari_import import is_minari

    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    config = None
    if game is not None:
        name, note = known_game(game)
        config = ImportConfig(
            game=name,
            size=_size(size) if size else None,
            fps=fps,
            stride=stride,
            cuts=cuts,
            drop=drop,
            episode_frames=episode_frames,
            shard_frames=shard_frames,
        )
        if note:
            click.echo(f"note: {note}; the data set is of a game called '{name}'", err=True)
    if is_minari(source):
        _from_minari(source, out, config, as_json)
    elif config is None:
        raise ValueError(f"{source} does not say which game it is; name it, for example with --game pong")
    else:
        _from_clips(source, out, config, as_json)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if not found:
        raise ValueError(f"--size must be HEIGHTxWIDTH as in 104x80, found '{text}'")
    return int(found[1]), int(found[2])


def _place(out: Path | None, game: str) -> Path:
    return out or saves() / "datasets" / f"{re.sub('[^a-z0-9_-]+', '-', game.lower())}-imported"


def _from_clips(source: Path, out: Path | None, config: ImportConfig, as_json: bool) -> None:
    from collectors.importing import import_clips

    place = _place(out, config.game)
    with Bar("import", "frame") as bar:
        done = import_clips(source, place, config, bar.more)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps({"dataset": str(place), **done.to_json()}, indent=1))
        return
    for line in done.lines():
        click.echo(line)
    _told(place, done.manifest, ", actions unknown")


def _from_minari(source: Path, out: Path | None, config: ImportConfig | None, as_json: bool) -> None:
    from collectors.minari_import import import_minari
    from collectors.quality import found_lines, summed

    place = _place(out, config.game if config else source.resolve().name)
    with Bar("import", "episode") as bar:
        done = import_minari(source, place, config, bar.show)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    manifest = done.manifest
    if as_json:
        counts = {"episodes": manifest.episodes, "steps": manifest.steps, "frames": manifest.frames}
        found = {"filtered": bool(done.reports), **summed(done.reports)} if done.reports else {"filtered": False}
        click.echo(json.dumps({"dataset": str(place), "ours": done.ours, **counts, **found}, indent=1))
        return
    for number, report in enumerate(done.reports):
        for line in found_lines(report, True):
            click.echo(f"  episode {number}: {line}")
    _told(place, manifest, ", exactly as it was exported" if done.ours else "")


def _told(place: Path, manifest: Any, more: str) -> None:
    size = f"{manifest.height}x{manifest.width} at {manifest.fps:g} fps"
    counts = f"{manifest.steps} transitions in {manifest.episodes} episodes"
    click.echo(f"{place}: {counts}, {manifest.game} {size}{more}")
    click.echo(f"look at it: dreamcade inspect {place}")


COMMANDS = [export, import_]
