"""`doctor`: what this machine has, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib.util
import shutil
import time

import click

from app import machine
from app.machine import Fact
from app.places import saves

LOW_SPACE = 2e9  # bytes that a small data set and a run need


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Show versions, speed, display, disk, games and worlds; exit 1 if something required is missing."""
    facts: list[Fact] = []
    _tell(facts, "packages", machine.packages())
    torch = importlib.util.find_spec("torch") is not None
    _tell(facts, "machine", [*machine.processor(), *(machine.speed() + machine.accelerators() if torch else [])])
    _tell(facts, "games and display", [machine.display(), machine.roms()])
    if torch:
        _tell(facts, "disk and worlds", [_disk(), *_worlds()])
    missing = [fact for fact in facts if fact.cure]
    click.echo("")
    for fact in missing:
        click.echo(f"{'MISSING' if fact.fatal else 'note'}: {fact.name}: {fact.cure}")
    if any(fact.fatal for fact in missing):
        ctx.exit(1)
    click.echo("everything that is required is here")


def _tell(facts: list[Fact], heading: str, found: list[Fact]) -> None:
    """Print a section and remember its facts."""
    click.echo(("\n" if facts else "") + heading)
    for fact in found:
        click.echo(f"    {fact.name:<16} {fact.found}")
    facts += found


def _disk() -> Fact:
    folder = saves()
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    cure = "" if free > LOW_SPACE else "free some space, or point DREAMCADE_SAVES to another disk"
    return Fact("free space", f"{free / 1e9:.1f} GB for {folder}", cure)


def _worlds() -> list[Fact]:
    """Each world, and whether it opens and dreams one frame."""
    from app import library
    from app.session import Session

    facts = []
    for name, folder in library.worlds().items():
        began = time.perf_counter()
        try:
            world = library.open_world(folder, "cpu")
            Session(world, library.starts(folder, world.spec, None, strict=False, say=click.echo)).step(0)
        except (ValueError, OSError, RuntimeError) as problem:
            facts.append(Fact(name, f"broken: {problem}", f"remove or replace {folder}"))
        else:
            facts.append(Fact(name, f"opens and dreams a frame in {time.perf_counter() - began:.1f} s"))
    return facts or [Fact("worlds", "none yet", "dreamcade make pong")]
