"""`play`, `dream` and `worlds`: what one does with a trained world."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.places import saves

if TYPE_CHECKING:
    from app.session import Session
    from app.timeline import Frame

DIALS = ("steps", "temperature", "guidance")
UNATTENDED = 300  # frames dreamed where nobody can press a key
Command = TypeVar("Command", bound=Callable[..., Any])


def dials(command: Command) -> Command:
    """The options that every way of dreaming has."""
    for option in (
        click.option("--seed", type=click.IntRange(min=0, max=2**62), default=0, show_default=True, help="luck"),
        click.option("--start", type=click.IntRange(min=0), help="which start clip  [default: the seed chooses]"),
        click.option("--prompt", type=click.Path(path_type=Path), help="begin from a picture instead"),
        click.option("--strict", is_flag=True, help="refuse a picture of another size instead of resizing it"),
        click.option("--steps", type=click.IntRange(1, 64), help="sampling steps a frame: more is better and slower"),
        click.option("--temperature", type=click.FloatRange(0.0, 10.0), help="surprise; 0 always takes the likeliest"),
        click.option("--guidance", type=click.FloatRange(0.0, 10.0), help="of a flow: how much an action counts"),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps"),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("world", required=False)
@dials
@click.option(
    "--fps", type=click.FloatRange(0.0, 1000.0), help="frames a second, 0: as many as possible  [default: the game's]"
)
@click.option("--scale", type=click.IntRange(1, 32), help="pixels of the window for one of the game")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads  [default: time 1 and 2, take the faster]")
@click.option("--follow", type=click.Path(path_type=Path), help="a run in training: take up its newest weights")
@click.option("--max-frames", type=click.IntRange(min=1), help="quit after so many frames")
def play(
    world: str | None,
    fps: float | None,
    scale: int | None,
    threads: int | None,
    follow: Path | None,
    max_frames: int | None,
    device: str,
    **options: Any,
) -> None:
    """Play WORLD live with the keyboard: its name or its folder; without one the world played last.

    Keys 1 to 8 are the learned actions, arrows go where their names say, H shows all keys.

    \b
        dreamcade play pong
        dreamcade play --follow saves/runs/pong    (while 'dreamcade train pong' runs)
    """
    follower = None
    if follow is not None:
        from app import library as shelf
        from app.follow import Follower

        follower = Follower(follow, shelf.device(device))
        world = world or str(follower.folder)
    if not has_display():
        _unattended(world, device, threads, max_frames, "there is no display", options)
        return
    from app import library
    from app.live import Live, NoWindow
    from app.places import Places

    folder, session = _open(world, device, 1, options)  # in this thread; the one that thinks has its own number
    try:
        live = Live(
            session,
            title=folder.name,
            scale=scale,
            fps=fps,
            places=Places.usual(folder),
            follower=follower,
            threads=threads,
        )
    except NoWindow as problem:
        _unattended(world, device, threads, max_frames, f"no window could be opened ({problem})", options)
        return
    if max_frames is None and live.driver == "dummy":
        max_frames = UNATTENDED
        click.echo(f"the video driver is 'dummy' and nobody can press a key: stopping after {max_frames} frames")
    library.remember(folder)
    live.play(
        max_frames=max_frames,
        tune=threads is None and session.device.type == "cpu",
        first=lambda: click.echo(f"first dreamed frame after {seconds_running():.1f} s"),
        say=click.echo,
    )
    click.echo(f"dreamed {live.dreamed} frames at {live.rate:.1f} frames a second")


@click.command()
@click.argument("world", required=False)
@dials
@click.option(
    "--frames", type=click.IntRange(min=1), help=f"how many  [default: as many as actions, {UNATTENDED} random ones]"
)
@click.option("--actions", default="random", show_default=True, help="random, ids such as 0,1,2, or a file of ids")
@click.option("--out", required=True, type=click.Path(), help="x.mp4, x.gif, x.npz or folder/")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="CPU threads")
def dream(
    world: str | None,
    frames: int | None,
    actions: str,
    out: str,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Dream a clip of WORLD without a window. The same seed and actions give the same frames."""
    from app import recorder

    recorder.kind_of(out)  # before anything slow
    from app import controllers

    _, session = _open(world, device, threads, options)
    ids = controllers.choose(actions, len(session.world.spec.actions), session.seed, frames, UNATTENDED)
    path = recorder.record(out, _progress(session, ids), ids, session.world.spec.fps)
    click.echo(f"{path}: {len(ids)} frames after the start frame, {session.model_ms:.1f} ms each, seed {session.seed}")


@click.command()
def worlds() -> None:
    """List the worlds that can be played, the player's own first."""
    from app import library
    from app.shelf import describe

    found = library.worlds()
    if not found:
        click.echo("there is no world yet; 'dreamcade make pong' records a game and learns it")
    for name, folder in found.items():
        for line in describe(name, folder):
            click.echo(line)
        hidden = library.hidden_by(folder)
        if hidden is not None:
            click.echo(f"    hides the shipped world of this name in {hidden}")


def has_display() -> bool:
    """Whether a window can be expected. Elsewhere than on Linux there is always a desktop."""
    wanted = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in wanted)


def seconds_running() -> float:
    """Seconds since this program was started, the interpreter's own start included where the system tells."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.process_time()


def _open(world: str | None, device: str, threads: int, options: dict[str, Any]) -> tuple[Path, Session]:
    """Find and load a world, set its dials, and begin a session from its start clips."""
    import torch

    from app import library
    from app.session import Session
    from models import checkpoint
    from models.world import Samples, Sampling

    torch.set_num_threads(threads)
    where = library.device(device)
    folder = library.pick(world)
    hidden = library.hidden_by(folder)
    if hidden is not None:
        click.echo(f"note: playing {folder}, which hides the shipped world of this name in {hidden}", err=True)
    opened = library.open_world(folder, where)
    clips = library.starts(
        folder, opened.spec, options["prompt"], strict=options["strict"], say=lambda words: click.echo(words, err=True)
    )
    chosen = {name: options[name] for name in DIALS if options[name] is not None}
    sampling = None
    if chosen:
        usual = opened.sampling if isinstance(opened, Samples) else Sampling()
        sampling = replace(usual, **chosen)
    session = Session(
        opened,
        clips,
        seed=options["seed"],
        start=options["start"],
        sampling=sampling,
        device=where,
        world_id=checkpoint.world_id(folder),
    )
    return folder, session


def _unattended(
    world: str | None, device: str, threads: int | None, frames: int | None, why: str, options: dict[str, Any]
) -> None:
    """Nobody can watch: dream with random actions into a video and a contact sheet, and say where they are."""
    from app import controllers, recorder

    folder, session = _open(world, device, threads or 1, options)
    spec = session.world.spec
    ids = controllers.choose("random", len(spec.actions), session.seed, frames or UNATTENDED)
    click.echo(f"{why}: dreaming {len(ids)} frames of '{folder.name}' with random actions")
    captures = saves() / "captures"
    name = f"{folder.name}-seed{session.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    kept = list(_progress(session, ids))
    click.echo(f"video: {recorder.record(captures / f'{name}.mp4', kept, ids, spec.fps)}")
    click.echo(f"contact sheet: {recorder.save_png(captures / f'{name}.png', recorder.contact_sheet(kept))}")
    click.echo("to play it, start this on a desktop, or over ssh -X, or with DISPLAY set to an X server")


def _progress(session: Session, ids: list[int]) -> Iterator[Frame]:
    """The frames of a dream, with a progress bar on a terminal."""
    from tqdm import tqdm

    from app.session import dream as dreamed

    return dreamed(session, tqdm(ids, unit="frame", desc="dreaming", disable=None))
