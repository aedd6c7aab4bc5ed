"""`dreamcade games`: what can be recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collectors.games import Game


@click.command()
@click.argument("part", default="")
@click.option("--family", help="Only one family: atari, procgen, control or gymnasium.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def games(part: str, family: str | None, as_json: bool) -> None:
    """List the games that can be recorded, or those with PART in their name.

    Each with its family, the size of its frames and its actions. Action ids count from 0 in the order of the names;
    where actions are continuous, each name stands for a number in [-1, 1].
    """
    from collectors.games import families, game_ids, game_named
    from collectors.machines import MAKERS, installed

    if family is not None and family not in families():
        raise ValueError(f"unknown family '{family}'; known: {', '.join(families())}")
    wanted = part.strip().lower()
    chosen = [one for one in families() if family in (None, one)]
    rows = [_facts(game_named(f"{one}:{known}")) for one in chosen for known in game_ids(one) if wanted in known]
    if not rows:
        raise ValueError(f"no game has '{part}' in its name; dreamcade games lists all")
    missing = {one: MAKERS[one].install for one in chosen if not installed(one)}
    if as_json:
        click.echo(json.dumps([{**row, "installed": row["family"] not in missing} for row in rows], indent=1))
        return
    for row in rows:
        height, width = row["size"]
        what = "numbers" if row["continuous"] else "actions"
        told = f"{len(row['actions']):>2} {what}: {' '.join(row['actions'])}"
        click.echo(f"{row['id']:<20} {row['family']:<10} {height:>3}x{width:<4} {told}")
    click.echo(f"{len(rows)} games; record one with: dreamcade collect {rows[0]['id']}")
    for one, install in missing.items():
        click.echo(f"{one} is not installed: {install}")


def _facts(game: Game) -> dict[str, Any]:
    return {
        "id": game.id,
        "family": game.maker,
        "title": game.title,
        "native": game.native,
        "size": [game.height, game.width],
        "fps": game.fps,
        "actions": list(game.action_names),
        "continuous": game.continuous,
        "objects": list(game.object_names),
    }
