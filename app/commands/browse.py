"""`dreamcade browse`: look through a data set in a window, or list, export and delete its episodes without one."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.commands.play import has_display
from app.places import saves

if TYPE_CHECKING:
    from torch import Tensor

    from app.browsing import Browser
    from collectors.manifest import Manifest
    from models.world import World

TURNS = 60  # of the loop in a second; the game's own rate is kept by the clock


@click.command()
@click.argument("dataset")
@click.option(
    "--world", help="Whose latent codes to show, and who dreams on.  [default: a world of this game and size]"
)
@click.option("--episode", type=click.IntRange(min=0), help="Which to begin with; the first is 0.")
@click.option("--export", type=click.IntRange(min=0), help="Write this episode to --out and open no window.")
@click.option("--out", type=click.Path(), help="x.mp4, x.gif, x.npz or folder/")
@click.option("--drop", help="Delete these episodes for good and open no window: 3,7,10-12 or marked.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps")
def browse(
    dataset: str,
    world: str | None,
    episode: int | None,
    export: int | None,
    out: str | None,
    drop: str | None,
    yes: bool,
    device: str,
) -> None:
    """Look through the data set in folder DATASET, or of that name in saves/datasets.

    Enter dreams on from the frame that is shown. Without a display: a table of the episodes, and a sheet of
    frames in saves/captures. Examples:

    \b
      dreamcade browse pong --episode 3
      dreamcade browse pong --export 3 --out rally.mp4
      dreamcade browse pong --drop 3,7 --yes
    """
    from app.browsing import Browser
    from collectors.shards import Dataset

    if (export is None) != (out is None):
        raise click.UsageError("--export needs --out, and --out needs --export, as in --export 3 --out x.mp4")
    folder = _folder(dataset)
    opened = Dataset.open(folder)
    if opened.manifest.continuous:
        raise ValueError(f"{folder} holds continuous actions, not ids; look at it with dreamcade inspect --sheet FILE")
    attended = export is None and drop is None and has_display()
    loaded, home = _world(world, opened.manifest, device) if world or attended else (None, None)
    browser = Browser(opened, loaded)
    try:
        browser.go(episode or 0)
        if export is not None and out is not None:
            click.echo(f"episode {export}: {browser.export(export, out)}")
        if drop is not None:
            _drop(browser, drop, yes)
        watched = attended and _live(browser, folder, loaded, home, device)
        if export is None and drop is None and not watched:
            _unattended(browser, folder, episode)
    finally:
        browser.close()


def chosen_episodes(text: str, browser: Browser) -> list[int]:
    """`3,7,10-12` or `marked` → numbers of episodes, each once. Raises ValueError for anything else."""
    if text.strip() == "marked":
        if not browser.marked():
            raise ValueError("no episode is marked; mark some in the window with X, or give numbers as in --drop 3,7")
        return browser.marked()
    found = set[int]()
    for part in re.split(r"[,\s]+", text.strip()):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        if not match:
            raise ValueError(f"--drop takes numbers as in 3,7,10-12, or marked; found '{part[:20]}'")
        first = browser.check(int(match[1]))
        last = browser.check(int(match[2] or match[1]))
        if last < first:
            raise ValueError(f"--drop {part} ends before it begins")
        found.update(range(first, last + 1))
    return sorted(found)


def table(browser: Browser) -> list[str]:
    """A line an episode, under a line that says what the columns are."""
    head = f"{'mark':<4} {'episode':>7} {'seed':>10} {'behaviour':<14} {'steps':>7} {'return':>8}"
    lines = [f"{head}  {'end':<5}  split"]
    for episode in range(len(browser.dataset.episodes)):
        row = browser.summary(episode)
        mark, end = "X" if browser.is_marked(episode) else "", "over" if row.ended else "cut"
        numbers = f"{row.number:>7} {row.seed:>10} {row.behaviour:<14} {row.steps:>7} {row.total:>8g}"
        lines.append(f"{mark:<4} {numbers}  {end:<5}  {row.split}")
    return lines


def window(
    browser: Browser, title: str, context: int | None, after_turn: Callable[[], bool] | None = None
) -> Tensor | None:
    """Look through the data set until the window is closed. Returns the frames to dream on from, if some were chosen.

    context: how many frames; None where no world could go on. Raises NoWindow without a display.
    """
    import pygame

    from app.game import Game
    from app.hud import Stats
    from app.live import NoWindow
    from app.scenes.browser import BrowserScene
    from app.scenes.browser_page import WIDER, bars
    from app.screen import Screen

    manifest = browser.dataset.manifest
    try:
        screen = Screen(round(manifest.width * WIDER), manifest.height, bars=bars, title=f"{title} - Dreamcade")
    except pygame.error as problem:
        raise NoWindow(str(problem)) from None
    try:
        scene = BrowserScene(browser, screen, title=title, captures=saves() / "captures", context=context)
        Game(screen, scene, Stats(), fps=TURNS, after_turn=after_turn).run()
    finally:
        screen.close()
    return scene.chosen


def _folder(dataset: str) -> Path:
    """A data set's folder: a path, or a name in saves/datasets."""
    named = saves() / "datasets" / dataset
    return named if not Path(dataset).exists() and named.is_dir() else Path(dataset)


def _world(name: str | None, manifest: Manifest, device: str) -> tuple[World | None, Path | None]:
    """The world of this name and its folder; without a name the first that fits, beginning with the one played last."""
    import torch

    from app import library

    torch.set_num_threads(1)
    where = library.device(device)
    if name is not None:
        folder = library.pick(name)
        return library.open_world(folder, where), folder
    known = library.worlds()
    fitting = [folder for folder in [library.pick(None), *known.values()] if _fits(folder, manifest)] if known else []
    return (library.open_world(fitting[0], where), fitting[0]) if fitting else (None, None)


def _fits(folder: Path, manifest: Manifest) -> bool:
    """Whether a world is of the data's game and frame size, as its card says; a broken card fits nothing."""
    from app.browsing import check_size
    from models import checkpoint
    from models.world import WorldSpec

    try:
        spec = checkpoint.from_json(WorldSpec, checkpoint.read_card(folder).get("spec"), "spec")
        check_size(manifest, spec)
    except (ValueError, OSError):
        return False
    return bool(spec.game == manifest.game)


def _live(browser: Browser, folder: Path, world: World | None, home: Path | None, device: str) -> bool:
    """The window, and dreams from it and back to it, until it is closed. False where nobody could see it."""
    import pygame

    from app.live import NoWindow

    title, context = folder.resolve().name, None if world is None else world.spec.context
    try:
        pygame.display.init()
    except pygame.error as problem:
        click.echo(f"no window could be opened ({problem})")
        return False
    if pygame.display.get_driver() == "dummy":
        pygame.display.quit()
        return False
    try:
        while (clip := window(browser, title, context)) is not None and world is not None and home is not None:
            _dream(world, home, clip, device)
    except NoWindow as problem:
        click.echo(f"no window could be opened ({problem})")
        return False
    return True


def _dream(world: World, home: Path, clip: Tensor, device: str) -> None:
    """Play on from a clip of real frames, in a window of its own."""
    from app import library
    from app.live import Live
    from app.places import Places
    from app.session import Session
    from models import checkpoint

    session = Session(world, [clip], device=library.device(device), world_id=checkpoint.world_id(home))
    live = Live(session, title=home.name, places=Places.usual(home))
    live.play(max_frames=None, tune=False, first=lambda: None, say=click.echo)
    click.echo(f"dreamed {live.dreamed} frames at {live.rate:.1f} frames a second")


def _unattended(browser: Browser, folder: Path, episode: int | None) -> None:
    """Nobody can watch: list the episodes, and write a sheet of the data set or of the episode asked for."""
    import numpy as np

    from app import recorder
    from collectors.inspection import contact_sheet

    for line in table(browser):
        click.echo(line)
    if browser.reads_codes:
        codes = browser.codes()
        shares = (f"{browser.titled(code)} {np.mean(codes == code):.0%}" for code in np.unique(codes).tolist())
        click.echo(f"latent codes of episode {browser.episode}: {', '.join(shares)}")
    name = folder.resolve().name + ("" if episode is None else f"-episode{episode}")
    path = saves() / "captures" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.png"
    if episode is None:
        sheet = contact_sheet(browser.dataset)
    else:
        sheet = recorder.contact_sheet([frame for _, frame in browser.strip(32)])
    click.echo(f"contact sheet: {recorder.save_png(path, sheet)}")


def _drop(browser: Browser, text: str, yes: bool) -> None:
    """Delete episodes, after a question unless that was answered beforehand."""
    from tqdm import tqdm

    episodes = chosen_episodes(text, browser)
    folder, all_of_them = browser.dataset.folder, len(browser.dataset.episodes)
    steps = sum(browser.dataset.episodes[episode].steps for episode in episodes)
    what = f"{len(episodes)} of {all_of_them} episodes with {steps} transitions"
    if not yes:
        if not sys.stdin.isatty():
            raise ValueError(f"nobody can be asked whether to delete {what} from {folder}; add --yes to do it")
        if not click.confirm(f"delete {what} from {folder} for good?"):
            click.echo("nothing was deleted")
            return
    with tqdm(unit="shard", desc="deleting", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        edited = browser.drop(episodes, show)
    click.echo(f"{folder}: deleted {what}; left are {edited.steps} transitions in {edited.episodes} episodes")
