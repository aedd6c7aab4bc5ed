"""Playing a world: keys in, one dreamed frame a turn, the bars around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.controllers import Human
from app.hud import Hud, Stats, badge
from app.keymap import BINDINGS, Does, Keymap, chosen_keys
from app.names import ActionNames
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.screen import Screen
from app.session import Session
from models.world import Sampling, ShowsUncertainty

NOTICE_S = 2.0
FULL_NATS = 2.0  # entropy that gets the full tint
COLDEST, WARMEST = 0.0, 3.0


class PlayScene:
    """The game itself. `dreamed` counts every frame of this evening, over all new starts."""

    def __init__(self, session: Session, screen: Screen, stats: Stats, *, title: str, captures: Path) -> None:
        self.session, self.captures, self.title = session, captures, title
        self.names = ActionNames(session.world.spec)
        self.keymap = Keymap("PLAY", BINDINGS, chosen_keys())
        self.human = Human(self.names)
        self.hud = Hud(title, session, self.names, stats)
        self.done, self.paused, self.dreamed, self.shows_guesses = False, False, 0, False
        self.notice, self._until = "", 0.0
        self._screen, self._single, self._shot = screen, False, False
        self._commands: dict[Does, Callable[[], None]] = {
            Does.PAUSE: self._pause,
            Does.STEP: self._one_step,
            Does.RESTART: self._restart,
            Does.RESEED: self._reseed,
            Does.MORE_STEPS: lambda: self._dial(steps=1),
            Does.FEWER_STEPS: lambda: self._dial(steps=-1),
            Does.WARMER: lambda: self._dial(warmth=0.1),
            Does.COOLER: lambda: self._dial(warmth=-0.1),
            Does.UNCERTAINTY: self._toggle_guesses,
            Does.SCREENSHOT: self._ask_shot,
            Does.FULLSCREEN: screen.toggle_fullscreen,
            Does.QUIT: self._quit,
        }

    @property
    def waiting(self) -> bool:
        """Paused: nothing moves by itself."""
        return self.paused

    def say(self, words: str) -> None:
        """Show a line over the picture for a moment."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def handle(self, event: Any) -> Scene | None:
        """Keys, and the loss of the keyboard."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            does, value = self.keymap.lookup(event.key)
            if does in (Does.ACT, Does.MOVE):
                self._action_key(value, down=event.type == pygame.KEYDOWN)
            elif does is Does.HELP and event.type == pygame.KEYDOWN:
                self.human.release_all()
                known = ", ".join(self.names.distinct())
                return HelpScene(self.keymap, f"this world learned: {known}" if known else "no names: use 1 to 8")
            elif isinstance(does, Does) and event.type == pygame.KEYDOWN:
                self._commands[does]()
        return None

    def update(self) -> None:
        """Dream one frame, unless paused."""
        if self.paused and not self._single:
            return
        self._single = False
        self.session.step(self.human.act())
        self.dreamed += 1

    def lit(self) -> set[int]:
        """Actions whose caps are bright: the one held, or the one a tap gave to this frame."""
        return {action for action in (self.human.pressed(), self.human.acting) if action is not None}

    def draw(self, screen: Screen) -> None:
        """Bars, picture, and what lies on the picture."""
        screen.clear()
        surface = screen.surface
        at = self.hud.draw(surface, self.lit(), self.paused)
        rect = screen.show(self.session.frame, at.picture)
        guesses = self.session.uncertainty() if self.shows_guesses else None
        if guesses is not None:
            screen.overlay(guesses, rect, FULL_NATS)
        edge = rect.inflate(2, 2)
        if at.picture.contains(edge):
            pygame.draw.rect(surface, theme.EDGE, edge, 1)
        if self._shot:
            self._shot = False
            self._save_shot(screen)
        if self.notice and time.monotonic() < self._until:
            badge(surface, self.notice, at.letters, midbottom=(at.picture.centerx, at.picture.bottom - at.letters // 2))

    def _action_key(self, value: int | str, down: bool) -> None:
        if not down:
            self.human.release(value)
        elif not self.human.press(value):
            known = ", ".join(self.names.distinct()) or "only numbers"
            wanted = f"action {value + 1}" if isinstance(value, int) else value
            self.say(f"no {wanted} in this world: {known}")

    def _pause(self) -> None:
        self.paused = not self.paused

    def _one_step(self) -> None:
        self.paused, self._single = True, True

    def _restart(self) -> None:
        self.session.reset(start=(self.session.start + 1) % self.session.starts)
        self.say(f"start {self.session.start + 1} of {self.session.starts}")

    def _reseed(self) -> None:
        self.session.reseed(self.session.seed + 1)
        self.say(f"seed {self.session.seed}")

    def _dial(self, steps: int = 0, warmth: float = 0.0) -> None:
        """Turn a sampling dial and say where it stands; at its end it stays."""
        now = self.session.sampling
        if now is None:
            self.say("this world has no sampling dials")
            return
        warm = min(WARMEST, max(COLDEST, round(now.temperature + warmth, 2)))
        turned: Sampling = replace(now, steps=min(64, max(1, now.steps + steps)), temperature=warm)
        self.session.set_sampling(turned)
        self.say(f"sampling steps {turned.steps}, temperature {turned.temperature:.1f}")

    def _toggle_guesses(self) -> None:
        if not isinstance(self.session.world, ShowsUncertainty):
            self.say("this world cannot say where it guessed")
            return
        self.shows_guesses = not self.shows_guesses
        self.say("orange: where the world guessed" if self.shows_guesses else "guesses hidden")

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = self.captures / f"{self.title}-{stamp}-{self.session.steps:06d}.png"
        try:
            self.say(f"saved {screen.save(path).name}")
        except OSError as problem:
            self.say(str(problem))

    def _quit(self) -> None:
        self.done = True
