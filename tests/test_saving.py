"""A saved game goes on as if it had never been left, and no file can do more harm than be refused in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stranger_files import (
    KEYS,
    WORLD_ID,
    is_one_line,
    packed,
    played,
    tree,
    unpacked,
)
from test_app_doubles import HEIGHT, WIDTH, CountingWorld, PlainWorld, clips

from app import library, saving
from app.session import Session
from app.timeline import Origin
from models import checkpoint
from models.world import Sampling

HOUSE = Path(__file__).resolve().parents[1]
PONG = HOUSE / "assets" / "worlds" / "pong"


def fresh(world: PlainWorld | None = None) -> Session:
    return Session(world or CountingWorld(), clips(), seed=8, start=0, world_id=WORLD_ID)


@pytest.fixture
def file(tmp_path) -> Path:
    return saving.save(played(), tmp_path / "game.save", "before the ball", "21 Nov 2026, 18:04")


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object]) -> None:
    tensors, card = unpacked(file)
    change(tensors, card)
    file.write_bytes(packed(tensors, json.dumps(card)))


@pytest.mark.parametrize("steps", [0, 1, 25, 40, 64])
@pytest.mark.parametrize("world", [CountingWorld, PlainWorld])
def test_a_loaded_dream_goes_on_as_if_never_left(tmp_path, world, steps):
    left, back = played(world(), steps), fresh(world())
    back.step(7)
    saving.load(back, saving.save(left, tmp_path / "a.save"))
    assert (back.steps, back.seed, back.sampling) == (left.steps, left.seed, left.sampling)
    assert (back.history, back.last_action) == (left.history, left.last_action)
    assert np.array_equal(back.frame, left.frame)
    assert {name: value.tolist() for name, value in back.state.items()} == {
        name: value.tolist() for name, value in left.state.items()
    }
    for key in KEYS * 5:
        assert np.array_equal(back.step(key), left.step(key))
    assert back.take.story().actions == left.take.story().actions
    assert torch.equal(back.take.story().origin.clip, left.take.story().origin.clip)


def test_what_was_played_before_loading_stays_and_the_loaded_past_is_keys_only(file):
    play = fresh()
    mine = [play.step(2).copy() for _ in range(6)]
    first = play.take
    saving.load(play, file)
    assert (len(play.takes), play.steps, play.oldest) == (2, 40, 40)
    for _ in range(45):
        play.step(1)
    shown = play.peek(41)
    play.branch(40)
    assert np.array_equal(play.step(1), shown)
    with pytest.raises(ValueError, match=r"step 39 is outside \[40, 41\]"):
        play.branch(39)
    with pytest.raises(ValueError, match="step 12 is outside"):
        play.peek(12)
    assert play.recent(3).shape == (3, 3, HEIGHT, WIDTH)
    play.enter(first.number)
    assert np.array_equal(play.frame, mine[-1])


def test_saving_what_was_loaded_keeps_the_whole_story(file, tmp_path):
    first, second = fresh(), fresh()
    saving.load(first, file)
    for key in KEYS:
        first.step(key)
    saving.load(second, saving.save(first, tmp_path / "again.save"))
    original = played()
    for key in KEYS:
        original.step(key)
    assert second.history == original.history
    story, expected = second.take.story(), original.take.story()
    assert [story_dials for _, story_dials in story.dials if story_dials.seed == 77] != []
    for step in range(len(story.actions)):
        assert _dials_at(story, step) == _dials_at(expected, step)
    assert np.array_equal(second.step(3), original.step(3))


def _dials_at(story, step):
    return next(dials for since, dials in reversed(story.dials) if since <= step)


def test_a_beginning_with_actions_and_a_forgotten_one_are_kept_as_they_are(tmp_path):
    play, back = fresh(), fresh()
    play.step(1)
    play.begin(Origin(clips()[2], "sync", torch.tensor([5, 7])))
    play.step(2)
    file = saving.save(play, tmp_path / "a.save")
    saving.load(back, file)
    story = back.take.story()
    assert (story.begin, story.actions, story.origin.why) == (1, bytes([2]), "sync")
    assert story.origin.actions.tolist() == [5, 7]
    rewrite(
        file, lambda tensors, card: (tensors.pop("origin.clip"), tensors.pop("origin.actions"), card.update(why=None))
    )
    saving.load(back, file)
    assert back.take.story().origin is None
    assert saving.save(back, file) == file


def test_the_real_world_goes_on_bit_by_bit_in_another_process(tmp_path):
    world = library.open_world(PONG, "cpu")
    play = Session(world, checkpoint.load_starts(PONG), seed=5, world_id=checkpoint.world_id(PONG))
    for step in range(40):
        play.step((step // 5) % 8)
    file = saving.save(play, tmp_path / "pong.save")
    keys = [(step // 3) % 8 for step in range(20)]
    expected = [hashlib.sha256(play.step(key).tobytes()).hexdigest() for key in keys]
    code = """
import hashlib, sys, torch
from pathlib import Path
torch.set_num_threads(int(sys.argv[3]))
from app import library, saving
from app.session import Session
from models import checkpoint
pong = Path(sys.argv[2])
play = Session(library.open_world(pong, "cpu"), checkpoint.load_starts(pong), world_id=checkpoint.world_id(pong))
saving.load(play, Path(sys.argv[1]))
print(play.steps)
for key in sys.argv[4]:
    print(hashlib.sha256(play.step(int(key)).tobytes()).hexdigest())
"""
    words = [str(file), str(PONG), str(torch.get_num_threads()), "".join(map(str, keys))]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["40", *expected]
    assert len(set(expected)) > 10


REFUSALS: dict[str, tuple[Callable[[dict[str, torch.Tensor], dict[str, Any]], object], str]] = {
    "another world": (
        lambda tensors, card: card.update(world_id="feedfeedfeedfeed", game="chess"),
        "it is of world feedfeedfeedfeed of 'chess', this one is 0123456789abcdef of 'block'; play that world",
    ),
    "another format": (lambda tensors, card: card.update(format=2), "it has format '2', this version reads 1"),
    "format is no number": (lambda tensors, card: card.update(format=True), "it has format 'True', this version"),
    "another kind": (lambda tensors, card: card.update(kind="photo album"), "it is not a dreamcade save"),
    "unknown key": (lambda tensors, card: card.update(colour=1), "header has no 'colour'; it knows: world_id"),
    "missing key": (lambda tensors, card: card.pop("begin"), "header is incomplete: .*'begin'"),
    "wrong type": (lambda tensors, card: card.update(step="40"), "header.step must be int, found '40'"),
    "before the beginning": (
        lambda tensors, card: card.update(begin=-1, step=39),
        r"steps must rise within \[0, 2\*\*40\], found -1 to 39",
    ),
    "beyond all time": (lambda tensors, card: card.update(begin=2**40, step=2**40 + 40), "steps must rise within"),
    "no way to begin": (lambda tensors, card: card.update(why="rm -rf"), "must be one word, found 'rm -rf'"),
    "keys are missing": (lambda tensors, card: card.update(step=41), r"'actions' must be U8 \[41\], found U8 \[40\]"),
    "no such action": (
        lambda tensors, card: tensors["actions"].__setitem__(4, 8),
        r"action 8 at position 5 is outside \[0, 8\)",
    ),
    "no dials": (lambda tensors, card: card.update(dials=[]), "must be turned between 1 and 65536 times, found 0"),
    "dials too late": (lambda tensors, card: card["dials"][-1].update(step=41), "rising steps from 0 to at most 40"),
    "dials in disorder": (lambda tensors, card: card["dials"].reverse(), "rising steps from 0 to at most 40"),
    "dials out of range": (
        lambda tensors, card: card["dials"][0]["sampling"].update(temperature=11),
        r"temperature must be in \[0, 10\], found 11",
    ),
    "too many passes": (
        lambda tensors, card: card["dials"][0]["sampling"].update(steps=65),
        r"sampling steps must be in \[1, 64\], found 65",
    ),
    "no luck": (lambda tensors, card: card["dials"][1].update(seed=-1), r"a seed must be in \[0, 2\*\*63\), found -1"),
    "no sampling": (lambda tensors, card: card["dials"][0].update(sampling=None), "the file has none at step 0"),
    "a state too few": (lambda tensors, card: tensors.pop("state.floor"), "it lacks 'state.floor'"),
    "a state too many": (
        lambda tensors, card: tensors.update({"state.z": torch.zeros(1)}),
        "it has an unknown tensor 'state.z'",
    ),
    "no picture": (lambda tensors, card: tensors.pop("frame"), "it lacks 'frame'"),
    "a flat picture": (
        lambda tensors, card: tensors.update(frame=torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)),
        r"'frame' must be U8 \[48, 40, 3\], found U8 \[48, 40\]",
    ),
    "a state of floats": (
        lambda tensors, card: tensors.update({"state.y": tensors["state.y"].double()}),
        r"'state.y' must be I64 \[1\], found F64 \[1\]",
    ),
    "two states": (
        lambda tensors, card: tensors.update({"state.y": tensors["state.y"].repeat(2)}),
        r"'state.y' must be I64 \[1\], found I64 \[2\]",
    ),
    "a state that cannot be": (
        lambda tensors, card: tensors.update({"state.floor": torch.tensor([10**6])}),
        "its state cannot be played: value cannot be converted",
    ),
    "a clip of another size": (
        lambda tensors, card: tensors.update({"origin.clip": torch.zeros(3, 3, 9, 9, dtype=torch.uint8)}),
        "start clip of 'block' must be uint8",
    ),
    "a short clip": (
        lambda tensors, card: tensors.update({"origin.clip": tensors["origin.clip"][:2].clone()}),
        "start clip has 2 frames but 'block' needs a context of 3",
    ),
    "no clip": (lambda tensors, card: tensors.pop("origin.clip"), "it lacks 'origin.clip'"),
    "a clip of no origin": (lambda tensors, card: card.update(why=None), "unknown tensor 'origin.clip'"),
    "unknown actions": (
        lambda tensors, card: tensors.update({"origin.actions": torch.tensor([0, 8])}),
        r"'origin.actions' are outside \[0, 8\)",
    ),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_changes(file, fault):
    change, message = REFUSALS[fault]
    rewrite(file, change)
    play = fresh()
    play.step(3)
    before = (play.state, play.take, len(play.takes), play.steps, play.seed, play.sampling)
    with pytest.raises(ValueError, match=message) as caught:
        saving.load(play, file)
    assert str(caught.value).startswith(f"save {file} cannot be used: ")
    assert is_one_line(caught.value)
    assert (play.state, play.take, len(play.takes), play.steps, play.seed, play.sampling) == before


def test_a_state_with_holes_is_refused(tmp_path):
    class Floating(CountingWorld):
        def reset(self, window, rng=None):
            return {**super().reset(window, rng), "warmth": torch.zeros(1, 2)}

        def step(self, state, action, rng=None):
            return {**super().step(state, action, rng), "warmth": state["warmth"]}

    play = fresh(Floating())
    file = saving.save(play, tmp_path / "a.save")
    rewrite(file, lambda tensors, card: tensors.update({"state.warmth": torch.tensor([[1.0, float("nan")]])}))
    with pytest.raises(ValueError, match=r"'state.warmth' holds values that are not numbers"):
        saving.load(play, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is damaged or no save"),
        (b"hello, world, I am not a save", "it is damaged or no save"),
        (b"\xff" * 64, "it is damaged or no save"),
        (packed({"frame": torch.zeros(1)}, "[" * 100_000), "it is nested too deeply"),
        (packed({"frame": torch.zeros(1)}, '{"kind": "dreamcade save", "format": NaN}'), "NaN is not a number"),
        (packed({"frame": torch.zeros(1)}, "[1]"), "it is not a dreamcade save"),
    ],
)
def test_what_is_no_save_is_refused(tmp_path, content, message):
    file = tmp_path / "a.save"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        saving.load(fresh(), file)
    assert is_one_line(caught.value)


def test_a_shipped_world_is_no_save_and_a_cut_save_is_damaged(file):
    whole = file.read_bytes()
    for length in (1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="it is damaged or no save"):
            saving.load(fresh(), file)
    with pytest.raises(ValueError, match="it is not a dreamcade save"):
        saving.load(fresh(), PONG / "model.safetensors")


def test_large_files_are_not_even_read_and_missing_ones_are_named(tmp_path, monkeypatch):
    large = tmp_path / "large.save"
    with large.open("wb") as handle:
        handle.truncate(saving.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="it has 67108865 bytes; at most 67108864 are read"):
        saving.load(fresh(), large)
    with pytest.raises(FileNotFoundError, match=r"^save not found: .*nothing\.save$"):
        saving.load(fresh(), tmp_path / "nothing.save")
    with pytest.raises(ValueError, match="it is not a file"):
        saving.load(fresh(), tmp_path)
    monkeypatch.setattr(saving, "MOST_BYTES", 4 << 10)
    with pytest.raises(ValueError, match=r"this dream needs [0-9]+ bytes; saves of at most 4096 are read"):
        saving.save(played(), tmp_path / "b.save")
    assert tree(tmp_path) == {large}


def test_a_full_disk_leaves_the_old_save_and_no_draft(file, monkeypatch):
    before = file.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"^cannot write .*game.save: no space left on the disk; make room"):
        saving.save(fresh(), file)
    assert file.read_bytes() == before
    assert tree(file.parent) == {file}
    with pytest.raises(OSError, match=r"^cannot write .*: file exists; choose another place$"):
        saving.save(fresh(), file / "inside.save")


def test_slots_show_what_is_there_without_a_world(tmp_path):
    folder = tmp_path / "block"
    play = played()
    saving.save(play, saving.slot_path(folder, None), "quick one")
    saving.save(play, saving.slot_path(folder, 3), "third", "yesterday")
    saving.slot_path(folder, 5).write_bytes(b"broken")
    tensors, card = unpacked(saving.slot_path(folder, 3))
    tensors.pop("frame")
    saving.slot_path(folder, 6).write_bytes(packed(tensors, json.dumps(card)))
    found = saving.slots(folder)
    assert [slot.key for slot in found] == ["quick", *map(str, range(10))]
    assert [slot.path.name for slot in found[:3]] == ["quick.save", "slot-0.save", "slot-1.save"]
    third = found[4]
    assert (third.name, third.when, third.step, third.world_id) == ("third", "yesterday", 40, WORLD_ID)
    assert np.array_equal(third.frame, play.frame)
    assert [slot.key for slot in found if slot.empty] == ["0", "1", "2", "4", "7", "8", "9"]
    assert [slot.key for slot in found if slot.problem] == ["5", "6"]
    assert found[6].problem.startswith("it is damaged or no save")
    assert found[7].problem == "it has no picture"
    for number in (-1, 10):
        with pytest.raises(ValueError, match=r"is outside \[0, 10\)"):
            saving.slot_path(folder, number)
    assert all(slot.empty for slot in saving.slots(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("two\nlines\x1b[31m and\x00 a bell\a", "two lines [31m and a bell"),
        ("x" * 100, "x" * 40),
        ("\u202egnp.exe \ud800", "gnp.exe"),
        ("   ", ""),
        ("Ünï ☃ 雪", "Ünï ☃ 雪"),
    ],
    ids=["path", "control", "long", "reversed", "blank", "letters"],
)
def test_names_are_any_text_and_never_a_path(tmp_path, name, shown):
    folder = tmp_path / "sessions" / "block"
    file = saving.save(played(), saving.slot_path(folder, 0), name, name)
    assert tree(tmp_path) == {tmp_path / "sessions", folder, file}
    slot = saving.slots(folder)[1]
    assert (slot.name, slot.when) == (shown, shown)


def test_the_folder_of_a_world_is_below_the_saves(tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path))
    monkeypatch.chdir(PONG)
    for world in (PONG, Path("."), Path("../pong"), Path("starts/..")):
        assert saving.folder_for(world) == tmp_path / "sessions" / "pong"


def test_sampling_of_the_present_is_the_saved_one(file):
    play = Session(CountingWorld(sampling=Sampling(steps=9)), clips(), world_id=WORLD_ID)
    saving.load(play, file)
    assert play.sampling == Sampling(steps=5, temperature=0.3)
    assert play.seed == 77
