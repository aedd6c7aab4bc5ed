"""A capsule is dreamed again to the last bit, says exactly what differs, and is believed in nothing."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stranger_files import KEYS, WORLD_ID, is_one_line, played, tree
from test_app_doubles import CONTEXT, HEIGHT, WIDTH, CountingWorld, PlainWorld, clips, spec
from world_faults import bomb

from app import capsule, saving
from app.capsule import read_capsule, read_label, write_capsule
from app.replaying import Comparison, Replay, replay, verify
from app.session import Session
from app.timeline import Origin
from models.world import Sampling, WorldSpec


@pytest.fixture
def file(tmp_path) -> Path:
    """A recording of 251 frames."""
    return write_capsule(played(steps=250), tmp_path / "evening.capsule")


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    label = json.loads(file.read_text())
    change(label)
    file.write_text(json.dumps(label))


@pytest.mark.parametrize("world", [CountingWorld, PlainWorld])
def test_every_frame_is_dreamed_again(tmp_path, world):
    play = played(world(), 130)
    found = read_capsule(write_capsule(play, tmp_path / "a.capsule"), world())
    assert (found.actions, found.frames, found.label.game, found.label.fps) == (play.history, 131, "block", 15.0)
    again = list(replay(found, world()))
    assert len(again) == 131
    assert all(np.array_equal(frame, play.peek(step)) for step, frame in enumerate(again))
    assert verify(found, world(), world_id=WORLD_ID) is None
    assert tree(tmp_path) == {tmp_path / "a.capsule"}


def test_the_clip_is_kept_to_the_last_bit(tmp_path):
    noise = torch.randint(0, 256, (CONTEXT + 2, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    play = Session(CountingWorld(), [noise])
    found = read_capsule(write_capsule(play, tmp_path / "a.capsule"), CountingWorld())
    assert torch.equal(found.origin.clip, noise)
    assert (found.frames, found.origin.why, found.origin.actions) == (1, "start", None)
    assert verify(found, CountingWorld()) is None


def test_grey_worlds_have_grey_clips(tmp_path):
    class Grey(PlainWorld):
        def render(self, state):
            return super().render(state)[:, :1]

    actions = spec().actions
    world = Grey(WorldSpec(game="grey", height=HEIGHT, width=WIDTH, channels=1, context=3, actions=actions))
    play = Session(world, [torch.randint(0, 256, (3, 1, HEIGHT, WIDTH), dtype=torch.uint8)])
    play.step(2)
    file = write_capsule(play, tmp_path / "a.capsule")
    found = read_capsule(file, world)
    assert torch.equal(found.origin.clip, play.take.origin.clip)
    assert verify(found, world) is None
    with pytest.raises(ValueError, match=r"clip\[0\] has pixels of kind L; 'block' has 3 channels"):
        read_capsule(file, PlainWorld())


def test_a_beginning_in_the_middle_keeps_its_number_and_its_actions(tmp_path):
    play = played(steps=12)
    play.begin(Origin(clips()[2], "sync", torch.tensor([4, 1])))
    for key in KEYS:
        play.step(key)
    found = read_capsule(write_capsule(play, tmp_path / "a.capsule"), CountingWorld())
    assert (found.label.begin, found.frames, found.origin.why) == (12, len(KEYS) + 1, "sync")
    assert found.origin.actions.tolist() == [4, 1]
    assert verify(found, CountingWorld()) is None


def test_dials_are_turned_where_they_were(file):
    again = Replay(read_capsule(file, CountingWorld()), CountingWorld())
    seen = {}
    while not again.done:
        again.step()
        seen[again.session.steps] = (again.session.seed, again.session.sampling)
    usual, turned = Sampling(), Sampling(steps=5, temperature=0.3)
    assert [seen[step] for step in (10, 11, 20, 21, 250)] == [
        (3, usual),
        (3, turned),
        (3, turned),
        (77, turned),
        (77, turned),
    ]
    with pytest.raises(ValueError, match="the recording has 251 frames and all were shown"):
        again.step()
    again.rewind()
    assert (again.shown, again.session.dials.seed, again.session.sampling) == (1, 3, usual)


def test_what_differs_is_named_block_by_block(file):
    label = json.loads(file.read_text())
    assert len(label["checksums"]) == 3
    rewrite(file, lambda label: label["checksums"].__setitem__(1, "0" * 64))
    verdict = verify(read_capsule(file, CountingWorld()), CountingWorld())
    assert verdict.startswith("frames 100 to 199 differ from the recording; both were dreamed with torch ")
    rewrite(file, lambda label: label["checksums"].__setitem__(2, "0" * 64))
    assert verify(read_capsule(file, CountingWorld()), CountingWorld()).startswith("frames 100 to 250 differ from")
    rewrite(file, lambda change: change.update(checksums=["0" * 64, label["checksums"][1], "0" * 64], threads=3))
    verdict = verify(read_capsule(file, CountingWorld()), CountingWorld())
    assert verdict.startswith("frames 0 to 99 and 200 to 250 differ from the recording; it was dreamed with torch ")
    assert ", 3 threads, cpu, here with torch " in verdict


def test_one_other_key_is_noticed_in_its_block_and_after(file):
    keys = bytearray(base64.b64decode(json.loads(file.read_text())["actions"]))
    assert keys[117] == 2
    keys[117] = 3
    rewrite(file, lambda label: label.update(actions=base64.b64encode(keys).decode()))
    assert verify(read_capsule(file, CountingWorld()), CountingWorld()).startswith("frames 100 to 250 ")


def test_another_world_is_named_and_not_played(file):
    found = read_capsule(file, CountingWorld())
    expected = "it was recorded with world 0123456789abcdef of 'block', this is world feedfeedfeedfeed"
    assert verify(found, CountingWorld(), world_id="feedfeedfeedfeed") == expected


def test_many_differences_are_not_all_listed(tmp_path):
    play = played(steps=1500)
    file = write_capsule(play, tmp_path / "a.capsule")
    sums = json.loads(file.read_text())["checksums"]
    rewrite(file, lambda label: label.update(checksums=["0" * 64 if at % 2 == 0 else sums[at] for at in range(16)]))
    found = read_capsule(file, CountingWorld())
    comparison = Comparison(found)
    for step in range(1501):
        comparison.see(play.peek(step))
    verdict = comparison.verdict()
    assert verdict.startswith("frames 0 to 99 and 200 to 299 and 400 to 499 and 600 to 699 and 4 more stretches differ")


def test_frames_forgotten_before_the_recording_have_no_checksum(tmp_path):
    play = Session(CountingWorld(), clips(), world_id=WORLD_ID)
    saving.load(play, saving.save(played(steps=150), tmp_path / "a.save"))
    file = write_capsule(play, tmp_path / "a.capsule")
    assert read_label(file).checksums == (None, None)
    found = read_capsule(file, CountingWorld())
    assert verify(found, CountingWorld()).startswith("the recording has no checksums of its frames")
    for key in KEYS * 10:
        play.step(key)
    found = read_capsule(write_capsule(play, file), CountingWorld())
    assert [digits is None for digits in found.label.checksums] == [True, True, False]
    comparison = Comparison(found)
    for frame in replay(found, CountingWorld()):
        comparison.see(frame)
    assert (comparison.verdict(), comparison.compared) == (None, 81)


def test_a_forgotten_beginning_cannot_be_recorded(tmp_path):
    play = played(steps=3)
    play.take.origin = None
    with pytest.raises(ValueError, match="the frames that this dream began from are forgotten; begin anew"):
        write_capsule(play, tmp_path / "a.capsule")
    assert tree(tmp_path) == set()


def png(size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "RGB", **options: Any) -> str:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, format="PNG", **options)
    return base64.b64encode(stream.getvalue()).decode()


def harmful(kind: bytes, data: bytes) -> str:
    """A picture of the right size with one more chunk after its header."""
    whole = base64.b64decode(png())
    chunk = len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return base64.b64encode(whole[:33] + chunk + whole[33:]).decode()


def first_picture(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda label: label["clip"].__setitem__(0, text)


REFUSALS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda label: label.update(format=7), "it has format '7', this version reads 1"),
    "another kind": (lambda label: label.pop("kind"), "it is not a dreamcade capsule"),
    "unknown key": (lambda label: label.update(colour=1), "capsule has no 'colour'; it knows: world_id"),
    "missing key": (lambda label: label.pop("fps"), "capsule is incomplete: .*'fps'"),
    "wrong type": (lambda label: label.update(actions=[1, 2]), "capsule.actions must be str"),
    "no rate": (lambda label: label.update(fps=0), r"its fps must be in \(0, 1000\], found 0"),
    "not a number": (lambda label: label.update(fps=float("nan")), "it is not JSON: NaN is not a number"),
    "too many threads": (lambda label: label.update(threads=10**9), r"its threads must be in \[1, 256\]"),
    "another device": (lambda label: label.update(device="/dev/sda"), "must be cpu, cuda or mps, found '/dev/sda'"),
    "a short checksum": (lambda label: label["checksums"].__setitem__(0, "abc"), "must be SHA-256, 64 digits each"),
    "too few checksums": (lambda label: label["checksums"].pop(), "it has 2 checksums, expected 3 for 251 frames"),
    "beyond all time": (lambda label: label.update(begin=2**41), r"begin at a step in \[0, 2\*\*40\]"),
    "a dial before": (lambda label: label.update(begin=5), "dials must be turned at rising steps from 5"),
    "dials out of range": (
        lambda label: label["dials"][0]["sampling"].update(temperature=-1),
        r"temperature must be in \[0, 10\], found -1",
    ),
    "no such action": (
        lambda label: label.update(actions=base64.b64encode(bytes([1, 9])).decode()),
        r"action 9 at position 2 is outside \[0, 8\)",
    ),
    "actions cut": (
        lambda label: label.update(actions=label["actions"][:-3]),
        "[Ii]ncorrect padding|[Ii]nvalid base64",
    ),
    "actions with blanks": (lambda label: label.update(actions="AA AA"), "base64"),
    "no clip": (lambda label: label.update(clip=[]), "it begins from 0 frames; 1 to 64 are read"),
    "a long clip": (lambda label: label.update(clip=label["clip"] * 40), "it begins from 120 frames; 1 to 64 are read"),
    "a short clip": (lambda label: label["clip"].pop(), "start clip has 2 frames but 'block' needs a context of 3"),
    "actions too many": (
        lambda label: label.update(clip_actions=[1, 2, 3]),
        "3 frames have 2 actions between them, found 3",
    ),
    "actions out of range": (
        lambda label: label.update(clip_actions=[1, 2**80]),
        r"an action between its first frames is outside \[0, 8\)",
    ),
    "a picture of another size": (first_picture(png((WIDTH, HEIGHT + 1))), r"clip\[0\] is not a PNG of 40 x 48 pixels"),
    "a picture in grey": (first_picture(png(mode="L")), r"clip\[0\] has pixels of kind L; 'block' has 3 channels"),
    "a picture with holes": (first_picture(png(mode="RGBA")), r"clip\[0\] has pixels of kind RGBA"),
    "not a picture": (first_picture(base64.b64encode(b"hello").decode()), r"clip\[0\] is not a PNG"),
    "half a picture": (lambda label: first_picture(label["clip"][0][:80])(label), r"clip\[0\] is damaged"),
    "a second header, with another size": (
        first_picture(harmful(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))),
        r"clip\[0\] is damaged",
    ),
    "a text that swells": (
        first_picture(harmful(b"zTXt", b"key\x00\x00" + zlib.compress(bytes(3_000_000)))),
        r"clip\[0\] is damaged",
    ),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(file, fault):
    change, message = REFUSALS[fault]
    rewrite(file, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_capsule(file, CountingWorld())
    assert str(caught.value).startswith(f"capsule {file} cannot be used: ")
    assert is_one_line(caught.value)


def test_a_picture_bomb_is_refused_by_its_size_alone(file, tmp_path, monkeypatch):
    bomb(tmp_path / "bomb.png")
    text = base64.b64encode((tmp_path / "bomb.png").read_bytes()).decode()
    rewrite(file, first_picture(text))

    def opened(*args, **kwargs):
        raise AssertionError("a picture of another size was opened")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(ValueError, match=r"clip\[0\] is not a PNG of 40 x 48 pixels"):
        read_capsule(file, CountingWorld())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[]", "it is not a dreamcade capsule"),
        (b"[" * 1_000_000, "it is nested too deeply"),
        (b'{"kind": "dreamcade capsule", "format": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b'{"kind": "dreamcade capsule", "format": 1e999}', "it has format 'inf'"),
        (b'{"kind": "dreamcade capsule", "format": 1, "' + b"x" * 100_000 + b'": 1}', "capsule has no 'xxx"),
    ],
    ids=["empty", "bytes", "list", "deep", "digits", "infinite", "long"],
)
def test_what_is_no_capsule_is_refused(tmp_path, content, message):
    file = tmp_path / "a.capsule"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_label(file)
    assert is_one_line(caught.value)


def test_large_files_are_not_read_and_long_dreams_not_written(tmp_path, monkeypatch):
    large = tmp_path / "large.capsule"
    with large.open("wb") as handle:
        handle.truncate(capsule.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="it has 8388609 bytes; at most 8388608 are read"):
        read_label(large)
    with pytest.raises(FileNotFoundError, match=r"^capsule not found: .*none\.capsule$"):
        read_label(tmp_path / "none.capsule")
    monkeypatch.setattr(capsule, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"this dream needs [0-9]+ bytes; capsules of at most 1000 are read"):
        write_capsule(played(), tmp_path / "a.capsule")
    assert tree(tmp_path) == {large}
