"""The arcade: from the menu into a game and back to the menu, until the player leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pygame
import torch

from app import library, shelf
from app.game import Game
from app.gamepad import Gamepads
from app.hud import Stats
from app.live import Live, NoWindow
from app.places import Places
from app.preview import Previews
from app.scenes.menu import MenuScene
from app.scenes.tiles import bars
from app.screen import Screen
from app.session import Session
from models import checkpoint
from models.world import World

MENU_FPS = 30.0
MENU_SIZE = (160, 104)  # the window is made as for a game of this size


class Arcade:
    """The window that is there from the first menu on. where: device of the games; say: told what a game has to say.

    Raises NoWindow without a display.
    """

    def __init__(self, *, where: str, say: Callable[[str], None]) -> None:
        self.where, self._say = where, say
        self.dreamed = 0  # frames, over all games
        self._last, self._notice = "", ""
        try:
            self.screen = Screen(*MENU_SIZE, bars=bars)
        except pygame.error as problem:
            raise NoWindow(str(problem)) from None
        self.pads = Gamepads()

    @property
    def driver(self) -> str:
        """SDL's name of the display."""
        return self.screen.driver

    def run(self) -> None:
        """Menu, game, menu, .. until the player quits the menu or closes the window."""
        try:
            while (chosen := self._choose()) is not None:
                session = self._begin(*chosen)
                if session is not None and not self._play(chosen[0], session):
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Take the window away."""
        self.pads.close()
        self.screen.close()

    def _choose(self) -> tuple[Path, World | None] | None:
        """The menu. Returns the world that was opened, and itself if it is loaded already; None to leave."""
        tiles = shelf.tiles()
        previews = Previews({tile.name: tile.folder for tile in tiles if not tile.problem})
        menu = MenuScene(tiles, previews, self.screen, self.pads, selected=self._last)
        if self._notice:
            menu.say(self._notice)
        self._notice = ""
        self.pads.look()
        pygame.display.set_caption("Dreamcade")
        previews.start()
        try:
            Game(self.screen, menu, Stats(), fps=MENU_FPS).run()
            if menu.chosen is not None:
                self._last = menu.chosen.name
                menu.say(f"opening {menu.chosen.name}")
                menu.draw(self.screen)
                self.screen.flip()
        finally:
            previews.close()
        return None if menu.chosen is None else (menu.chosen, previews.world(self._last))

    def _begin(self, folder: Path, loaded: World | None) -> Session | None:
        """A session in the chosen world; None, and a notice in the next menu, if it cannot be opened."""
        torch.set_num_threads(1)
        try:
            world = loaded if loaded is not None and self.where == "cpu" else library.open_world(folder, self.where)
            clips = checkpoint.load_starts(folder)
            return Session(world, clips, device=self.where, world_id=checkpoint.world_id(folder))
        except (ValueError, OSError, RuntimeError) as problem:
            self._notice = f"{shelf.printable(folder.name)} cannot be opened: {shelf.reason(problem, folder)}"
            return None

    def _play(self, folder: Path, session: Session) -> bool:
        """One game. True if the player left it for the menu, False if the window was closed."""
        library.remember(folder)
        self.pads.look()
        pygame.display.set_caption(f"{shelf.printable(folder.name)} - Dreamcade")
        live = Live(session, title=folder.name, places=Places.usual(folder), screen=self.screen, pads=self.pads)
        tune = session.device.type == "cpu"
        live.play(max_frames=None, tune=tune, first=lambda: None, say=self._say)
        self.dreamed += live.dreamed
        return live.scene.done
