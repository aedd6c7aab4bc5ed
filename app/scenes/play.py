"""Playing a world: keys in, dreamed frames out, the bars around them, and the doors to everything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pygame

from app import library, theme
from app.compare import Comparison
from app.controllers import Human
from app.engine import Engine
from app.follow import Follower
from app.gamepad import PLAYING, Gamepads
from app.health import Healer, Health
from app.hud import Hud, Stats, badge
from app.keymap import BINDINGS, Does, Keymap, chosen_keys
from app.names import ActionNames
from app.places import Places
from app.real import LiveGame
from app.relatives import Relative, beside, heard, opened, others
from app.scenes.calibrate import CalibrateScene
from app.scenes.compare import CompareScene
from app.scenes.desk import Desk
from app.scenes.dials import DialsScene
from app.scenes.help import HelpScene
from app.scenes.paint import PaintScene
from app.scenes.scene import Scene
from app.scenes.slots import SlotsScene
from app.scenes.split import SplitScene
from app.scenes.takes import TakesScene
from app.scenes.what_if import WhatIfScene
from app.screen import Screen
from app.session import Session
from app.timeline import Origin
from collectors.games import game_named
from models.world import Sampling, ShowsUncertainty

NOTICE_S = 2.0
FULL_NATS = 2.0  # entropy that gets the full tint
COLDEST, WARMEST = 0.0, 3.0


class PlayScene:
    """The game itself. What lies above it (what if, paint, …) stops it meanwhile.

    places: where what the player keeps goes; pads: gamepads to listen to; follower: where newer weights come from.
    """

    def __init__(
        self,
        engine: Engine,
        screen: Screen,
        stats: Stats,
        *,
        title: str,
        places: Places,
        pads: Gamepads | None = None,
        follower: Follower | None = None,
    ) -> None:
        self.engine, self.session = engine, engine.session
        self.captures, self.title = places.captures, title
        self.names = ActionNames(self.session.world.spec)
        self.keymap = Keymap("PLAY", BINDINGS, chosen_keys())
        self.human = Human(self.names)
        self.health, self.healer = Health(), Healer()
        self.hud = Hud(title, engine, self.names, stats)
        self.desk = Desk(engine, self.names, places, title, self.say, follower)
        self.done, self.waits, self.shows_guesses = False, False, False
        self.stale = True  # there is something new to draw
        self.notice, self._until = "", 0.0
        self._screen, self._pads, self._shot = screen, pads, False
        self._comparison: Comparison | None = None  # the last one, which may be on tape
        self._commands: dict[Does, Callable[[], object]] = {
            Does.PAUSE: self._pause,
            Does.STEP: engine.single,
            Does.RESTART: self._restart,
            Does.RESEED: self._reseed,
            Does.MORE_STEPS: lambda: self._dial(steps=1),
            Does.FEWER_STEPS: lambda: self._dial(steps=-1),
            Does.WARMER: lambda: self._dial(warmth=0.1),
            Does.COOLER: lambda: self._dial(warmth=-0.1),
            Does.UNCERTAINTY: self._toggle_guesses,
            Does.HEAL: self._toggle_healing,
            Does.BACK: engine.run_back,
            Does.WAIT: self._toggle_waiting,
            Does.SLOWER: lambda: self._speed(-1),
            Does.FASTER: lambda: self._speed(1),
            Does.FIT: self._toggle_fit,
            Does.SWAP: self._swap,
            Does.SCREENSHOT: self._ask_shot,
            **self.desk.commands,
            Does.FULLSCREEN: screen.toggle_fullscreen,
            Does.QUIT: self._quit,
        }
        self._doors: dict[Does, Callable[[], Scene | None]] = {
            Does.HELP: self._help,
            Does.TAKES: self._takes,
            Does.WHAT_IF: lambda: WhatIfScene(engine, self.names, self.keymap),
            Does.COMPARE: self._beside,
            Does.SPLIT: self._split,
            Does.PAINT: lambda: PaintScene(engine, self.say),
            Does.SLOTS: lambda: SlotsScene(self.session, self.desk.places.sessions, self.say),
            Does.CALIBRATE: lambda: CalibrateScene(engine, self.names),
            Does.DIALS: self._dials_door,
        }

    @property
    def waiting(self) -> bool:
        """Nothing moves by itself."""
        return self.engine.resting

    @property
    def paused(self) -> bool:
        """The player stopped the dream."""
        return self.engine.paused

    @property
    def dreamed(self) -> int:
        """Frames dreamed this evening, over all new starts."""
        return self.engine.dreamed

    def say(self, words: str) -> None:
        """Show a line over the picture for a moment."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def handle(self, event: Any) -> Scene | None:
        """Keys, gamepads, a picture that is dropped on the window, and the loss of the keyboard."""
        if event.type == pygame.DROPFILE:
            self._dropped(Path(event.file))
        elif event.type == pygame.WINDOWFOCUSLOST:
            self.human.release_all()
            self.engine.release(self._branched)
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            return self._key(*self.keymap.lookup(event.key), down=event.type == pygame.KEYDOWN)
        elif self._pads is not None:
            doors = [self._key(*PLAYING[press.button], down=press.down) for press in self._pads.read(event)]
            return next((door for door in doors if door is not None), None)
        return None

    def update(self) -> None:
        """Go on when it is time to."""
        before = self.engine.dreamed
        self.stale = self.engine.turn(self._choose)
        self.desk.turn()
        if self.engine.dreamed == before:
            return
        self.desk.after_step(self.lit())
        doubt = self.session.uncertainty()
        if doubt is not None:
            self.health.saw(doubt)
            done = self.healer.after_step(self.session, self.health)
            if done is not None:
                self.say(done.words)

    def lit(self) -> set[int]:
        """Actions whose caps are bright: the one held, or the one a tap gave to this frame."""
        return {action for action in (self.human.pressed(), self.human.acting) if action is not None}

    def draw(self, screen: Screen) -> None:
        """Bars, picture, and what lies on the picture."""
        screen.clear()
        surface = screen.surface
        at = self.hud.draw(surface, self.lit(), self._state_words(), self.health.value if self.shows_guesses else None)
        rect = screen.show(self.engine.frame, at.picture)
        guesses = self.session.uncertainty() if self.shows_guesses and self.engine.cursor is None else None
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

    def _key(self, does: Any, value: int | str, down: bool) -> Scene | None:
        if does in (Does.ACT, Does.MOVE):
            self._action_key(value, down)
        elif does is Does.BACK and not down:
            self.engine.release(self._branched)
        elif down and does in self._doors:
            self.human.release_all()
            self.engine.settle()
            return self._doors[does]()
        elif down and does in self._commands:
            self._commands[does]()
        return None

    def _choose(self) -> int | None:
        return None if self.waits and not self.human.wants else self.human.act()

    def _state_words(self) -> str:
        """What the badge in the bar says: why the dream does not simply run."""
        if self.engine.cursor is not None:
            return f"BACK {self.session.steps - self.engine.cursor}"
        if self.engine.busy:
            return "GOING BACK"
        if self.engine.paused:
            return "PAUSED"
        return "WAITS FOR KEY" if self.waits else self.desk.state

    def _action_key(self, value: int | str, down: bool) -> None:
        if not down:
            self.human.release(value)
        elif not self.human.press(value):
            known = ", ".join(self.names.distinct()) or "only numbers"
            wanted = f"action {value + 1}" if isinstance(value, int) else value
            self.say(f"no {wanted} in this world: {known}")

    def _pause(self) -> None:
        self.engine.paused = not self.engine.paused

    def _restart(self) -> None:
        self.engine.settle()
        self.session.reset(start=(self.session.start + 1) % self.session.starts)
        self.health = Health()
        self.say(f"start {self.session.start + 1} of {self.session.starts}")

    def _reseed(self) -> None:
        self.session.reseed(self.session.seed + 1)
        self.say(f"seed {self.session.seed}")

    def _branched(self, step: int) -> None:
        self.health.forget_recent()
        self.say(f"take {self.session.take.number}, from frame {step}; T shows all takes")

    def _dial(self, steps: int = 0, warmth: float = 0.0) -> None:
        """Turn a sampling dial and say where it stands; at its end it stays."""
        now = self.session.sampling
        if now is None:
            self.say("this world has no sampling dials")
            return
        warm = min(WARMEST, max(COLDEST, round(now.temperature + warmth, 2)))
        turned: Sampling = replace(now, steps=min(64, max(1, now.steps + steps)), temperature=warm)
        self.session.set_sampling(turned)
        found = self.session.sampling or turned
        why = " (this world draws a frame in one step)" if found.steps != turned.steps else ""
        self.say(f"sampling steps {found.steps}{why}, temperature {found.temperature:.1f}")

    def _dropped(self, path: Path) -> None:
        """Dream on from a picture."""
        try:
            clip = library.still(path, self.session.world.spec, strict=False, say=self.say)
        except (ValueError, OSError) as problem:
            self.say(str(problem))
            return
        self.engine.settle()
        self.session.begin(Origin(clip, "prompt"))
        self.say(f"dreaming on from {path.name}")

    def _speed(self, by: int) -> None:
        self.say(f"speed {self.engine.faster(by):g} x")

    def _toggle_waiting(self) -> None:
        self.waits = not self.waits
        self.say("the dream moves when you press a key" if self.waits else "the dream runs by itself")

    def _toggle_fit(self) -> None:
        self._screen.whole = not self._screen.whole
        self.say("whole multiples" if self._screen.whole else "as large as fits")

    def _knows_doubt(self) -> bool:
        if isinstance(self.session.world, ShowsUncertainty):
            return True
        self.say("this world cannot say where it guessed")
        return False

    def _toggle_guesses(self) -> None:
        if self._knows_doubt():
            self.shows_guesses = not self.shows_guesses
            self.say("orange: where the world guessed" if self.shows_guesses else "guesses hidden")

    def _toggle_healing(self) -> None:
        if self._knows_doubt():
            self.healer.on = not self.healer.on
            self.healer.stop(self.session)
            self.say("auto-heal on" if self.healer.on else "auto-heal off")

    def _help(self) -> Scene:
        known = ", ".join(self.names.distinct())
        note = f"this world learned: {known}" if known else "this world's actions have no names: use 1 to 8"
        return HelpScene(self.keymap, note, self._pads, PLAYING)

    def _takes(self) -> Scene | None:
        if len(self.session.takes) > 1:
            return TakesScene(self.session)
        self.say("only one take yet; hold Backspace to go back and make another")
        return None

    def _beside(self) -> Scene | None:
        """The real game beside a dream of its own; this one waits."""
        spec = self.session.world.spec
        try:
            real = LiveGame(game_named(spec.game, (spec.height, spec.width)), self.session.seed % 2**31)
            thinker = self.engine.thinker
            comparison = thinker.ask(lambda: Comparison(self.session.twin(), real))
        except (ValueError, OSError) as problem:
            self.say(str(problem))
            return None
        self._comparison = comparison
        return CompareScene(
            comparison,
            self._screen,
            title=self.title,
            captures=self.captures,
            datasets=self.desk.places.datasets,
            fps=spec.fps,
            thinker=thinker,
        )

    def _swap(self) -> None:
        """Let the next world of this game take over at the same state of the game."""
        found = self._relative()
        if found is None:
            return
        self.human.release_all()
        self.desk.close()
        pressed = heard(self.session, found.world)
        self.engine.thinker.ask(lambda: self.session.change_world(found.world, found.world_id, found.starts, pressed))
        self.title = found.folder.name
        self.names = ActionNames(self.session.world.spec)
        self.human, self.health, self.healer = Human(self.names), Health(), Healer()
        self.hud = Hud(self.title, self.engine, self.names, self.hud.stats)
        places = replace(self.desk.places, sessions=self.desk.places.sessions.parent / self.title)
        self.desk = Desk(self.engine, self.names, places, self.title, self.say)
        self._commands |= self.desk.commands
        pygame.display.set_caption(f"{self.title} - Dreamcade")
        self.stale = True
        self.say(f"{self.title} ({found.family}) goes on from the last frames")

    def _relative(self) -> Relative | None:
        """The next world of this game, opened; None, and a notice, where there is none that can be."""
        if self.engine.busy or self.engine.cursor is not None:
            self.say("not while the dream goes back")
            return None
        self.engine.settle()
        problem: Exception = ValueError("no other world of this game can be opened")
        try:
            for folder in others(self.session):
                try:
                    return self.engine.thinker.ask(partial(opened, folder, self.session))
                except (ValueError, OSError) as found:
                    problem = found
        except (ValueError, OSError) as found:
            problem = found
        self.say(str(problem))
        return None

    def _split(self) -> Scene | None:
        """Another world of this game beside a twin of this one, under the same keys; this one waits."""
        found = self._relative()
        if found is None:
            return None
        thinker = self.engine.thinker

        def both() -> tuple[Session, Session]:
            twin = self.session.twin()
            twin.join(self.session)
            return twin, beside(twin, found)

        titles = (self.title, f"{found.folder.name} ({found.family})")
        sessions = thinker.ask(both)
        fps = self.session.world.spec.fps
        return SplitScene(sessions, self._screen, titles=titles, captures=self.captures, fps=fps, thinker=thinker)

    def _dials_door(self) -> Scene | None:
        return DialsScene(self.engine, self, self.keymap)

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

    def close(self) -> None:
        """Finish what is being recorded or filmed."""
        self.desk.close()
        if self._comparison is not None:
            self._comparison.close()
