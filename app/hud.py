"""The bars around the picture: what is being played, how fast, with which dials, and a cap for each action."""

from __future__ import annotations

from dataclasses import dataclass

import pygame

from app import theme
from app.engine import Engine
from app.names import ActionNames

CAPS = 8


@dataclass(slots=True)
class Stats:
    """What only the main loop can measure: turns a second, and milliseconds to draw one."""

    turns: float = 0.0
    draw_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go in a window of some size."""

    top: pygame.Rect
    picture: pygame.Rect
    bottom: pygame.Rect
    letters: int


def layout(size: tuple[int, int]) -> Layout:
    """A top bar of two lines, a bottom bar of caps, the picture between. Letters grow with the width."""
    width, height = size
    letters = max(11, min(22, width // 46))
    top = pygame.Rect(0, 0, width, round(letters * 3.4))
    bottom_height = round(letters * (3.9 if cap_rows(width, letters) == 1 else 6.4))
    bottom = pygame.Rect(0, height - bottom_height, width, bottom_height)
    return Layout(top, pygame.Rect(0, top.bottom, width, max(1, bottom.top - top.bottom)), bottom, letters)


def bars(width: int) -> int:
    """Pixels that both bars need in a window of this width."""
    at = layout((width, 4000))
    return at.top.height + at.bottom.height


def cap_rows(width: int, letters: int) -> int:
    """Caps stand in one row, in a narrow window in two."""
    return 1 if width // CAPS >= letters * 4.4 else 2


def caps(names: ActionNames, at: Layout) -> list[pygame.Rect]:
    """The rectangle of each action's cap, in rows along the bottom bar."""
    count = max(1, min(CAPS, len(names.labels)))
    rows = cap_rows(at.bottom.width, at.letters)
    across = -(-count // rows)
    gap = max(3, at.letters // 3)
    width = min((at.bottom.width - gap * (across + 1)) // across, at.letters * 9)
    height = (at.bottom.height - gap * (rows + 1)) // rows
    left = (at.bottom.width - across * width - (across - 1) * gap) // 2
    return [
        pygame.Rect(
            left + index % across * (width + gap), at.bottom.top + gap + index // across * (height + gap), width, height
        )
        for index in range(count)
    ]


class Hud:
    """Draws the bars. It reads the session and changes nothing."""

    def __init__(self, title: str, engine: Engine, names: ActionNames, stats: Stats) -> None:
        self.title, self.engine, self.names, self.stats = title, engine, names, stats

    def numbers(self) -> list[str]:
        """The status line, most wanted first; what does not fit is left out."""
        session, stats, engine = self.engine.session, self.stats, self.engine
        parts = [f"{engine.rate:.0f} FPS", f"model {session.model_ms:.1f} ms"]
        parts += [f"late {engine.late}"] * (engine.late > 0) + [f"speed {engine.speed:g} x"] * (engine.speed != 1.0)
        parts += [f"frame {session.steps}", f"seed {session.seed}"]
        parts += [f"take {session.take.number} of {len(session.takes)}"] * (len(session.takes) > 1)
        if session.sampling is not None:
            parts += [f"steps {session.sampling.steps}", f"temp {session.sampling.temperature:.1f}"]
        return [*parts, f"draw {stats.draw_ms:.1f} ms", f"start {session.start + 1} of {session.starts}"]

    def draw(self, surface: pygame.Surface, lit: set[int], state: str, health: float | None) -> Layout:
        """Both bars. lit: actions whose key is down; state: a badge such as PAUSED, or nothing; health: of the
        dream in [0, 1], or None to hide it. Returns the layout, for the picture."""
        at = layout(surface.get_size())
        self._top(surface, at, state)
        if health is not None:
            self._health(surface, at, health)
        pygame.draw.rect(surface, theme.PANEL, at.bottom)
        pygame.draw.line(surface, theme.EDGE, at.bottom.topleft, at.bottom.topright)
        for action, rect in enumerate(caps(self.names, at)):
            self._cap(surface, rect, action, action in lit, at.letters)
        return at

    def _top(self, surface: pygame.Surface, at: Layout, state: str) -> None:
        pygame.draw.rect(surface, theme.PANEL, at.top)
        pygame.draw.line(surface, theme.EDGE, at.top.bottomleft, at.top.bottomright)
        pad, half = at.letters // 2, at.top.height // 2
        hint = theme.text("H: help", at.letters, theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(at.top.right - pad, half * 0.5 + 2)))
        room = at.top.width - hint.get_width() - 3 * pad
        title = theme.fitted(self.title, at.letters + 2, room, theme.SKY)
        place = title.get_rect(midleft=(pad, half * 0.5 + 2))
        surface.blit(title, place)
        if state:
            badge(surface, state, at.letters, midleft=(place.right + pad, place.centery))
        else:
            last = self.engine.session.last_action
            doing = "ready" if last is None else f"dreaming {self.names.title(last)}"
            said = theme.fitted(doing, at.letters, max(1, room - title.get_width() - pad), theme.FAINT)
            surface.blit(said, said.get_rect(midleft=(place.right + pad, place.centery)))
        parts = self.numbers()
        while len(parts) > 1 and theme.font(at.letters).size("   ".join(parts))[0] > at.top.width - 2 * pad:
            parts.pop()
        line = theme.fitted("   ".join(parts), at.letters, at.top.width - 2 * pad)
        surface.blit(line, line.get_rect(midleft=(pad, half * 1.5 - 1)))

    def _health(self, surface: pygame.Surface, at: Layout, health: float) -> None:
        """A bar under the top bar: full and blue when the dream is sure of itself, short and orange when not."""
        rail = pygame.Rect(at.top.left, at.top.bottom - max(3, at.letters // 4), at.top.width, max(3, at.letters // 4))
        pygame.draw.rect(surface, theme.CAP, rail)
        rail.width = max(2, round(rail.width * health))
        pygame.draw.rect(surface, theme.SKY if health > 0.5 else theme.GUESS, rail)

    def _cap(self, surface: pygame.Surface, rect: pygame.Rect, action: int, lit: bool, letters: int) -> None:
        """One key cap: its number, what the key was found to do, and how sure that is."""
        share = self.names.agreement[action]
        ink = theme.DARK if lit else theme.INK if share != 0.0 else theme.FAINT
        pygame.draw.rect(surface, theme.LIT if lit else theme.CAP, rect, border_radius=5)
        idle = action == self.names.idle
        pygame.draw.rect(surface, theme.LIT if lit else theme.SKY if idle else theme.EDGE, rect, 1, border_radius=5)
        number = theme.text(str(action + 1), letters + 4, ink)
        surface.blit(number, number.get_rect(midleft=(rect.left + letters // 2, rect.centery)))
        left = rect.left + letters // 2 + number.get_width() + letters // 3
        room = max(1, rect.right - left - 3)
        label = theme.fitted(self.names.title(action), letters, room, ink)
        if not share:
            surface.blit(label, label.get_rect(midleft=(left, rect.centery)))
            return
        sure = theme.fitted(f"{share:.0%}", letters - 1, room, theme.DARK if lit else theme.FAINT)
        surface.blit(label, label.get_rect(midleft=(left, rect.centery - letters * 0.55)))
        surface.blit(sure, sure.get_rect(midleft=(left, rect.centery + letters * 0.65)))


def badge(surface: pygame.Surface, words: str, letters: int, **place: tuple[float, float]) -> pygame.Rect:
    """Dark words on a bright plate, e.g. PAUSED. place: any rect anchor, such as center=(x, y)."""
    label = theme.fitted(words, letters, max(20, surface.get_width() - 4 * letters), theme.DARK)
    rect = label.get_rect().inflate(letters, letters // 2)
    for anchor, where in place.items():
        setattr(rect, anchor, where)
    pygame.draw.rect(surface, theme.LIT, rect, border_radius=4)
    surface.blit(label, label.get_rect(center=rect.center))
    return rect
