"""Two worlds of one game side by side, under the same keys: which of them keeps to the game longer?"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.controllers import Human
from app.hud import badge
from app.keymap import ARROWS, NUMBERS, Binding, Key, Keymap, chosen_keys
from app.names import ActionNames
from app.relatives import heard
from app.scenes.help import HelpScene
from app.scenes.paired import Paired
from app.scenes.scene import Scene
from app.screen import Screen
from app.session import Session
from app.thinker import Thinker


class SplitDoes(enum.Enum):
    """What a key can do while two worlds run side by side."""

    ACT = enum.auto()
    MOVE = enum.auto()
    PAUSE = enum.auto()
    STEP = enum.auto()
    JOIN = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(SplitDoes.ACT, "hold the left world's action of this number, and what it means on the right", NUMBERS),
    Binding(SplitDoes.MOVE, "hold the action that goes this way, in both", ARROWS),
    Binding(SplitDoes.MOVE, "hold the action that fires, in both", (Key(pygame.K_RETURN, "Enter", "FIRE"),)),
    Binding(SplitDoes.JOIN, "put the right world where the left one is", (Key(pygame.K_r, "R"),)),
    Binding(SplitDoes.PAUSE, "pause, go on", (Key(pygame.K_SPACE, "Space"),)),
    Binding(SplitDoes.STEP, "pause and go one frame on", (Key(pygame.K_n, "N"), Key(pygame.K_PERIOD, "."))),
    Binding(SplitDoes.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(SplitDoes.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(SplitDoes.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(SplitDoes.QUIT, "back", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


class SplitScene(Paired):
    """Two sessions of one game. titles: what stands over each; fps, thinker: see `Paired`; both are thought one after
    the other."""

    def __init__(
        self,
        sessions: tuple[Session, Session],
        screen: Screen,
        *,
        titles: tuple[str, str],
        captures: Path,
        fps: float = 0.0,
        thinker: Thinker | None = None,
    ) -> None:
        super().__init__(captures=captures, fps=fps, thinker=thinker)
        self.sessions, self.names_of = sessions, titles
        self.names = tuple(ActionNames(session.world.spec) for session in sessions)
        self.human = Human(self.names[0])
        self.keymap = Keymap("SPLIT", BINDINGS, chosen_keys())
        self.turns = 0
        self._acted: tuple[int, int] | None = None
        self._shown = (sessions[0].frame, sessions[1].frame)
        self._commands: dict[enum.Enum, Callable[[], None]] = {
            SplitDoes.PAUSE: self._pause,
            SplitDoes.STEP: self._one_step,
            SplitDoes.JOIN: self._join,
            SplitDoes.SCREENSHOT: self._ask_shot,
            SplitDoes.FULLSCREEN: screen.toggle_fullscreen,
            SplitDoes.QUIT: self._quit,
        }

    def handle(self, event: Any) -> Scene | None:
        """Keys, and the loss of the keyboard."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
        if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
            return None
        down = event.type == pygame.KEYDOWN
        does, value = self.keymap.lookup(event.key)
        if does in (SplitDoes.ACT, SplitDoes.MOVE):
            self._action_key(value, down)
        elif down and does is SplitDoes.HELP:
            self.human.release_all()
            return HelpScene(self.keymap, "two worlds of one game under the same keys")
        elif down and does in self._commands:
            self._commands[does]()
        return None

    def update(self) -> None:
        """Take what was thought, and have both think the next frame when it is time to."""
        self.stale = self._collect()
        if not self.begins():
            return
        left = self.human.act()
        acted = (left, self.meant(left))
        self._acted = acted
        self._turn = self.thinker.submit(lambda: (self.sessions[0].step(acted[0]), self.sessions[1].step(acted[1])))
        self.stale = self._collect() or self.stale

    def meant(self, action: int) -> int:
        """The right world's action that means what one of the left one means: by its name; where it has none, by its
        number; else the idle one."""
        left, right = self.names
        found = left.meant(action, right)
        return right.idle if found is None else found

    def draw(self, screen: Screen) -> None:
        """A bar, and both pictures under their titles."""
        screen.clear()
        surface = screen.surface
        width, height = surface.get_size()
        letters = max(11, min(20, width // 50))
        top, line = round(letters * 1.8), round(letters * 1.8)
        pygame.draw.rect(surface, theme.PANEL, pygame.Rect(0, 0, width, top))
        words = f"{self.rate():.0f} FPS   frame {self.turns}   H: help" + ("   PAUSED" if self.paused else "")
        label = theme.fitted(words, letters, width - letters, theme.INK)
        surface.blit(label, label.get_rect(midleft=(letters // 2, top // 2)))
        for side, (frame, title) in enumerate(zip(self._shown, self.titles(), strict=True)):
            pane = pygame.Rect(side * width // 2 + 2, top + line, width // 2 - 4, max(1, height - top - line - 4))
            edge = screen.show(frame, pane).inflate(2, 2)
            pygame.draw.rect(surface, theme.EDGE, edge, 1)
            label = theme.fitted(title, letters, pane.width - letters, theme.SKY)
            surface.blit(label, label.get_rect(center=(pane.centerx, top + line // 2)))
        self._save_shot(screen, "split", self.turns)
        if self.notice and time.monotonic() < self._until:
            badge(surface, self.notice, letters, midbottom=(width // 2, height - letters))

    def titles(self) -> tuple[str, str]:
        """What stands over the pictures: which world, and what it was told."""
        if self._acted is None:
            return self.names_of
        told = [names.title(action) for names, action in zip(self.names, self._acted, strict=True)]
        ms = [session.last_ms for session in self.sessions]
        left, right = (f"{self.names_of[i]}: {told[i]} · {ms[i]:.0f} ms" for i in (0, 1))
        return left, right

    def _collect(self, wait: bool = False) -> bool:
        done = self.finished(wait)
        if done is None:
            return False
        self._shown = done.result()
        self.turns += 1
        return True

    def _join(self) -> None:
        self._collect(wait=True)
        left, right = self.sessions
        self.thinker.ask(lambda: right.join(left, heard(left, right.world)))
        self._shown = (left.frame, right.frame)
        self.say("both go on from the left one's last frames")

    def _quit(self) -> None:
        self._collect(wait=True)
        self.done = True
