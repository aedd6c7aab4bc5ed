"""What a player keeps, through the real loop: saves and slots, capsules, recordings, films, newer weights."""

from __future__ import annotations

import cv2
import numpy as np
import pygame
import pytest
from test_app_doubles import CountingWorld
from test_app_game import Table

from app import saving
from app.follow import Snapshot
from app.scenes.desk import Desk
from app.scenes.slots import SlotsScene
from collectors.shards import Dataset


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    yield made
    made.scene.close()
    made.screen.close()


def test_quick_save_and_back(table):
    table.press(pygame.K_F9)
    assert "quick.save" in table.scene.notice
    table.down(pygame.K_3)
    table.turns(6)
    table.press(pygame.K_F5)
    at = table.session.steps
    shown = [table.session.frame.copy()]
    for _ in range(5):
        table.turns(1)
        shown.append(table.session.frame.copy())
    table.scene.engine.paused = True
    table.press(pygame.K_F9)
    saved = table.session.steps  # the key is heard before the step of its turn
    assert saved == at - 1
    table.scene.engine.paused = False
    for step in range(saved + 1, saved + 6):
        table.turns(1)
        assert table.session.steps == step
        assert np.array_equal(table.session.frame, shown[step - at])


def test_ten_slots_with_thumbnails(table):
    table.turns(4)
    table.press(pygame.K_F6)
    scene = table.game.stack[-1]
    assert isinstance(scene, SlotsScene)
    assert [slot.key for slot in scene.slots] == ["quick", *"0123456789"]
    assert all(slot.empty for slot in scene.slots)
    table.press(pygame.K_RETURN)
    assert "is empty" in scene.note
    table.press(pygame.K_7)
    table.press(pygame.K_s)
    saved = next(slot for slot in scene.slots if slot.key == "7")
    assert (saved.step, scene.note) == (table.session.steps, "saved in slot 7")
    assert np.array_equal(saved.frame, table.session.frame)
    before = table.session.frame.copy()
    table.press(pygame.K_ESCAPE)
    table.turns(5)
    table.scene.engine.paused = True
    table.press(pygame.K_F6)
    table.press(pygame.K_7)
    table.press(pygame.K_RETURN)
    assert len(table.game.stack) == 1
    assert np.array_equal(table.session.frame, before)
    assert len(table.session.takes) == 2


def test_a_broken_slot_is_shown_with_its_reason(table, tmp_path):
    folder = table.scene.desk.places.sessions
    folder.mkdir(parents=True)
    saving.slot_path(folder, 3).write_bytes(b"no save")
    table.press(pygame.K_F6)
    table.press(pygame.K_3)
    table.press(pygame.K_RETURN)
    scene = table.game.stack[-1]
    assert scene.slots[scene.chosen].problem
    assert scene.note
    table.turns(1)


def test_a_capsule_of_the_dream(table):
    table.turns(5)
    table.press(pygame.K_F7)
    found = list(table.scene.captures.glob("*.capsule"))
    assert len(found) == 1
    assert found[0].name in table.scene.notice


def test_recording_into_a_data_set(table):
    table.turns(2)
    before = table.session.steps
    table.press(pygame.K_F2)
    table.down(pygame.K_4)
    table.turns(12)
    assert table.scene.desk.state.startswith("REC 0:0")
    table.press(pygame.K_F2)
    folders = list(table.scene.desk.places.datasets.iterdir())
    assert len(folders) == 1
    with Dataset.open(folders[0]) as data:
        episode = data.read(data.episodes[0])
    steps = table.session.steps - before
    assert episode.steps in (steps, steps - 1)
    assert np.array_equal(episode.frames[0], table.session.peek(before))
    assert episode.latent[-10:].tolist() == [3] * 10


def test_filming_with_keys(table):
    table.press(pygame.K_F10)
    table.turns(8)
    assert "VIDEO" in table.scene.desk.state
    table.press(pygame.K_F10)
    films = list(table.scene.captures.glob("*.mp4"))
    assert len(films) == 1
    reader = cv2.VideoCapture(str(films[0]))
    assert 8 <= int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) <= 10


def test_newer_weights_take_over_and_the_dream_goes_on(table):
    class Once:
        def __init__(self) -> None:
            self.found = [Snapshot(CountingWorld(), "b" * 16, 300)]

        def poll(self):
            return self.found.pop() if self.found else None

    said: list[str] = []
    table.turns(5)
    desk = Desk(table.engine, table.scene.names, table.scene.desk.places, "block", said.append, Once())
    desk.turn()
    desk.turn()
    assert said == ["weights of step 300"]
    assert (table.session.world_id, table.session.steps) == ("b" * 16, 5)
    table.turns(3)
    assert table.session.steps == 8
    assert len(table.session.takes) == 1
    assert table.session.take.origin.why == "sync"
