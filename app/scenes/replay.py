"""Watching a recording: it is dreamed again, and at the end it says whether it was the same dream."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.hud import Stats, badge
from app.keymap import Binding, Key, Keymap, chosen_keys
from app.names import ActionNames
from app.replaying import Comparison, Replay
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.screen import Screen

NOTICE_S = 2.0


class Does(enum.Enum):
    """What a key can do while a recording is watched."""

    PAUSE = enum.auto()
    STEP = enum.auto()
    AGAIN = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(Does.PAUSE, "stand still, go on", (Key(pygame.K_SPACE, "Space"),)),
    Binding(Does.STEP, "one frame of the recording", (Key(pygame.K_n, "N"), Key(pygame.K_PERIOD, "."))),
    Binding(Does.AGAIN, "from its beginning again", (Key(pygame.K_r, "R"),)),
    Binding(Does.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(Does.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(Does.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Does.QUIT, "stop watching", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


def letters_for(width: int) -> int:
    """Height of the letters in a window of some width."""
    return max(11, min(22, width // 46))


def bars(width: int) -> int:
    """Pixels that the bar above and the line below need in a window of this width."""
    return round(letters_for(width) * 4.4)


class ReplayScene:
    """A recording, frame by frame. same: whether all frames were as recorded, None before its end."""

    def __init__(self, replay: Replay, screen: Screen, stats: Stats, *, title: str, captures: Path) -> None:
        self.replay, self.stats, self.title, self.captures = replay, stats, title, captures
        self.keymap = Keymap("REPLAY", BINDINGS, chosen_keys())
        self.names = ActionNames(replay.session.world.spec)
        self.done, self.paused, self.verdict = False, False, ""
        self.same: bool | None = None
        self._single, self._shot, self._notice, self._until = False, False, "", 0.0
        self._commands: dict[enum.Enum, Callable[[], None]] = {
            Does.PAUSE: self._pause,
            Does.STEP: self._one_step,
            Does.AGAIN: self._again,
            Does.SCREENSHOT: self._ask_shot,
            Does.FULLSCREEN: screen.toggle_fullscreen,
            Does.QUIT: self._quit,
        }
        self._begin()

    @property
    def waiting(self) -> bool:
        """Paused or at the end: nothing moves by itself."""
        return self.paused or self.replay.done

    def handle(self, event: Any) -> Scene | None:
        """Keys, when they go down."""
        if event.type != pygame.KEYDOWN:
            return None
        does, _ = self.keymap.lookup(event.key)
        if does is Does.HELP:
            return HelpScene(self.keymap, "a recording is dreamed again from its first frames and its keys")
        if does is not None:
            self._commands[does]()
        return None

    def update(self) -> None:
        """Dream the next frame of the recording, unless paused or over."""
        if self.replay.done or (self.paused and not self._single):
            return
        self._single = False
        self._comparison.see(self.replay.step())
        if self.replay.done:
            self._judge()

    def draw(self, screen: Screen) -> None:
        """A bar above, the picture, a line below that shows how far it is."""
        screen.clear()
        surface = screen.surface
        width, height = surface.get_size()
        letters = letters_for(width)
        top = pygame.Rect(0, 0, width, round(letters * 3.4))
        line = pygame.Rect(0, height - letters, width, letters)
        area = pygame.Rect(0, top.bottom, width, max(1, line.top - top.bottom))
        rect = screen.show(self.replay.session.frame, area)
        if area.contains(rect.inflate(2, 2)):
            pygame.draw.rect(surface, theme.EDGE, rect.inflate(2, 2), 1)
        self._top(surface, top, letters)
        self._line(surface, line)
        if self._shot:
            self._shot = False
            self._save_shot(screen)
        words = self._notice if time.monotonic() < self._until else self.verdict
        if words:
            badge(surface, words, letters, midbottom=(area.centerx, area.bottom - letters // 2))

    def _top(self, surface: pygame.Surface, top: pygame.Rect, letters: int) -> None:
        pygame.draw.rect(surface, theme.PANEL, top)
        pygame.draw.line(surface, theme.EDGE, top.bottomleft, top.bottomright)
        pad, upper, lower = letters // 2, top.height * 0.27, top.height * 0.73
        hint = theme.text(f"{self.keymap.shown(Does.HELP)}: help", letters, theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(top.right - pad, upper)))
        title = theme.fitted(self.title, letters + 2, top.width - hint.get_width() - 3 * pad, theme.SKY)
        place = title.get_rect(midleft=(pad, upper))
        surface.blit(title, place)
        if self.waiting:
            badge(surface, "END" if self.replay.done else "PAUSED", letters, midleft=(place.right + pad, upper))
        last = self.replay.session.last_action
        pressed = "ready" if last is None else self.names.title(last)
        parts = [f"frame {self.replay.shown} of {self.replay.capsule.frames}", pressed, f"{self.stats.turns:.0f} FPS"]
        words = theme.fitted("   ".join(parts), letters, top.width - 2 * pad)
        surface.blit(words, words.get_rect(midleft=(pad, lower)))

    def _line(self, surface: pygame.Surface, line: pygame.Rect) -> None:
        pygame.draw.rect(surface, theme.PANEL, line)
        share = self.replay.shown / self.replay.capsule.frames
        done = line.inflate(-line.height, -round(line.height * 0.6))
        pygame.draw.rect(surface, theme.CAP, done)
        done.width = round(done.width * share)
        pygame.draw.rect(surface, theme.LIT, done)

    def _begin(self) -> None:
        self._comparison = Comparison(self.replay.capsule, device=self.replay.session.device.type)
        self._comparison.see(self.replay.session.frame)
        self.verdict, self.same = "", None
        if self.replay.done:
            self._judge()

    def _judge(self) -> None:
        wrong = self._comparison.verdict()
        self.same = wrong is None
        self.verdict = "the same dream, frame by frame" if wrong is None else wrong

    def _pause(self) -> None:
        self.paused = not self.paused

    def _one_step(self) -> None:
        self.paused, self._single = True, True

    def _again(self) -> None:
        self.replay.rewind()
        self._begin()

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen) -> None:
        path = self.captures / f"{self.title}-{time.strftime('%Y%m%d-%H%M%S')}-{self.replay.shown:06d}.png"
        try:
            self._notice = f"saved {screen.save(path).name}"
        except OSError as problem:
            self._notice = str(problem)
        self._until = time.monotonic() + NOTICE_S

    def _quit(self) -> None:
        self.done = True
