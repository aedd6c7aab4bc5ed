"""A person plays the real game at its own rate, and everything is recorded."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.controllers import Human
from app.hud import Layout, badge, caps, layout
from app.keymap import ARROWS, NUMBERS, Binding, Key, Keymap, chosen_keys
from app.real_play import Buttons, RealPlay
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.screen import Screen

NOTICE_S = 2.0
NOTE = "The last seconds before a crash may be lost, the rest is on the disk. A new game begins by itself."


class RecordDoes(enum.Enum):
    """What a key can do while a game is recorded."""

    ACT = enum.auto()
    MOVE = enum.auto()
    PAUSE = enum.auto()
    RESTART = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(RecordDoes.MOVE, "hold the action that goes this way", ARROWS),
    Binding(
        RecordDoes.MOVE,
        "hold the action that fires",
        (Key(pygame.K_RETURN, "Enter", "FIRE"), Key(pygame.K_LCTRL, "Ctrl", "FIRE")),
    ),
    Binding(RecordDoes.ACT, "hold the action of this number", NUMBERS),
    Binding(RecordDoes.PAUSE, "pause, go on", (Key(pygame.K_SPACE, "Space"),)),
    Binding(RecordDoes.RESTART, "begin a new game", (Key(pygame.K_r, "R"),)),
    Binding(RecordDoes.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(RecordDoes.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(RecordDoes.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(RecordDoes.QUIT, "stop and keep the recording", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


class RecordScene:
    """The game between two bars. It is done when the player wants it, or when the tape has stopped by a fault.

    fps: steps a second, 0 for one whenever the loop comes round. captures: where screenshots go.
    """

    def __init__(self, play: RealPlay, screen: Screen, *, captures: Path, fps: float) -> None:
        self.play, self.captures, self.fps = play, captures, fps
        self.names = Buttons(play.game)
        self.human = Human(self.names)
        self.keymap = Keymap("RECORD", BINDINGS, chosen_keys())
        self.done, self.paused = False, False
        self.notice, self._until = "", 0.0
        self._due, self._shot = 0.0, False
        self._commands: dict[enum.Enum, Callable[[], None]] = {
            RecordDoes.PAUSE: self._pause,
            RecordDoes.RESTART: self._restart,
            RecordDoes.SCREENSHOT: self._ask_shot,
            RecordDoes.FULLSCREEN: screen.toggle_fullscreen,
            RecordDoes.QUIT: self._quit,
        }

    @property
    def waiting(self) -> bool:
        """Paused: nothing moves by itself."""
        return self.paused

    def say(self, words: str) -> None:
        """Show a line over the picture for a moment."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def handle(self, event: Any) -> Scene | None:
        """Keys, and the loss of the keyboard, which pauses: nobody plays then."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
            self.paused = True
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            does, value = self.keymap.lookup(event.key)
            down = event.type == pygame.KEYDOWN
            if does in (RecordDoes.ACT, RecordDoes.MOVE):
                self._action_key(value, down)
            elif does is RecordDoes.HELP and down:
                self.human.release_all()
                return HelpScene(self.keymap, NOTE)
            elif does is not None and down:
                self._commands[does]()
        return None

    def update(self) -> None:
        """One step of the game when its time has come, unless paused."""
        now = time.monotonic()
        if self.paused or self.done or now < self._due:
            return
        if self.fps > 0:
            self._due = max(self._due, now - 1.0 / self.fps) + 1.0 / self.fps
        games = self.play.games
        self.play.step(self.human.act())
        if self.play.games > games:
            self.say(f"game {self.play.games}")
        if not self.play.tape.recording:
            self.done = True

    def draw(self, screen: Screen) -> None:
        """Bars and picture."""
        screen.clear()
        surface = screen.surface
        at = layout(surface.get_size())
        edge = screen.show(self.play.frame, at.picture).inflate(2, 2)
        pygame.draw.rect(surface, theme.EDGE, edge, 1)
        self._top(surface, at)
        self._bottom(surface, at)
        if self._shot:
            self._shot = False
            self._save_shot(screen)
        if self.notice and time.monotonic() < self._until:
            badge(surface, self.notice, at.letters, midbottom=(at.picture.centerx, at.picture.bottom - 4))

    def _top(self, surface: pygame.Surface, at: Layout) -> None:
        pygame.draw.rect(surface, theme.PANEL, at.top)
        pygame.draw.line(surface, theme.EDGE, at.top.bottomleft, at.top.bottomright)
        pad, half, play = at.letters // 2, at.top.height // 2, self.play
        hint = theme.text("H: help   Esc: stop and keep", at.letters, theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(at.top.right - pad, half * 0.5 + 2)))
        title = theme.fitted(play.game.title, at.letters + 2, at.top.width // 3, theme.SKY)
        place = title.get_rect(midleft=(pad, half * 0.5 + 2))
        surface.blit(title, place)
        left = badge(
            surface, play.tape.state or "NOT RECORDING", at.letters, midleft=(place.right + pad, place.centery)
        )
        if self.paused:
            badge(surface, "PAUSED", at.letters, midleft=(left.right + pad, place.centery))
        parts = [f"score {play.score:g}", f"game {play.games}", f"frame {play.steps}", f"seed {play.seed}"]
        parts.append(f"into {play.tape.folder.name}" if play.tape.folder else "")
        line = theme.fitted("   ".join(parts), at.letters, at.top.width - 2 * pad)
        surface.blit(line, line.get_rect(midleft=(pad, half * 1.5 - 1)))

    def _bottom(self, surface: pygame.Surface, at: Layout) -> None:
        """A cap for each of the first actions; those held are lit. The others go by directions and fire together."""
        pygame.draw.rect(surface, theme.PANEL, at.bottom)
        pygame.draw.line(surface, theme.EDGE, at.bottom.topleft, at.bottom.topright)
        pressed = self.human.pressed()
        held = self.play.last if pressed is None else pressed
        for action, rect in enumerate(caps(self.names, at)):
            lit = action == held
            pygame.draw.rect(surface, theme.LIT if lit else theme.CAP, rect, border_radius=5)
            pygame.draw.rect(surface, theme.LIT if lit else theme.EDGE, rect, 1, border_radius=5)
            ink = theme.DARK if lit else theme.INK
            label = theme.fitted(f"{action + 1} {self.names.title(action)}", at.letters, max(1, rect.width - 6), ink)
            surface.blit(label, label.get_rect(center=rect.center))

    def _action_key(self, value: int | str, down: bool) -> None:
        if not down:
            self.human.release(value)
        elif not self.human.press(value):
            wanted = f"action {value + 1}" if isinstance(value, int) else value
            self.say(f"no {wanted} here: {', '.join(self.names.distinct())}")

    def _pause(self) -> None:
        self.paused = not self.paused

    def _restart(self) -> None:
        self.play.restart()
        self.say(f"game {self.play.games}")

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        try:
            name = f"{self.play.game.id}-real-{stamp}-{self.play.steps:06d}.png"
            self.say(f"saved {screen.save(self.captures / name).name}")
        except OSError as problem:
            self.say(str(problem))

    def _quit(self) -> None:
        self.done = True
