"""Thousands of spoilt saves and capsules: each ends in a game or in ONE line, and nothing else is touched.

DREAMCADE_MUTATIONS=10000 tries 20,000 of them, half of each kind.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from typing import Any

import torch
from stranger_files import MUTATIONS, WORLD_ID, is_one_line, packed, played, spoilt_bytes, spoilt_json, tree, unpacked
from test_app_doubles import CountingWorld, clips

from app import saving
from app.capsule import read_capsule, write_capsule
from app.replaying import verify
from app.session import Session


def fresh() -> Session:
    return Session(CountingWorld(), clips(), seed=8, start=0, world_id=WORLD_ID)


def present(play: Session) -> tuple[Any, ...]:
    return (id(play.state), id(play.frame), id(play.take), len(play.takes), play.steps, play.dials)


def test_spoilt_saves_load_or_say_why_in_one_line(tmp_path):
    chance, folder = random.Random(1), tmp_path / "in"
    good = saving.save(played(), folder / "good.save").read_bytes()
    tensors, card = unpacked(folder / "good.save")
    file, play, loaded = folder / "spoilt.save", fresh(), 0
    for number in range(MUTATIONS):
        if number % 2:
            content = spoilt_bytes(chance, good, front=1500)
        else:
            content = packed(_spoilt_tensors(chance, tensors), spoilt_json(chance, card))
        file.write_bytes(content)
        before, complaint = present(play), None
        try:
            saving.load(play, file)
        except (ValueError, OSError) as problem:
            complaint = problem
        if complaint is None:
            play.step(number % 8)
            loaded += 1
            play = fresh()
        else:
            assert is_one_line(complaint), (number, str(complaint))
            assert present(play) == before, number
    assert 0.02 * MUTATIONS < loaded < 0.6 * MUTATIONS
    assert tree(tmp_path) == {folder, folder / "good.save", file}


def _spoilt_tensors(chance: random.Random, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Now and then a tensor of another kind, size, name or content."""
    spoilt = dict(tensors)
    if chance.random() < 0.6:
        return spoilt
    name = chance.choice(sorted(spoilt))
    value = spoilt.pop(name)
    kind = chance.randrange(6)
    if kind == 0:
        spoilt[name] = value.to(chance.choice([torch.float32, torch.int32, torch.bool, torch.bfloat16]))
    elif kind == 1:
        spoilt[name] = torch.cat([value, value])
    elif kind == 2:
        spoilt[name] = value[:0].clone()
    elif kind == 3:
        spoilt[f"{name}x"] = value
    elif kind == 4:
        low, high = (0, 256) if value.dtype == torch.uint8 else (-(2**62), 2**62)
        spoilt[name] = torch.randint(low, high, value.shape, dtype=value.dtype)
    return spoilt


def test_a_spoilt_slot_never_stops_the_list(tmp_path):
    chance, quick = random.Random(2), saving.slot_path(tmp_path, None)
    good = saving.save(played(), quick).read_bytes()
    broken = 0
    for _ in range(MUTATIONS // 10):
        quick.write_bytes(spoilt_bytes(chance, good, front=1500))
        slot = saving.slots(tmp_path)[0]
        assert (slot.problem + slot.name + slot.when).isprintable()
        assert (slot.frame is None) == bool(slot.problem)
        broken += bool(slot.problem)
    assert broken > MUTATIONS // 50


def test_spoilt_capsules_can_be_checked_or_say_why_in_one_line(tmp_path):
    chance, world = random.Random(3), CountingWorld()
    good = write_capsule(played(steps=12), tmp_path / "good.capsule").read_bytes()
    assert verify(read_capsule(tmp_path / "good.capsule", world), world) is None
    label, file = json.loads(good), tmp_path / "spoilt.capsule"
    same = differing = 0
    for number in range(MUTATIONS):
        if number % 3 == 0:
            file.write_bytes(spoilt_bytes(chance, good, front=400))
        elif number % 3 == 1:
            file.write_text(spoilt_json(chance, label))
        else:
            file.write_text(json.dumps({**label, "clip": [_spoilt_png(chance, label["clip"][0]), *label["clip"][1:]]}))
        complaint, verdict = None, None
        try:
            verdict = verify(read_capsule(file, world), world, world_id=WORLD_ID)
        except (ValueError, OSError) as problem:
            complaint = problem
        if complaint is not None:
            assert is_one_line(complaint), (number, str(complaint))
        elif verdict is not None:
            differing += 1
            assert verdict.isprintable(), number
        else:
            same += 1
    assert same > 0
    assert differing > 0
    assert same + differing < 0.6 * MUTATIONS
    assert tree(tmp_path) == {tmp_path / "good.capsule", file}


def _spoilt_png(chance: random.Random, text: str) -> str:
    """A picture with bytes changed anywhere, or in one chunk whose checksum is then mended."""
    content = base64.b64decode(text)
    if chance.random() < 0.3:
        return base64.b64encode(spoilt_bytes(chance, content, front=40)).decode()
    chunks, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    index = chance.randrange(len(chunks))
    kind, data = chunks[index]
    names = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"zTXt", b"iCCP", b"iTXt", b"pHYs", b"eXIf", b"gAMA"]
    if chance.random() < 0.5 and data:
        chunks[index] = (kind, spoilt_bytes(chance, data, front=len(data)))
    else:
        large = b"key\x00\x00" + zlib.compress(bytes(chance.choice([10, 3_000_000])))
        chunks.insert(
            index + chance.randrange(2), (chance.choice(names), chance.choice([large, data, b"", b"\x00" * 9]))
        )
    made = content[:8]
    for kind, data in chunks:
        made += len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return base64.b64encode(made).decode()
