"""A scripted tour of the real window: python tests/tour.py OUT. Screenshots of every scene, with the shipped Pong.

Needs a display; a virtual one will do: xvfb-run -s "-screen 0 1280x960x24" python tests/tour.py docs/tour
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pygame

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE))


class Tour:
    """Plays the shipped world by posted events and takes pictures."""

    def __init__(self, out: Path, folder: Path) -> None:
        from app.live import Live
        from app.places import Places
        from app.session import Session
        from models.checkpoint import find_world, load_starts, load_world, world_id

        world = find_world("pong")
        session = Session(load_world(world), load_starts(world), seed=3, world_id=world_id(world))
        self.live = Live(session, title="pong", scale=None, fps=None, places=Places.within(folder))
        self.game, self.engine, self.out = self.live.game, self.live.engine, out

    def key(self, code: int, *, hold: int = 0) -> None:
        """Press a key, hold it for some dreamed frames or turns, let it go."""
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=code))
        self.turns(1 + hold)
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=code))
        self.turns(1)

    def turns(self, count: int) -> None:
        """So many turns of the loop."""
        for _ in range(count):
            self.game.turn()

    def dream(self, frames: int) -> None:
        """Until so many more frames were dreamed."""
        until = self.engine.dreamed + frames
        while self.engine.dreamed < until:
            self.game.turn()

    def click(self, position: tuple[int, int], button: int = 1, to: tuple[int, int] | None = None) -> None:
        """Press the mouse, drag it, let it go."""
        pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=position, button=button))
        end = to or position
        pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, pos=end, rel=(0, 0), buttons=(1, 0, 0)))
        pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONUP, pos=end, button=button))
        self.turns(2)

    def shoot(self, name: str) -> None:
        """A picture of the window."""
        self.turns(1)
        self.live.screen.save(self.out / f"{name}.png")


def main(out: Path) -> None:
    """The whole tour."""
    with tempfile.TemporaryDirectory() as folder:
        tour = Tour(out, Path(folder))
        tour.dream(40)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_UP))
        tour.dream(3)
        tour.shoot("play")
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_UP))
        tour.key(pygame.K_u)
        tour.dream(70)
        tour.shoot("doubt")
        tour.key(pygame.K_u)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_TAB))
        tour.turns(200)
        tour.shoot("what-if")
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_TAB))
        tour.turns(2)
        for _ in range(2):
            tour.key(pygame.K_BACKSPACE, hold=60)
            tour.dream(20)
        tour.key(pygame.K_t)
        tour.shoot("takes")
        tour.key(pygame.K_ESCAPE)
        tour.key(pygame.K_c)
        tour.turns(60)
        tour.shoot("calibration")
        tour.key(pygame.K_ESCAPE)
        tour.key(pygame.K_o)
        tour.turns(5)
        tour.shoot("sliders")
        tour.key(pygame.K_o)
        paint(tour)
        tour.key(pygame.K_F6)
        for digit in (pygame.K_1, pygame.K_4):
            tour.key(digit)
            tour.key(pygame.K_s)
        tour.shoot("slots")
        tour.key(pygame.K_ESCAPE)
        tour.key(pygame.K_h)
        tour.shoot("help")
        tour.key(pygame.K_ESCAPE)
        tour.key(pygame.K_v)
        for code in (pygame.K_UP, pygame.K_DOWN) * 4:
            tour.key(code, hold=45)
        tour.shoot("compare")
        tour.key(pygame.K_ESCAPE)
        two_worlds(tour)
        tour.live.close()
        menu(out, Path(folder))
        browser(out, Path(folder))


def two_worlds(tour: Tour) -> None:
    """Another world of the game beside this one, and in its place; where there is another one."""
    from app.relatives import relatives

    if len(relatives(tour.live.session.world.spec)) < 2:
        return
    tour.key(pygame.K_y)
    for code in (pygame.K_UP, pygame.K_DOWN) * 3:
        tour.key(code, hold=30)
    tour.shoot("split")
    tour.key(pygame.K_ESCAPE)
    tour.key(pygame.K_x)
    tour.dream(20)
    tour.shoot("swapped")


def paint(tour: Tour) -> None:
    """A second ball, copied and put elsewhere; then the dream goes on from it."""
    tour.key(pygame.K_p)
    scene = tour.game.stack[-1]
    rect = scene._rect
    times = rect.width / scene.canvas.frame.shape[1]

    def at(row: int, column: int) -> tuple[int, int]:
        return int(rect.left + (column + 0.5) * times), int(rect.top + (row + 0.5) * times)

    scene.colour = (236, 236, 236)
    tour.click(at(50, 30), to=at(51, 30))
    tour.click(at(70, 20), to=at(30, 60))
    tour.shoot("paint")
    tour.key(pygame.K_z)
    tour.key(pygame.K_RETURN)
    tour.dream(3)
    tour.shoot("painted")


def menu(out: Path, folder: Path) -> None:
    """Every world that there is, and a broken one."""
    from app import shelf
    from app.game import Game
    from app.gamepad import Gamepads
    from app.hud import Stats
    from app.preview import Previews
    from app.scenes.menu import MenuScene
    from app.scenes.tiles import bars
    from app.screen import Screen

    broken = folder / "saves" / "worlds" / "half-copied"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text('{"format": 1, "family": "maskgit"}')
    os.environ["DREAMCADE_SAVES"] = str(folder / "saves")
    screen, pads, tiles = Screen(160, 104, bars=bars), Gamepads(), shelf.tiles()
    previews = Previews({tile.name: tile.folder for tile in tiles if not tile.problem})
    scene = MenuScene(tiles, previews, screen, pads)
    previews.start()
    game = Game(screen, scene, Stats(), fps=30)
    for _ in range(150):
        game.turn()
    screen.save(out / "menu.png")
    previews.close()
    pads.close()
    screen.close()


def browser(out: Path, folder: Path) -> None:
    """A little recorded play, what the world reads off it, a marked episode."""
    from app.browsing import Browser
    from app.game import Game
    from app.hud import Stats
    from app.scenes.browser import BrowserScene
    from app.scenes.browser_page import WIDER, bars
    from app.screen import Screen
    from collectors.rollout import CollectConfig, collect
    from collectors.shards import Dataset
    from models.checkpoint import find_world, load_world

    collect(CollectConfig(game="pong", frames=3000, seed=0), folder / "pong")
    with Dataset.open(folder / "pong") as dataset:
        look = Browser(dataset, load_world(find_world("pong")))
        screen = Screen(round(80 * WIDER), 104, bars=bars)
        scene = BrowserScene(look, screen, title="pong", captures=folder, context=4)
        game = Game(screen, scene, Stats(), fps=30)
        for code in (pygame.K_x, pygame.K_SPACE):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=code))
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=code))
            game.turn()
        for _ in range(240):
            game.turn()
        screen.save(out / "browser.png")
        screen.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/tour"))
