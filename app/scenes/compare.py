"""The real game, the dreamed one and where they differ, side by side, with a curve of how near they are."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.closeness import difference
from app.compare import Comparison, Mode, Point
from app.controllers import Human
from app.curve import draw_curve
from app.hud import badge
from app.keymap import ARROWS, NUMBERS, Binding, Key, Keymap, chosen_keys
from app.scenes.help import HelpScene
from app.scenes.paired import Paired
from app.scenes.scene import Scene
from app.screen import Screen
from app.thinker import Thinker
from app.timeline import Frame

SAID = {
    Mode.CODES: "codes: you play the real game, the dream follows what is read off it",
    Mode.KEYS: "keys: your code goes to the dream, its button to the real game, both answer at once",
    Mode.LEAD: "lead: you play the dream, the real game follows",
}


class CompareDoes(enum.Enum):
    """What a key can do while two games run side by side."""

    ACT = enum.auto()
    MOVE = enum.auto()
    PAUSE = enum.auto()
    STEP = enum.auto()
    RESYNC = enum.auto()
    AUTO = enum.auto()
    MODE = enum.auto()
    RECORD = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(CompareDoes.ACT, "hold the action of this number", NUMBERS),
    Binding(CompareDoes.MOVE, "hold the action that goes this way", ARROWS),
    Binding(CompareDoes.MOVE, "hold the action that fires", (Key(pygame.K_RETURN, "Enter", "FIRE"),)),
    Binding(CompareDoes.RESYNC, "put the dream back on the real game", (Key(pygame.K_r, "R"),)),
    Binding(CompareDoes.AUTO, "put it back whenever it is lost, or not", (Key(pygame.K_t, "T"),)),
    Binding(CompareDoes.MODE, "next mode: who follows whom", (Key(pygame.K_m, "M"),)),
    Binding(CompareDoes.PAUSE, "pause, go on", (Key(pygame.K_SPACE, "Space"),)),
    Binding(CompareDoes.STEP, "pause and go one frame on", (Key(pygame.K_n, "N"), Key(pygame.K_PERIOD, "."))),
    Binding(CompareDoes.RECORD, "record the real game into a data set, stop recording", (Key(pygame.K_F2, "F2"),)),
    Binding(CompareDoes.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(CompareDoes.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(CompareDoes.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(CompareDoes.QUIT, "back", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


@dataclass(frozen=True, slots=True)
class View:
    """Where things go in a window of some size: the bar on top, three titles over three panes, the curve."""

    top: pygame.Rect
    titles: tuple[pygame.Rect, ...]
    panes: tuple[pygame.Rect, ...]
    curve: pygame.Rect
    letters: int


def view(size: tuple[int, int], picture: tuple[int, int] | None = None) -> View:
    """The layout; letters grow with the width, and the panes get what bar, titles and curve leave.

    picture: width and height of what the panes show. They stand in one row, or, where that makes them larger,
    two above one; without a picture in one row.
    """
    width, height = size
    letters = max(11, min(20, width // 50))
    top = pygame.Rect(0, 0, width, round(letters * 3.4))
    line, foot = round(letters * 1.8), round(letters * 7.5)
    left = max(1, height - top.height - foot)
    columns, rows = max(((3, 1), (2, 2)), key=lambda shape: _scale(width, left, line, picture, *shape))
    across, down = width // columns, left // rows
    places = [(column * across, top.bottom + row * down) for row in range(rows) for column in range(columns)][:3]
    if rows == 2:
        places[2] = ((width - across) // 2, places[2][1])
    return View(
        top=top,
        titles=tuple(pygame.Rect(x, y, across, line) for x, y in places),
        panes=tuple(pygame.Rect(x + 2, y + line, across - 4, max(1, down - line)) for x, y in places),
        curve=pygame.Rect(0, height - foot, width, foot),
        letters=letters,
    )


def _scale(width: int, height: int, line: int, picture: tuple[int, int] | None, columns: int, rows: int) -> float:
    """How large a picture would be in so many columns and rows; one row wins where nothing is to be gained."""
    if picture is None:
        return 1.0 / rows
    scale = min((width / columns - 4) / picture[0], (height / rows - line) / picture[1])
    return scale if scale < 1.0 else float(int(scale))


def bars(width: int) -> int:
    """Pixels that everything but the panes needs in a window of this width."""
    at = view((width, 4000))
    return at.top.height + at.titles[0].height + at.curve.height


class CompareScene(Paired):
    """Two games under the same keys. `turns` of them are counted by the comparison. fps, thinker: see `Paired`."""

    def __init__(
        self,
        comparison: Comparison,
        screen: Screen,
        *,
        title: str,
        captures: Path,
        datasets: Path,
        fps: float = 0.0,
        thinker: Thinker | None = None,
    ) -> None:
        super().__init__(captures=captures, fps=fps, thinker=thinker)
        self.comparison, self.title, self.datasets = comparison, title, datasets
        self._shown = self._present()
        self.keymap = Keymap("COMPARE", BINDINGS, chosen_keys())
        self.human = Human(comparison.hears)
        self._commands: dict[enum.Enum, Callable[[], None]] = {
            CompareDoes.PAUSE: self._pause,
            CompareDoes.STEP: self._one_step,
            CompareDoes.RESYNC: self._resync,
            CompareDoes.AUTO: self._toggle_auto,
            CompareDoes.MODE: self._next_mode,
            CompareDoes.RECORD: self._record,
            CompareDoes.SCREENSHOT: self._ask_shot,
            CompareDoes.FULLSCREEN: screen.toggle_fullscreen,
            CompareDoes.QUIT: self._quit,
        }

    def handle(self, event: Any) -> Scene | None:
        """Keys, and the loss of the keyboard."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            does, value = self.keymap.lookup(event.key)
            down = event.type == pygame.KEYDOWN
            if does in (CompareDoes.ACT, CompareDoes.MOVE):
                self._action_key(value, down)
            elif does is CompareDoes.HELP and down:
                self.human.release_all()
                return HelpScene(self.keymap, SAID[self.comparison.mode])
            elif does is not None and down:
                self._commands[does]()
        return None

    def update(self) -> None:
        """One turn of both games, unless paused."""
        self.stale = self._collect()
        if not self.begins():
            return
        if self.comparison.over:
            self.paused = True
            self.say("the recorded episode is over")
            return
        action = self.human.act()
        self._turn = self.thinker.submit(lambda: self.comparison.turn(action))
        self.stale = self._collect() or self.stale

    def draw(self, screen: Screen) -> None:
        """Bar, three panes, curve."""
        screen.clear()
        surface, comparison = screen.surface, self.comparison
        real, dream, curve = self._shown
        at = view(surface.get_size(), (real.shape[1], real.shape[0]))
        self._top(surface, at)
        for frame, pane in zip((real, dream, difference(real, dream)), at.panes, strict=True):
            edge = screen.show(frame, pane).inflate(2, 2)
            pygame.draw.rect(surface, theme.EDGE, edge, 1)
        for words, rect in zip(self.titles(), at.titles, strict=True):
            label = theme.fitted(words, at.letters, rect.width - at.letters, theme.SKY)
            surface.blit(label, label.get_rect(center=rect.center))
        draw_curve(surface, at.curve, at.letters, curve, comparison.threshold)
        self._save_shot(screen, f"{self.title}-compare", self.comparison.turns)
        if self.notice and time.monotonic() < self._until:
            badge(surface, self.notice, at.letters, midbottom=(surface.get_width() // 2, at.curve.top - 4))

    def titles(self) -> list[str]:
        """What stands over the panes: which game, and what it was told."""
        turn, comparison = self.comparison.last, self.comparison
        if turn is None:
            return ["real", "dream", "difference"]
        button = comparison.buttons.title(turn.button)
        return [f"real: {button}", f"dream: {turn.code + 1} {comparison.dreamt.title(turn.code)}", "difference"]

    def numbers(self) -> list[str]:
        """The status line, most wanted first; what does not fit is left out."""
        comparison, turn = self.comparison, self.comparison.last
        held, median = comparison.hold.held, comparison.median_held
        parts = [
            f"since sync {comparison.since}",
            f"held {comparison.hold.frames}+" if held is None else f"held {held}",
        ]
        parts += [] if median is None else [f"median {median:.0f} of {len(comparison.spans)}"]
        parts += [] if turn is None else [f"PSNR {turn.psnr:.1f}", f"moving {_decibels(turn.moving)}"]
        parts += [f"{self.rate():.0f} FPS", f"model {comparison.session.model_ms:.1f} ms"]
        return [*parts, f"syncs {comparison.syncs}"]

    def _top(self, surface: pygame.Surface, at: View) -> None:
        pygame.draw.rect(surface, theme.PANEL, at.top)
        pygame.draw.line(surface, theme.EDGE, at.top.bottomleft, at.top.bottomright)
        pad, half = at.letters // 2, at.top.height // 2
        hint = theme.text("H: help", at.letters, theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(at.top.right - pad, half * 0.5 + 2)))
        room = at.top.width - hint.get_width() - 3 * pad
        title = theme.fitted(self.title, at.letters + 2, room, theme.SKY)
        place = title.get_rect(midleft=(pad, half * 0.5 + 2))
        surface.blit(title, place)
        left = place.right + pad
        tape = self.comparison.tape
        runs = ["PAUSED"] * self.paused + ["AUTO"] * self.comparison.auto + ([tape.state] if tape is not None else [])
        for words in filter(None, runs):
            left = badge(surface, words, at.letters, midleft=(left, place.centery)).right + pad
        said = theme.fitted(SAID[self.comparison.mode], at.letters, max(1, room + pad - left), theme.INK)
        surface.blit(said, said.get_rect(midleft=(left, place.centery)))
        parts = self.numbers()
        while len(parts) > 1 and theme.font(at.letters).size("   ".join(parts))[0] > at.top.width - 2 * pad:
            parts.pop()
        line = theme.fitted("   ".join(parts), at.letters, at.top.width - 2 * pad)
        surface.blit(line, line.get_rect(midleft=(pad, half * 1.5 - 1)))

    def _present(self) -> tuple[Frame, Frame, list[Point]]:
        """Real frame, dreamed frame and curve as they stand between two turns."""
        comparison = self.comparison
        return comparison.real.frame, comparison.session.frame, list(comparison.curve)

    def _collect(self, wait: bool = False) -> bool:
        """Show the turn that was thought, if it is done. wait: until it is. True if there is a new picture."""
        done = self.finished(wait)
        if done is None:
            return False
        done.result()
        self._shown = self._present()
        return True

    def _put_back(self) -> None:
        self.thinker.ask(self.comparison.resync)
        self._shown = self._present()

    def _resync(self) -> None:
        self._collect(wait=True)
        self._put_back()
        self.say("the dream is back on the real game")

    def _toggle_auto(self) -> None:
        self.comparison.auto = not self.comparison.auto
        self.say("put back whenever it is lost" if self.comparison.auto else "the dream is left alone")

    def _next_mode(self) -> None:
        self._collect(wait=True)
        comparison = self.comparison
        modes = comparison.modes
        other = modes[(modes.index(comparison.mode) + 1) % len(modes)]
        if other is comparison.mode:
            self.say(f"only mode {other.value} is possible here")
            return
        comparison.set_mode(other)
        self._put_back()
        self.human = Human(comparison.hears)
        self.say(SAID[other])

    def _record(self) -> None:
        self._collect(wait=True)
        self.comparison.toggle_tape(self.datasets, self.say)

    def _quit(self) -> None:
        self._collect(wait=True)
        self.comparison.close()
        self.done = True


def _decibels(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
