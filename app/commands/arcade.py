"""`dreamcade` without a command: the menu of worlds, and from there into the games."""

from __future__ import annotations

import click

from app.commands.play import has_display


def open_arcade() -> bool:
    """Run the arcade until the player leaves it. False, and nothing happened, where nobody could see or use it."""
    if not has_display():
        return False
    from app import library
    from app.arcade import Arcade
    from app.live import NoWindow

    try:
        arcade = Arcade(where=library.device("auto"), say=click.echo)
    except NoWindow:
        return False
    if arcade.driver == "dummy":
        arcade.close()
        return False
    arcade.run()
    if arcade.dreamed:
        click.echo(f"dreamed {arcade.dreamed} frames")
    return True
