"""Gamepads: whatever is plugged in speaks of the same few buttons, and a table for each scene says what those do.

A pad whose layout SDL knows is read by that layout, another one by the numbers that most pads have. The left stick and
the pad of arrows both give directions. Pads may come and go at any time.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pygame
from pygame._sdl2 import controller

from app.keymap import Does


class Button(enum.Enum):
    """The buttons that there are on every pad, as they are printed."""

    UP = "Up"
    DOWN = "Down"
    LEFT = "Left"
    RIGHT = "Right"
    A = "A"
    B = "B"
    X = "X"
    Y = "Y"
    BACK = "Back"
    START = "Start"
    LEFT_SHOULDER = "LB"
    RIGHT_SHOULDER = "RB"


@dataclass(frozen=True, slots=True)
class Press:
    """A button that went down, or up."""

    button: Button
    down: bool


Table = Mapping[Button, tuple[enum.Enum, int | str]]
"""What the buttons do in a scene: a command of its enum and what it stands for (a direction), as in a table of keys."""

PLAYING: Table = {
    Button.UP: (Does.MOVE, "UP"),
    Button.DOWN: (Does.MOVE, "DOWN"),
    Button.LEFT: (Does.MOVE, "LEFT"),
    Button.RIGHT: (Does.MOVE, "RIGHT"),
    Button.A: (Does.MOVE, "FIRE"),
    Button.B: (Does.STEP, ""),
    Button.X: (Does.RESTART, ""),
    Button.Y: (Does.RESEED, ""),
    Button.START: (Does.PAUSE, ""),
    Button.BACK: (Does.QUIT, ""),
    Button.LEFT_SHOULDER: (Does.UNCERTAINTY, ""),
    Button.RIGHT_SHOULDER: (Does.HELP, ""),
}

KNOWN_LAYOUT: Mapping[int, Button] = {
    pygame.CONTROLLER_BUTTON_A: Button.A,
    pygame.CONTROLLER_BUTTON_B: Button.B,
    pygame.CONTROLLER_BUTTON_X: Button.X,
    pygame.CONTROLLER_BUTTON_Y: Button.Y,
    pygame.CONTROLLER_BUTTON_BACK: Button.BACK,
    pygame.CONTROLLER_BUTTON_START: Button.START,
    pygame.CONTROLLER_BUTTON_LEFTSHOULDER: Button.LEFT_SHOULDER,
    pygame.CONTROLLER_BUTTON_RIGHTSHOULDER: Button.RIGHT_SHOULDER,
    pygame.CONTROLLER_BUTTON_DPAD_UP: Button.UP,
    pygame.CONTROLLER_BUTTON_DPAD_DOWN: Button.DOWN,
    pygame.CONTROLLER_BUTTON_DPAD_LEFT: Button.LEFT,
    pygame.CONTROLLER_BUTTON_DPAD_RIGHT: Button.RIGHT,
}
USUAL_LAYOUT: Mapping[int, Button] = {
    0: Button.A,
    1: Button.B,
    2: Button.X,
    3: Button.Y,
    4: Button.LEFT_SHOULDER,
    5: Button.RIGHT_SHOULDER,
    6: Button.BACK,
    7: Button.START,
}
ACROSS, ALONG = (Button.LEFT, Button.RIGHT), (Button.UP, Button.DOWN)
STICK = {0: ACROSS, 1: ALONG}  # axis → what its negative and its positive end mean
PUSHED, RELEASED = 0.55, 0.35  # of the way: between the two a stick keeps what it said, so that it does not flicker
FULL = 32768.0  # the end of an axis where SDL knows the layout

KNOWN_EVENTS = (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP, pygame.CONTROLLERAXISMOTION)
PLAIN_EVENTS = (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP, pygame.JOYAXISMOTION, pygame.JOYHATMOTION)
DOWN_EVENTS = (pygame.CONTROLLERBUTTONDOWN, pygame.JOYBUTTONDOWN)
UP_EVENTS = (pygame.CONTROLLERBUTTONUP, pygame.JOYBUTTONUP)


def tilt(value: float, was: Button | None, ends: tuple[Button, Button]) -> Button | None:
    """What a stick says along one axis. value: in [-1, 1]; was: what it said before; ends: see STICK."""
    toward = ends[1] if value > 0 else ends[0]
    if abs(value) >= PUSHED or (was is toward and abs(value) >= RELEASED):
        return toward
    return None


def parts(event: Any, held: Mapping[str, Button]) -> dict[str, Button | None]:
    """What an event says of the parts of a pad: part → the button that it stands for now, None for none.

    held: the same, as it was before. Buttons without a name are left out.
    """
    if event.type in DOWN_EVENTS or event.type in UP_EVENTS:
        layout = KNOWN_LAYOUT if event.type in KNOWN_EVENTS else USUAL_LAYOUT
        button = layout.get(event.button)
        return {} if button is None else {f"button {event.button}": button if event.type in DOWN_EVENTS else None}
    if event.type in (pygame.CONTROLLERAXISMOTION, pygame.JOYAXISMOTION):
        if event.axis not in STICK:
            return {}
        value = event.value / FULL if event.type == pygame.CONTROLLERAXISMOTION else event.value
        part = f"axis {event.axis}"
        return {part: tilt(value, held.get(part), STICK[event.axis])}
    if event.type == pygame.JOYHATMOTION:
        x, y = event.value  # y counts upwards
        return {"hat across": tilt(float(x), None, ACROSS), "hat along": tilt(-float(y), None, ALONG)}
    return {}


def printed(table: Table, does: enum.Enum) -> str:
    """The buttons of a command, for the help page."""
    return " ".join(button.value for button, (command, _) in table.items() if command is does)


class Gamepads:
    """All pads of this machine. They are opened as they come; a machine without the means for pads has none."""

    def __init__(self) -> None:
        self._open: dict[int, list[Any]] = {}  # number of a pad → what must be kept so that it goes on speaking
        self._known: set[int] = set()  # those whose layout SDL knows
        self._held: dict[int, dict[str, Button]] = {}
        try:
            pygame.joystick.init()
            controller.init()
        except pygame.error:
            return
        self.look()

    @property
    def names(self) -> list[str]:
        """What the pads call themselves."""
        return [str(kept[0].get_name()) for kept in self._open.values()]

    def look(self) -> None:
        """See which pads are there now, nothing held: for a scene that comes back after events were read elsewhere."""
        self.release_all()
        if not pygame.joystick.get_init():
            return
        there = {self._plug(index) for index in range(pygame.joystick.get_count())}
        for number in set(self._open) - there:
            self._unplug(number)

    def read(self, event: Any) -> list[Press]:
        """What an event means; an empty list for one that is none of a pad's."""
        if event.type == pygame.JOYDEVICEADDED:
            self._plug(event.device_index)
        elif event.type == pygame.JOYDEVICEREMOVED:
            return self._unplug(event.instance_id)
        elif event.type in KNOWN_EVENTS or (event.type in PLAIN_EVENTS and event.instance_id not in self._known):
            held = self._held.setdefault(event.instance_id, {})
            return [press for part, now in parts(event, held).items() for press in self._change(held, part, now)]
        return []

    def release_all(self) -> list[Press]:
        """Forget what is held down, and say what went up by that: the window lost its player."""
        down = dict.fromkeys(button for held in self._held.values() for button in held.values())
        self._held.clear()
        return [Press(button, False) for button in down]

    def close(self) -> None:
        """Let all pads go."""
        for number in list(self._open):
            self._unplug(number)

    def _change(self, held: dict[str, Button], part: str, now: Button | None) -> list[Press]:
        """A part changed. The same button may be held by another part or pad as well, and then nothing is news."""
        was = held.pop(part, None)
        presses: list[Press] = []
        if was is now and now is not None:
            held[part] = now
            return []
        if was is not None and not self._is_held(was):
            presses.append(Press(was, False))
        if now is not None:
            if not self._is_held(now):
                presses.append(Press(now, True))
            held[part] = now
        return presses

    def _is_held(self, button: Button) -> bool:
        return any(button in held.values() for held in self._held.values())

    def _plug(self, index: int) -> int | None:
        """Open a pad and return its number. One that will not open is left alone: the keyboard is still there."""
        try:
            pad = pygame.joystick.Joystick(index)
            number = int(pad.get_instance_id())
            if number not in self._open:
                self._open[number] = [pad]
                if controller.is_controller(index):
                    self._open[number].append(controller.Controller(index))
                    self._known.add(number)
        except pygame.error:
            return None
        return number

    def _unplug(self, number: int) -> list[Press]:
        """A pad is gone: whatever it held goes up."""
        held = self._held.pop(number, {})
        for device in reversed(self._open.pop(number, [])):
            device.quit()
        self._known.discard(number)
        gone = dict.fromkeys(button for button in held.values() if not self._is_held(button))
        return [Press(button, False) for button in gone]
