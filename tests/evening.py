"""Somebody plays the real Pong beside its dream and records it: python tests/evening.py FOLDER [MINUTES].

Five minutes of the game's own time through the window's own keys, by a player who follows the ball with the slowness
and the slips of a person. Prints where the data set is; `dreamcade train pong --data IT --from pong` learns from it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import numpy as np
import pygame
import torch

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE))

REACTION = 3  # frames until what is seen moves a finger
SLIP = 0.08  # share of decisions that are wrong
HOLD = (2, 9)  # frames between two decisions


class Person:
    """Follows the ball, late and now and then wrong. `press` is told the key to hold, or None."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seen: deque[np.ndarray] = deque(maxlen=REACTION)
        self.left, self.held = 0, None

    def look(self, objects: np.ndarray) -> int | None:
        """objects: float32 [3, 3], ball, player, enemy as (visible, y, x). The key to hold now."""
        self.seen.append(objects)
        self.left -= 1
        if self.left > 0:
            return self.held
        self.left = int(self.rng.integers(*HOLD))
        ball, player, _ = self.seen[0]
        if self.rng.random() < SLIP:
            self.held = [pygame.K_UP, pygame.K_DOWN, None][int(self.rng.integers(3))]
        elif not ball[0] or abs(ball[1] - player[1]) < 4:
            self.held = None
        else:
            self.held = pygame.K_UP if ball[1] < player[1] else pygame.K_DOWN
        return self.held


def record(folder: Path, minutes: float) -> Path:
    """Play and record. Returns the folder of the data set."""
    from app.live import Live
    from app.places import Places
    from app.session import Session
    from models.checkpoint import find_world, load_starts, load_world, world_id

    torch.set_num_threads(1)
    world = find_world("pong")
    session = Session(load_world(world), load_starts(world), seed=5, world_id=world_id(world))
    live = Live(session, title="pong", scale=None, fps=0, places=Places.within(folder), threads=1)
    game = live.game

    def press(key: int, down: bool = True) -> None:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN if down else pygame.KEYUP, key=key))
        game.turn()

    press(pygame.K_v)
    scene, person, held = game.stack[-1], Person(0), None
    scene.fps = 0
    press(pygame.K_F2)
    tape, until = scene.comparison.tape, int(minutes * 60 * session.world.spec.fps)
    while tape.steps < until:
        before = scene.comparison.turns
        while scene.comparison.turns == before:
            game.turn()
            time.sleep(0.002)  # the thread that thinks needs the interpreter, too
            if not game.stack:
                raise SystemExit("the window was closed")
        wanted = person.look(scene.comparison.real.objects)
        if wanted != held:
            if held is not None:
                press(held, down=False)
            if wanted is not None:
                press(wanted)
            held = wanted
    press(pygame.K_F2)
    live.close()
    return tape.folder


if __name__ == "__main__":
    print(record(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5.0))
