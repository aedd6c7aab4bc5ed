"""`dreamcade collect GAME --behaviour human`: a window in which a person plays the real game and is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.places import saves

if TYPE_CHECKING:
    from app.tape import Tape
    from collectors.games import Game

UNATTENDED = 300  # steps where nobody can press a key


def record_by_hand(game: Game, out: Path | None, *, frames: int, seed: int, shard_frames: int | None = None) -> None:
    """Record until the player stops or `frames` steps are played, into `out` or a new folder among the data sets.

    What is recorded when it ends is whole, however it ends; a crash costs the last shard. Raises ValueError where no
    window can be opened or something is in `out` already, OSError when the disk refuses.
    """
    from app.commands.play import has_display
    from app.subjects import real
    from app.tape import SHARD_STEPS, Tape

    if game.continuous:
        raise ValueError(f"'{game.id}' is not played with keys: an action is {len(game.action_names)} numbers")
    elsewhere = "record on a desktop, or without a person: --behaviour sticky"
    if not has_display():
        raise ValueError(f"--behaviour human needs a window and there is no display; {elsewhere}")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"something is in {out} already; what a person plays goes into a folder of its own, see --out")
    root = saves() / "datasets" if out is None else out.parent
    tape = Tape(root, real(game), say=click.echo, shard_steps=shard_frames or SHARD_STEPS)
    _play(game, tape, out, frames, seed, elsewhere)
    if tape.error:
        raise OSError(tape.error)
    if tape.folder is not None and tape.steps:
        click.echo(f"look at it: dreamcade inspect {tape.folder}")


def _play(game: Game, tape: Tape, out: Path | None, frames: int, seed: int, elsewhere: str) -> None:
    """Open the window and play; the tape is stopped whatever happens."""
    import pygame

    from app.game import Game as Loop
    from app.hud import Stats, bars
    from app.live import TURNS
    from app.real_play import RealPlay
    from app.scenes.record import RecordScene
    from app.screen import Screen
    from collectors.machines import make_machine

    try:
        screen = Screen(game.width, game.height, bars=bars, title=f"recording {game.title} - Dreamcade")
    except pygame.error as problem:
        raise ValueError(f"no window could be opened ({problem}); {elsewhere}") from None
    if screen.driver == "dummy" and frames > UNATTENDED:
        frames = UNATTENDED
        click.echo(f"the video driver is 'dummy' and nobody can press a key: stopping after {frames} frames")
    try:
        tape.start(out)
        if tape.recording:
            play = RealPlay(game, make_machine(game), tape, seed)
            scene = RecordScene(play, screen, captures=saves() / "captures", fps=game.fps)
            Loop(screen, scene, Stats(), fps=TURNS, after_turn=lambda: play.steps < frames and not scene.done).run()
    finally:
        tape.stop()
        screen.close()
