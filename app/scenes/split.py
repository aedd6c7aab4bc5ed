"""Two worlds of one game side by side, under the same keys: which of them keeps to the game longer?"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.controllers import Human
from app.hud import badge
from app.keymap import ARROWS, NUMBERS, Binding, Key, Keymap, chosen_keys
from app.names import ActionNames
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.screen import Screen
from app.session import Session
from app.thinker import Thinker
from app.timeline import Frame

NOTICE_S = 2.0


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


class SplitScene:
    """Two sessions of one game. titles: what stands over each; fps: turns a second, 0 for one whenever the loop comes
    round; thinker: where they are thought, one after the other."""

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
        self.sessions, self.names_of, self.captures, self.fps = sessions, titles, captures, fps
        self.names = tuple(ActionNames(session.world.spec) for session in sessions)
        self.human = Human(self.names[0])
        self.thinker = thinker or Thinker()
        self.keymap = Keymap("SPLIT", BINDINGS, chosen_keys())
        self.done, self.paused, self.stale = False, False, True
        self.turns = 0
        self.notice, self._until = "", 0.0
        self._acted: tuple[int, int] | None = None
        self._single, self._shot, self._due = False, False, 0.0
        self._turn: Future[tuple[Frame, Frame]] | None = None
        self._shown = (sessions[0].frame, sessions[1].frame)
        self._times: deque[float] = deque(maxlen=30)
        self._commands: dict[enum.Enum, Callable[[], None]] = {
            SplitDoes.PAUSE: self._pause,
            SplitDoes.STEP: self._one_step,
            SplitDoes.JOIN: self._join,
            SplitDoes.SCREENSHOT: self._ask_shot,
            SplitDoes.FULLSCREEN: screen.toggle_fullscreen,
            SplitDoes.QUIT: self._quit,
        }

    @property
    def waiting(self) -> bool:
        """Paused: nothing moves by itself."""
        return self.paused

    def say(self, words: str) -> None:
        """Show a line for a moment."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def handle(self, event: Any) -> Scene | None:
        """Keys, and the loss of the keyboard."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
        if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
            return None
        down = event.type == pygame.KEYDOWN
        does, value = self.keymap.lookup(event.key)
        if does in (SplitDoes.ACT, SplitDoes.MOVE):
            if not down:
                self.human.release(value)
            elif not self.human.press(value):
                self.say(f"no such action here: {', '.join(self.names[0].distinct()) or 'only numbers'}")
        elif down and does is SplitDoes.HELP:
            self.human.release_all()
            return HelpScene(self.keymap, "two worlds of one game under the same keys")
        elif down and does in self._commands:
            self._commands[does]()
        return None

    def update(self) -> None:
        """Take what was thought, and have both think the next frame when it is time to."""
        self.stale = self._collect()
        now = time.monotonic()
        if self._turn is not None or (self.paused and not self._single) or (not self._single and now < self._due):
            return
        self._single = False
        if self.fps > 0:
            self._due = max(self._due, now - 1.0 / self.fps) + 1.0 / self.fps
        self._times.append(now)
        left = self.human.act()
        acted = (left, self.meant(left))
        self._acted = acted
        self._turn = self.thinker.submit(lambda: (self.sessions[0].step(acted[0]), self.sessions[1].step(acted[1])))
        self.stale = self._collect() or self.stale

    def meant(self, action: int) -> int:
        """The right world's action that means what one of the left one means: by its name; where it has none, by its
        number; else the idle one."""
        left, right = self.names
        found = right.find(left.labels[action]) if left.known and right.known else None
        if found is None:
            found = action if action < len(right.labels) and not (left.known and right.known) else right.idle
        return found

    def draw(self, screen: Screen) -> None:
        """A bar, and both pictures under their titles."""
        screen.clear()
        surface = screen.surface
        width, height = surface.get_size()
        letters = max(11, min(20, width // 50))
        top, line = round(letters * 1.8), round(letters * 1.8)
        pygame.draw.rect(surface, theme.PANEL, pygame.Rect(0, 0, width, top))
        words = f"{self._rate():.0f} FPS   frame {self.turns}   H: help" + ("   PAUSED" if self.paused else "")
        label = theme.fitted(words, letters, width - letters, theme.INK)
        surface.blit(label, label.get_rect(midleft=(letters // 2, top // 2)))
        for side, (frame, title) in enumerate(zip(self._shown, self.titles(), strict=True)):
            pane = pygame.Rect(side * width // 2 + 2, top + line, width // 2 - 4, max(1, height - top - line - 4))
            edge = screen.show(frame, pane).inflate(2, 2)
            pygame.draw.rect(surface, theme.EDGE, edge, 1)
            label = theme.fitted(title, letters, pane.width - letters, theme.SKY)
            surface.blit(label, label.get_rect(center=(pane.centerx, top + line // 2)))
        if self._shot:
            self._shot = False
            self._save_shot(screen)
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

    def _rate(self) -> float:
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def _collect(self, wait: bool = False) -> bool:
        if self._turn is None or not (wait or self._turn.done()):
            return False
        done, self._turn = self._turn, None
        self._shown = done.result()
        self.turns += 1
        return True

    def _join(self) -> None:
        self._collect(wait=True)
        left, right = self.sessions
        self.thinker.ask(lambda: right.join(left))
        self._shown = (left.frame, right.frame)
        self.say("both go on from the left one's last frames")

    def _pause(self) -> None:
        self.paused = not self.paused

    def _one_step(self) -> None:
        self.paused, self._single = True, True

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen) -> None:
        path = self.captures / f"split-{time.strftime('%Y%m%d-%H%M%S')}-{self.turns:06d}.png"
        try:
            self.say(f"saved {screen.save(path).name}")
        except OSError as problem:
            self.say(str(problem))

    def _quit(self) -> None:
        self._collect(wait=True)
        self.done = True
