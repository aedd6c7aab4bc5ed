"""How the data set browser looks: where things are in a window of some size, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import pygame

from app import theme
from app.browsing import Browser, Frame, Moment, Summary
from app.screen import Screen

WIDER = 1.55  # of a frame's width: what a window needs so that the list has room beside the picture


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go. rows: how many episodes the list shows."""

    top: pygame.Rect
    listed: pygame.Rect
    picture: pygame.Rect
    facts: pygame.Rect
    strip: pygame.Rect
    line: pygame.Rect
    letters: int
    pitch: int
    rows: int


def layout(size: tuple[int, int]) -> Layout:
    """A bar above, the list at the left, picture and facts beside it, the strip and the time line below."""
    width, height = size
    letters = max(11, min(20, width // 48, height // 30))
    pitch, pad = round(letters * 1.7), letters // 2
    top = pygame.Rect(0, 0, width, round(letters * 3.4))
    line = pygame.Rect(pad, height - letters * 2 - pad, width - 2 * pad, letters * 2)
    strip = pygame.Rect(pad, line.top - letters * 6 - pad, width - 2 * pad, letters * 6)
    middle = pygame.Rect(0, top.bottom, width, max(1, strip.top - pad - top.bottom))
    beside = min(letters * 17, int(width * 0.4))
    listed = pygame.Rect(0, middle.top, beside, middle.height)
    facts_height = min(middle.height // 2, 3 * pitch + pad)
    facts = pygame.Rect(beside, middle.bottom - facts_height, width - beside, facts_height)
    picture = pygame.Rect(beside, middle.top, width - beside, max(1, facts.top - middle.top))
    rows = max(1, (listed.height - pitch) // pitch)
    return Layout(top, listed, picture, facts, strip, line, letters, pitch, rows)


def bars(width: int) -> int:
    """Pixels that everything above and below the picture needs in a window of this width."""
    return 4000 - layout((width, 4000)).picture.height


class BrowserPage:
    """Draws a browser, and knows what lies under a point of it. It changes nothing in the browser."""

    def __init__(self, browser: Browser, title: str) -> None:
        self.browser, self.title = browser, title
        self._first = 0  # the episode in the first row of the list
        self._thumbs: list[pygame.Surface] = []
        self._shrunk: tuple[object, tuple[int, int]] = (None, (0, 0))  # what the thumbs were made of, and their size

    def draw(self, screen: Screen, help_key: str) -> Layout:
        """Everything. help_key: what opens the help page. Returns the layout."""
        screen.clear()
        surface, browser = screen.surface, self.browser
        at = layout(surface.get_size())
        moment, summary = browser.moment(), browser.summary(browser.episode)
        self._top(surface, at, summary, help_key)
        self._list(surface, at)
        edge = screen.show(browser.picture(), at.picture).inflate(2, 2)
        if at.picture.contains(edge):
            pygame.draw.rect(surface, theme.EDGE, edge, 1)
        self._facts(surface, at, moment)
        self._strip(surface, at)
        self._line(surface, at, summary)
        return at

    def episode_at(self, at: Layout, point: tuple[int, int]) -> int | None:
        """The episode whose row is under a point."""
        row = (point[1] - at.listed.top) // at.pitch - 1  # the first row says what the columns are
        episode = self._first + row
        inside = at.listed.collidepoint(point) and 0 <= row < at.rows
        return episode if inside and episode < len(self.browser.dataset.episodes) else None

    def frame_at(self, at: Layout, point: tuple[int, int]) -> int | None:
        """The frame under a point of the time line or of the strip."""
        if at.strip.collidepoint(point):
            strip, rects = self._places(at)
            shown = zip(strip, rects, strict=True)
            return next((frame for (frame, _), rect in shown if rect.collidepoint(point)), None)
        return self.frame_along(at, point[0]) if at.line.collidepoint(point) else None

    def frame_along(self, at: Layout, x: int) -> int:
        """The frame that the time line has at this height of x, or the nearest one."""
        share = (x - at.line.left) / max(1, at.line.width - 1)
        return round(min(1.0, max(0.0, share)) * self.browser.last)

    def x_of(self, at: Layout, frame: int) -> int:
        """Where a frame is on the time line."""
        return at.line.left + round(frame / self.browser.last * (at.line.width - 1))

    def _top(self, surface: pygame.Surface, at: Layout, summary: Summary, help_key: str) -> None:
        browser, pad, half = self.browser, at.letters // 2, at.top.height // 2
        pygame.draw.rect(surface, theme.PANEL, at.top)
        pygame.draw.line(surface, theme.EDGE, at.top.bottomleft, at.top.bottomright)
        hint = theme.text(f"{help_key}: help", at.letters, theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(at.top.right - pad, half * 0.5 + 2)))
        room = at.top.width - hint.get_width() - 3 * pad
        title = theme.fitted(self.title, at.letters + 2, room // 2, theme.SKY)
        place = title.get_rect(midleft=(pad, half * 0.5 + 2))
        surface.blit(title, place)
        episodes, marked = len(browser.dataset.episodes), len(browser.marked())
        counted = f"{episodes} episodes" + (f", {marked} marked" if marked else "")
        said = theme.fitted(counted, at.letters, max(1, room - title.get_width() - pad), theme.FAINT)
        surface.blit(said, said.get_rect(midleft=(place.right + pad, place.centery)))
        state = "playing" if browser.playing else "paused"
        parts = [f"episode {summary.number}", f"frame {browser.frame} of {browser.last}", state]
        parts += [f"seed {summary.seed}", summary.behaviour, summary.split]
        while len(parts) > 2 and theme.font(at.letters).size("   ".join(parts))[0] > at.top.width - 2 * pad:
            parts.pop()
        line = theme.fitted("   ".join(parts), at.letters, at.top.width - 2 * pad)
        surface.blit(line, line.get_rect(midleft=(pad, half * 1.5 - 1)))

    def _list(self, surface: pygame.Surface, at: Layout) -> None:
        """A row an episode: its mark, number, steps and return. The one at the cursor is always to be seen."""
        browser, count = self.browser, len(self.browser.dataset.episodes)
        self._first = min(max(self._first, browser.episode - at.rows + 1), browser.episode, max(0, count - at.rows))
        pygame.draw.rect(surface, theme.PANEL, at.listed)
        self._row(surface, at, 0, ("", "no.", "steps", "return"), theme.FAINT)
        for row, episode in enumerate(range(self._first, min(count, self._first + at.rows)), start=1):
            summary, here = browser.summary(episode), episode == browser.episode
            if here:
                rect = pygame.Rect(at.listed.left, at.listed.top + row * at.pitch, at.listed.width, at.pitch)
                pygame.draw.rect(surface, theme.CAP, rect)
                pygame.draw.rect(surface, theme.LIT, (rect.left, rect.top, max(3, at.letters // 4), rect.height))
            cells = ("X" if browser.is_marked(episode) else "", str(episode), str(summary.steps), f"{summary.total:g}")
            self._row(surface, at, row, cells, theme.INK if here else theme.FAINT)
        if count > at.rows:
            shown = max(at.letters, at.listed.height * at.rows // count)
            y = at.listed.top + (at.listed.height - shown) * self._first // (count - at.rows)
            pygame.draw.rect(surface, theme.EDGE, (at.listed.right - 4, y, 3, shown))
        pygame.draw.line(surface, theme.EDGE, at.listed.topright, at.listed.bottomright)

    def _row(self, surface: pygame.Surface, at: Layout, row: int, cells: tuple[str, ...], colour: theme.Colour) -> None:
        """Four cells: the mark at the left, numbers flush right."""
        y = at.listed.top + (row + 0.5) * at.pitch
        width = at.listed.width - at.letters
        for cell, end in zip(cells, (0.16, 0.38, 0.68, 0.98), strict=True):
            said = theme.fitted(cell, at.letters, int(width * 0.29), theme.LIT if cell == "X" else colour)
            surface.blit(said, said.get_rect(midright=(at.listed.left + width * end, y)))

    def _facts(self, surface: pygame.Surface, at: Layout, moment: Moment) -> None:
        """Three lines: the step that led here, what the world read of it, and where things are."""
        browser = self.browser
        step = "the first frame" if moment.action is None else f"action {moment.action}"
        step += f"   reward {moment.reward:+g}" if moment.reward else ""
        step += f"   return {moment.total:g}" + ("   GAME OVER" if moment.end else "")
        if browser.world is None:
            read = "no world here: no latent codes"
        elif not browser.reads_codes:
            read = "this world reads no latent codes"
        else:
            read = f"latent code {'none yet' if moment.code is None else moment.code}"
        where = [
            f"{name} {'hidden' if place is None else f'{place[0]:g}, {place[1]:g}'}" for name, place in moment.objects
        ]
        lines = (
            (step, theme.LIT if moment.reward or moment.end else theme.INK),
            (read, theme.FAINT if moment.code is None else theme.SKY),
            ("   ".join(where) + "   (row, column)" if where else "no objects were recorded", theme.FAINT),
        )
        for row, (words, colour) in enumerate(lines[: max(1, at.facts.height // at.pitch)]):
            said = theme.fitted(words, at.letters, at.facts.width - at.letters, colour)
            surface.blit(said, said.get_rect(center=(at.facts.centerx, at.facts.top + (row + 0.5) * at.pitch)))

    def _places(self, at: Layout) -> tuple[list[tuple[int, Frame]], list[pygame.Rect]]:
        """The frames in the strip, and where each is."""
        manifest, gap = self.browser.dataset.manifest, 3
        across = max(8, at.strip.height * manifest.width // manifest.height)
        strip = self.browser.strip(max(2, (at.strip.width + gap) // (across + gap)))
        left = at.strip.left + (at.strip.width - len(strip) * (across + gap) + gap) // 2
        lefts = range(left, left + len(strip) * (across + gap), across + gap)
        return strip, [pygame.Rect(x, at.strip.top, across, at.strip.height) for x in lefts]

    def _strip(self, surface: pygame.Surface, at: Layout) -> None:
        """Small pictures of the episode; the last one that the cursor has reached is framed."""
        strip, rects = self._places(at)
        if self._shrunk[0] is not strip or self._shrunk[1] != rects[0].size:
            self._shrunk = (strip, rects[0].size)
            self._thumbs = [_shrunk(pixels, rects[0].size) for _, pixels in strip]
        reached = max(index for index, (frame, _) in enumerate(strip) if frame <= self.browser.frame)
        for index, (rect, thumb) in enumerate(zip(rects, self._thumbs, strict=True)):
            surface.blit(thumb, rect)
            if index == reached:
                pygame.draw.rect(surface, theme.LIT, rect.inflate(2, 2), 2)

    def _line(self, surface: pygame.Surface, at: Layout, summary: Summary) -> None:
        """The time line: points won stand up, points lost hang down, the cursor goes through."""
        middle, half = at.line.centery, at.line.height // 2
        pygame.draw.rect(surface, theme.PANEL, at.line, border_radius=3)
        pygame.draw.line(surface, theme.EDGE, (at.line.left, middle), (at.line.right - 1, middle))
        wide = 2 if at.line.width > 300 else 1
        for frame, reward in self.browser.rewards():
            x, up = self.x_of(at, frame), reward > 0
            tip = middle - half + 2 if up else middle + half - 3
            pygame.draw.line(surface, theme.SKY if up else theme.GUESS, (x, middle), (x, tip), wide)
        if summary.ended:
            x = self.x_of(at, self.browser.last)
            pygame.draw.line(surface, theme.INK, (x, at.line.top), (x, at.line.bottom - 1), 2)
        x = self.x_of(at, self.browser.frame)
        pygame.draw.line(surface, theme.LIT, (x, at.line.top), (x, at.line.bottom - 1), 2)
        pygame.draw.circle(surface, theme.LIT, (x, middle), max(3, at.letters // 3))
        pygame.draw.rect(surface, theme.EDGE, at.line, 1, border_radius=3)


def _shrunk(frame: Frame, size: tuple[int, int]) -> pygame.Surface:
    """A frame in another size, smoothed, so that a thing of one pixel is still there."""
    whole = pygame.image.frombuffer(frame.tobytes(), (frame.shape[1], frame.shape[0]), "RGB")
    return pygame.transform.smoothscale(whole, size)
