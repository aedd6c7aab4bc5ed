"""Looking through a data set in a window: scrub, mark, export, drop, and choose a frame to dream on from."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygame
from torch import Tensor

from app.browsing import Browser
from app.hud import badge
from app.keymap import Binding, Key, Keymap, chosen_keys
from app.scenes.browser_page import BrowserPage, layout
from app.scenes.help import HelpScene
from app.scenes.question import QuestionScene
from app.scenes.scene import Scene
from app.screen import Screen

NOTICE_S = 3.0
HOLD_S, REPEAT_S = 0.35, 0.04  # a key that is held: when it begins to repeat, and how often
FAR = 15  # frames
SLOWEST, FASTEST = 0.125, 8.0


class Browses(enum.Enum):
    """What a key can do while a data set is looked through."""

    PLAY = enum.auto()
    BACK = enum.auto()
    AHEAD = enum.auto()
    FAR_BACK = enum.auto()
    FAR_AHEAD = enum.auto()
    FIRST = enum.auto()
    LAST = enum.auto()
    PREVIOUS = enum.auto()
    NEXT = enum.auto()
    SLOWER = enum.auto()
    FASTER = enum.auto()
    MARK = enum.auto()
    EXPORT = enum.auto()
    DROP = enum.auto()
    DREAM = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(Browses.PLAY, "play, stop; also a click on the picture", (Key(pygame.K_SPACE, "Space"),)),
    Binding(Browses.BACK, "one frame back", (Key(pygame.K_LEFT, "Left"), Key(pygame.K_a, "A"))),
    Binding(Browses.AHEAD, "one frame ahead", (Key(pygame.K_RIGHT, "Right"), Key(pygame.K_d, "D"))),
    Binding(Browses.FAR_BACK, f"{FAR} frames back", (Key(pygame.K_PAGEUP, "Page Up"), Key(pygame.K_COMMA, ","))),
    Binding(Browses.FAR_AHEAD, f"{FAR} frames ahead", (Key(pygame.K_PAGEDOWN, "Page Down"), Key(pygame.K_PERIOD, "."))),
    Binding(Browses.FIRST, "the first frame", (Key(pygame.K_HOME, "Home"),)),
    Binding(Browses.LAST, "the last frame", (Key(pygame.K_END, "End"),)),
    Binding(Browses.PREVIOUS, "the episode before", (Key(pygame.K_UP, "Up"), Key(pygame.K_w, "W"))),
    Binding(Browses.NEXT, "the next episode", (Key(pygame.K_DOWN, "Down"), Key(pygame.K_s, "S"))),
    Binding(Browses.SLOWER, "play slower", (Key(pygame.K_MINUS, "-"), Key(pygame.K_KP_MINUS, "Num -"))),
    Binding(
        Browses.FASTER,
        "play faster",
        (Key(pygame.K_PLUS, "+"), Key(pygame.K_EQUALS, "="), Key(pygame.K_KP_PLUS, "Num +")),
    ),
    Binding(Browses.DREAM, "dream on from this frame", (Key(pygame.K_RETURN, "Enter"),)),
    Binding(Browses.MARK, "mark the episode, take the mark away", (Key(pygame.K_x, "X"),)),
    Binding(Browses.DROP, "delete all marked episodes for good", (Key(pygame.K_DELETE, "Delete"),)),
    Binding(Browses.EXPORT, "write the episode as a video", (Key(pygame.K_e, "E"),)),
    Binding(Browses.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(Browses.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(Browses.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Browses.QUIT, "leave", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)
REPEATING = frozenset(
    (Browses.BACK, Browses.AHEAD, Browses.FAR_BACK, Browses.FAR_AHEAD, Browses.PREVIOUS, Browses.NEXT)
)


class BrowserScene:
    """A data set in a window. chosen: the frames to dream on from, uint8 [T, C, H, W], once the player asked for it.

    context: how many frames that are; None where there is no world that could. clock: seconds, for tests.
    """

    def __init__(
        self,
        browser: Browser,
        screen: Screen,
        *,
        title: str,
        captures: Path,
        context: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.browser, self.captures, self.title, self.context = browser, captures, title, context
        self.keymap = Keymap("BROWSER", BINDINGS, chosen_keys())
        self.page = BrowserPage(browser, title)
        self.done, self.speed, self.notice = False, 1.0, ""
        self.chosen: Tensor | None = None
        self._screen, self._clock, self._until = screen, clock, 0.0
        self._held: tuple[Browses, float] | None = None  # a command whose key is down, and when it is due again
        self._due = 0.0  # when the next frame is to be shown
        self._dragging = self._shot = False
        self._commands: dict[Browses, Callable[[], None]] = {
            Browses.PLAY: self._play,
            Browses.BACK: lambda: self._step(-1),
            Browses.AHEAD: lambda: self._step(1),
            Browses.FAR_BACK: lambda: browser.move(-FAR),
            Browses.FAR_AHEAD: lambda: browser.move(FAR),
            Browses.FIRST: lambda: browser.move(-browser.frame),
            Browses.LAST: lambda: browser.move(browser.last),
            Browses.PREVIOUS: lambda: browser.turn(-1),
            Browses.NEXT: lambda: browser.turn(1),
            Browses.SLOWER: lambda: self._hurry(0.5),
            Browses.FASTER: lambda: self._hurry(2.0),
            Browses.MARK: self._mark,
            Browses.EXPORT: self._export,
            Browses.DREAM: self._dream,
            Browses.SCREENSHOT: self._ask_shot,
            Browses.FULLSCREEN: screen.toggle_fullscreen,
            Browses.QUIT: self._quit,
        }

    @property
    def waiting(self) -> bool:
        """Nothing moves by itself."""
        return not self.browser.playing and self._held is None

    def say(self, words: str) -> None:
        """Show a line over the picture for a moment."""
        self.notice, self._until = words, self._clock() + NOTICE_S

    def handle(self, event: Any) -> Scene | None:
        """Keys and the mouse."""
        if event.type == pygame.KEYDOWN:
            return self._key(event.key)
        if event.type == pygame.KEYUP and self._held is not None:
            if self.keymap.lookup(event.key)[0] is self._held[0]:
                self._held = None
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._held, self._dragging = None, False
        elif event.type == pygame.MOUSEBUTTONDOWN:
            self._press(event.button, event.pos)
        elif event.type == pygame.MOUSEBUTTONUP:
            self._dragging = False
        elif event.type == pygame.MOUSEMOTION and self._dragging:
            self._to_frame(self.page.frame_along(layout(self._screen.surface.get_size()), event.pos[0]))
        return None

    def update(self) -> None:
        """Show the frames that are due by the clock, at the game's own rate times the speed; repeat a held key."""
        now, browser = self._clock(), self.browser
        if self._held is not None and now >= self._held[1]:
            self._commands[self._held[0]]()
            self._held = (self._held[0], now + REPEAT_S)
        pause = 1.0 / (browser.dataset.manifest.fps * self.speed)
        while browser.playing and now >= self._due:
            browser.tick()
            self._due = max(self._due + pause, now - 4 * pause)  # after a halt, do not run to catch up

    def draw(self, screen: Screen) -> None:
        """The page, and what lies on it."""
        at = self.page.draw(screen, self.keymap.shown(Browses.HELP))
        if self._shot:
            self._shot = False
            self._save_shot(screen)
        if self.notice and self._clock() < self._until:
            place = (at.picture.centerx, at.picture.bottom - at.letters // 2)
            badge(screen.surface, self.notice, at.letters, midbottom=place)

    def _key(self, code: int) -> Scene | None:
        does, _ = self.keymap.lookup(code)
        if does is Browses.HELP:
            self._held = None
            return HelpScene(self.keymap, "click the list, the strip or the time line to go there")
        if does is Browses.DROP:
            self._held = None
            return self._question()
        if isinstance(does, Browses):
            self._commands[does]()
            self._held = (does, self._clock() + HOLD_S) if does in REPEATING else None
        return None

    def _press(self, button: int, point: tuple[int, int]) -> None:
        """A click, or the wheel: through the episodes on the list, through the frames elsewhere."""
        at = layout(self._screen.surface.get_size())
        if button in (4, 5):
            wheel, listed = (-1 if button == 4 else 1), at.listed.collidepoint(point)
            (self.browser.turn if listed else self._step)(wheel)
        if button != 1:
            return
        episode, frame = self.page.episode_at(at, point), self.page.frame_at(at, point)
        if episode is not None:
            self.browser.go(episode)
        elif frame is not None:
            self._to_frame(frame)
            self._dragging = at.line.collidepoint(point)
        elif at.picture.collidepoint(point):
            self._play()

    def _to_frame(self, frame: int) -> None:
        self.browser.go(self.browser.episode, frame)

    def _play(self) -> None:
        self.browser.play()
        self._due = self._clock() + 1.0 / (self.browser.dataset.manifest.fps * self.speed)

    def _step(self, frames: int) -> None:
        """One frame at a time: whoever looks that closely does not want it to run on."""
        self.browser.playing = False
        self.browser.move(frames)

    def _hurry(self, times: float) -> None:
        self.speed = min(FASTEST, max(SLOWEST, self.speed * times))
        self.say(f"{self.speed:g} times the game's own speed")

    def _mark(self) -> None:
        try:
            marked = self.browser.mark()
        except OSError as problem:
            self.say(str(problem))
            return
        self.say(f"episode {self.browser.episode} is {'marked' if marked else 'not marked any more'}")

    def _export(self) -> None:
        """Write the episode at the cursor as a video; that takes some seconds, so it is said first."""
        number = self.browser.episode
        name = f"{self.title}-episode{number}-{time.strftime('%Y%m%d-%H%M%S')}.mp4"
        self._announce(f"writing episode {number}")
        try:
            self.say(f"saved {self.browser.export(number, self.captures / name).name}")
        except (OSError, ValueError) as problem:
            self.say(str(problem))

    def _question(self) -> Scene | None:
        """Ask before marked episodes are deleted."""
        marked = self.browser.marked()
        if not marked:
            self.say(f"no episode is marked: {self.keymap.shown(Browses.MARK)} marks the one that is shown")
            return None
        steps = sum(self.browser.dataset.episodes[episode].steps for episode in marked)
        numbers = ", ".join(map(str, marked[:12])) + (", .." if len(marked) > 12 else "")
        lines = (
            f"Delete the marked episodes of {self.title} for good?",
            f"{len(marked)} of {len(self.browser.dataset.episodes)}, {steps} transitions: {numbers}",
        )
        return QuestionScene(lines, self._drop)

    def _drop(self) -> None:
        """Delete the marked episodes, saying how far it is: shards are written anew."""
        marked = self.browser.marked()
        try:
            self.browser.drop(marked, lambda done, total: self._announce(f"shard {done} of {total} is written anew"))
        except (OSError, ValueError) as problem:
            self.say(str(problem))
            return
        self.say(f"deleted {len(marked)} episode{'s' * (len(marked) > 1)}")

    def _announce(self, words: str) -> None:
        """Show a line now, because the next turn of the loop will be late."""
        self.say(words)
        self.draw(self._screen)
        self._screen.flip()

    def _dream(self) -> None:
        if self.context is None:
            self.say("there is no world for this game yet: 'dreamcade make' learns one")
            return
        self.chosen = self.browser.clip(self.context)
        self.browser.playing, self.done = False, True

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen) -> None:
        name = f"{self.title}-{self.browser.episode}-{self.browser.frame:06d}-{time.strftime('%Y%m%d-%H%M%S')}.png"
        try:
            self.say(f"saved {screen.save(self.captures / name).name}")
        except OSError as problem:
            self.say(str(problem))

    def _quit(self) -> None:
        self.done = True
