"""`replay`: watch a recorded dream again, turn it into a video, or check that it is the same to the last bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.places import saves

if TYPE_CHECKING:
    from app.capsule import Label
    from app.replaying import Comparison, Replay
    from app.timeline import Frame

DIFFERS = 2  # exit status of --verify


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--world", help="name or folder of a world  [default: the one it was recorded with]")
@click.option("--verify", is_flag=True, help="say whether all frames are the recorded ones; exit 2 if not")
@click.option("--out", type=click.Path(), help="write x.mp4, x.gif, x.npz or folder/ instead of opening a window")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads  [default: as many as it was recorded with]")
@click.pass_context
def replay(
    ctx: click.Context, file: Path, world: str | None, verify: bool, out: str | None, threads: int | None
) -> None:
    """Dream the recording in FILE, a replay capsule, once more.

    The capsule holds the first frames, the luck and the keys. The rest is dreamed again, and with the same world on
    the same kind of machine it is the same to the last bit. Without --out and --verify it plays in a window.

    \b
        dreamcade replay evening.capsule
        dreamcade replay evening.capsule --verify
        dreamcade replay evening.capsule --out evening.mp4
    """
    from app import recorder

    if out is not None:
        recorder.kind_of(out)  # before anything slow
    import torch

    from app import library
    from app.capsule import read_capsule, read_label
    from app.replaying import Comparison, Replay, foreign
    from models import checkpoint

    label = read_label(file)
    folder = _folder(world, label)
    found = checkpoint.world_id(folder)
    if found != label.world_id:
        words = foreign(label, found)
        if verify:
            click.echo(f"{file}: {words}")
            ctx.exit(DIFFERS)
        click.echo(f"note: {words}: the same keys may lead elsewhere", err=True)
    torch.set_num_threads(threads or label.threads)
    where = _device(label.device)
    opened = library.open_world(folder, where)
    capsule = read_capsule(file, opened)
    again = Replay(capsule, opened, device=where)
    if out is None and not verify:
        _show(again, folder.name)
        return
    comparison = Comparison(capsule, device=again.session.device.type)
    frames = _progress(again, comparison)
    if out is not None:
        path = recorder.record(out, frames, list(capsule.actions), label.fps)
        click.echo(f"{path}: {capsule.frames} frames")
    for _ in frames:
        pass  # what no video took
    if verify:
        wrong = comparison.verdict()
        click.echo(f"{file}: {wrong or _identical(comparison, capsule.frames)}")
        if wrong is not None:
            ctx.exit(DIFFERS)


def _identical(comparison: Comparison, frames: int) -> str:
    if comparison.compared == frames:
        return f"all {frames} frames are identical to the recording"
    return f"{comparison.compared} of {frames} frames have a checksum, and these are identical to the recording"


def _folder(world: str | None, label: Label) -> Path:
    """The world that was asked for, or the one with the weights of the recording."""
    from app import library
    from app.records import clean
    from models import checkpoint

    if world is not None:
        return library.pick(world)
    for folder in library.worlds().values():
        try:
            if checkpoint.world_id(folder) == label.world_id:
                return folder
        except OSError:
            continue  # a world that is broken is not the one
    theirs = f"world {clean(label.world_id, 16)} of '{clean(label.game, 20)}'"
    raise FileNotFoundError(f"the recording is of {theirs}, which is not here; --world NAME dreams it with another one")


def _device(recorded: str) -> str:
    """Where it was recorded, if that is here."""
    from app import library

    try:
        return library.device(recorded)
    except ValueError:
        click.echo(f"note: recorded on {recorded}, which is not here: dreaming on cpu", err=True)
        return "cpu"


def _progress(again: Replay, comparison: Comparison) -> Iterator[Frame]:
    """All frames, each compared on its way, with a progress bar on a terminal."""
    from tqdm import tqdm

    comparison.see(again.session.frame)
    yield again.session.frame
    for _ in tqdm(range(again.capsule.frames - 1), unit="frame", desc="dreaming", disable=None):
        frame = again.step()
        comparison.see(frame)
        yield frame


def _show(again: Replay, title: str) -> None:
    """Play it in a window; without a display write a video and say where it is."""
    from app.commands.play import has_display

    why = "there is no display"
    if has_display():
        why = _watch(again, title)
    if why:
        _film(again, title, why)


def _watch(again: Replay, title: str) -> str:
    """Play it in a window. Returns why there is none, or an empty string."""
    import pygame

    from app.game import Game
    from app.hud import Stats
    from app.scenes.replay import ReplayScene, bars
    from app.screen import Screen

    spec, stats = again.session.world.spec, Stats()
    try:
        screen = Screen(spec.width, spec.height, bars=bars, title=f"{title} - Dreamcade")
    except pygame.error as problem:
        return f"no window could be opened ({problem})"
    nobody = screen.driver == "dummy"
    scene = ReplayScene(again, screen, stats, title=title, captures=saves() / "captures")
    try:
        Game(screen, scene, stats, fps=again.capsule.label.fps, after_turn=lambda: not (nobody and again.done)).run()
    finally:
        screen.close()
    click.echo(f"watched {again.shown} of {again.capsule.frames} frames{scene.verdict and '; ' + scene.verdict}")
    return ""


def _film(again: Replay, title: str, why: str) -> None:
    from app import recorder
    from app.replaying import Comparison

    path = saves() / "captures" / f"{title}-replay-{time.strftime('%Y%m%d-%H%M%S')}.mp4"
    frames = _progress(again, Comparison(again.capsule))
    actions = list(again.capsule.actions)
    click.echo(f"{why}: video: {recorder.record(path, frames, actions, again.capsule.label.fps)}")
