"""Gamepads without one: made-up events in, presses of named buttons out."""

from __future__ import annotations

import os
from typing import ClassVar

os.environ["SDL_VIDEODRIVER"] = "dummy"

import pygame
import pytest
from pygame.event import Event

from app import gamepad
from app.gamepad import ACROSS, ALONG, PLAYING, Button, Gamepads, Press, parts, printed, tilt
from app.keymap import BINDINGS, Does
from app.scenes import menu


class Joystick:
    """A pad that is plugged in at a place and calls itself something."""

    there: ClassVar[list[tuple[int, str, bool]]] = []  # number, name, whether SDL knows its layout
    opened: ClassVar[list[int]] = []

    def __init__(self, index: int) -> None:
        if index >= len(self.there):
            raise pygame.error("no such joystick")
        self.number, self.name, _ = self.there[index]
        self.opened.append(self.number)

    def get_instance_id(self) -> int:
        return self.number

    def get_name(self) -> str:
        return self.name

    def quit(self) -> None:
        self.opened.remove(self.number)


@pytest.fixture
def plugs(monkeypatch):
    """The sockets of a machine: a list to which a test adds pads."""
    there: list[tuple[int, str, bool]] = []
    monkeypatch.setattr(Joystick, "there", there)
    monkeypatch.setattr(Joystick, "opened", [])
    monkeypatch.setattr(gamepad.pygame.joystick, "Joystick", Joystick)
    monkeypatch.setattr(gamepad.pygame.joystick, "get_count", lambda: len(there))
    monkeypatch.setattr(gamepad.controller, "is_controller", lambda index: there[index][2])
    monkeypatch.setattr(gamepad.controller, "Controller", Joystick)
    return there


def down(button: int, pad: int = 5) -> Event:
    return Event(pygame.CONTROLLERBUTTONDOWN, instance_id=pad, button=button)


def up(button: int, pad: int = 5) -> Event:
    return Event(pygame.CONTROLLERBUTTONUP, instance_id=pad, button=button)


def stick(axis: int, value: float, pad: int = 5) -> Event:
    return Event(pygame.CONTROLLERAXISMOTION, instance_id=pad, axis=axis, value=int(value * 32767))


@pytest.mark.parametrize(
    ("value", "was", "says"),
    [
        (0.0, None, None),
        (0.5, None, None),
        (0.6, None, Button.RIGHT),
        (-0.6, None, Button.LEFT),
        (0.4, Button.RIGHT, Button.RIGHT),
        (0.4, Button.LEFT, None),
        (-0.4, Button.LEFT, Button.LEFT),
        (0.3, Button.RIGHT, None),
        (-1.0, Button.RIGHT, Button.LEFT),
    ],
)
def test_a_stick_has_a_dead_zone_and_does_not_flicker(value, was, says):
    assert tilt(value, was, ACROSS) is says


def test_up_is_up_for_sticks_and_hats():
    assert tilt(-1.0, None, ALONG) is Button.UP
    hat = Event(pygame.JOYHATMOTION, instance_id=1, hat=0, value=(1, 1))
    assert parts(hat, {}) == {"hat across": Button.RIGHT, "hat along": Button.UP}
    hat = Event(pygame.JOYHATMOTION, instance_id=1, hat=0, value=(0, -1))
    assert parts(hat, {}) == {"hat across": None, "hat along": Button.DOWN}


@pytest.mark.parametrize(
    ("number", "button"),
    [
        (pygame.CONTROLLER_BUTTON_A, Button.A),
        (pygame.CONTROLLER_BUTTON_START, Button.START),
        (pygame.CONTROLLER_BUTTON_BACK, Button.BACK),
        (pygame.CONTROLLER_BUTTON_DPAD_LEFT, Button.LEFT),
        (pygame.CONTROLLER_BUTTON_RIGHTSHOULDER, Button.RIGHT_SHOULDER),
    ],
)
def test_a_known_pad_is_read_by_its_layout(number, button):
    assert parts(down(number), {}) == {f"button {number}": button}
    assert parts(up(number), {}) == {f"button {number}": None}


def test_what_has_no_name_says_nothing():
    assert parts(down(pygame.CONTROLLER_BUTTON_LEFTSTICK), {}) == {}
    assert parts(stick(pygame.CONTROLLER_AXIS_TRIGGERLEFT, 1.0), {}) == {}
    assert parts(Event(pygame.KEYDOWN, key=pygame.K_a), {}) == {}
    assert Gamepads().read(Event(pygame.MOUSEMOTION, pos=(0, 0))) == []


def test_a_press_and_its_release():
    pads = Gamepads()
    assert pads.read(down(0)) == [Press(Button.A, True)]
    assert pads.read(down(0)) == []
    assert pads.read(up(0)) == [Press(Button.A, False)]
    assert pads.read(up(0)) == []


def test_a_stick_goes_through_the_middle():
    pads, right, left = Gamepads(), Button.RIGHT, Button.LEFT
    heard = [pads.read(stick(0, value)) for value in (0.2, 0.7, 0.9, 0.5, 0.1, -0.8, 1.0)]
    assert heard[:5] == [[], [Press(right, True)], [], [], [Press(right, False)]]
    assert heard[5:] == [[Press(left, True)], [Press(left, False), Press(right, True)]]


def test_a_direction_held_twice_is_let_go_once():
    pads, there = Gamepads(), pygame.CONTROLLER_BUTTON_DPAD_UP
    assert pads.read(down(there)) == [Press(Button.UP, True)]
    assert pads.read(stick(1, -1.0)) == []
    assert pads.read(up(there)) == []
    assert pads.read(stick(1, -1.0, pad=6)) == []
    assert pads.read(stick(1, 0.0)) == []
    assert pads.read(stick(1, 0.0, pad=6)) == [Press(Button.UP, False)]


def test_letting_all_go_says_what_was_held():
    pads = Gamepads()
    pads.read(down(0))
    pads.read(stick(0, 1.0))
    assert set(pads.release_all()) == {Press(Button.A, False), Press(Button.RIGHT, False)}
    assert pads.release_all() == []
    assert pads.read(down(0)) == [Press(Button.A, True)]


def test_a_known_pad_is_heard_once_although_it_speaks_twice(plugs):
    plugs.append((5, "good pad", True))
    pads = Gamepads()
    assert pads.names == ["good pad"]
    assert pads.read(Event(pygame.JOYBUTTONDOWN, instance_id=5, button=0)) == []
    assert pads.read(Event(pygame.JOYAXISMOTION, instance_id=5, axis=0, value=1.0)) == []
    assert pads.read(down(0)) == [Press(Button.A, True)]


def test_an_unknown_pad_is_read_by_the_usual_numbers(plugs):
    plugs.append((7, "cheap pad", False))
    pads = Gamepads()
    assert pads.read(Event(pygame.JOYBUTTONDOWN, instance_id=7, button=7)) == [Press(Button.START, True)]
    assert pads.read(Event(pygame.JOYAXISMOTION, instance_id=7, axis=1, value=1.0)) == [Press(Button.DOWN, True)]
    assert pads.read(Event(pygame.JOYBUTTONDOWN, instance_id=7, button=12)) == []


def test_pads_come_and_go(plugs):
    pads = Gamepads()
    assert pads.names == []
    plugs.append((3, "late pad", True))
    pads.read(Event(pygame.JOYDEVICEADDED, device_index=0))
    pads.read(Event(pygame.JOYDEVICEADDED, device_index=0))
    assert pads.names == ["late pad"]
    pads.read(down(0, pad=3))
    plugs.clear()
    assert pads.read(Event(pygame.JOYDEVICEREMOVED, instance_id=3)) == [Press(Button.A, False)]
    assert pads.names == []
    assert pads.read(Event(pygame.JOYDEVICEADDED, device_index=4)) == []  # gone before it could be opened


def test_looking_again_finds_what_was_missed(plugs):
    plugs.append((3, "first", True))
    pads = Gamepads()
    pads.read(down(0, pad=3))
    plugs[:] = [(4, "second", False)]
    pads.look()
    assert pads.names == ["second"]
    assert pads.release_all() == []
    pads.close()
    assert pads.names == []
    assert Joystick.opened == []


def test_a_machine_without_the_means_has_no_pads(monkeypatch):
    def broken() -> None:
        raise pygame.error("no joysticks here")

    monkeypatch.setattr(gamepad.pygame.joystick, "init", broken)
    assert Gamepads().names == []


@pytest.mark.parametrize(("table", "commands"), [(PLAYING, Does), (menu.BUTTONS, menu.Chooses)])
def test_tables_speak_of_their_scene_and_of_all_directions(table, commands):
    assert all(isinstance(does, commands) for does, _ in table.values())
    ways = {value for does, value in table.values() if does.name == "MOVE"}
    assert {"UP", "DOWN", "LEFT", "RIGHT"} <= ways


def test_playing_says_nothing_that_no_key_can_say():
    keys = {(binding.does, key.value) for binding in BINDINGS for key in binding.keys}
    assert set(PLAYING.values()) <= keys
    assert printed(PLAYING, Does.PAUSE) == "Start"
    assert printed(PLAYING, Does.COOLER) == ""
