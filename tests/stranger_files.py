"""Files that a stranger may have touched: a session worth keeping, and the many ways to spoil what was kept of it."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from test_app_doubles import CountingWorld, clips

from app.session import Session
from models.world import Sampling, World

WORLD_ID = "0123456789abcdef"
MUTATIONS = int(os.environ.get("DREAMCADE_MUTATIONS", "1000"))  # of each kind of file
KEYS = [2, 2, 3, 6, 0, 5, 4, 1, 7, 2, 3, 3, 6]

NASTY: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    9,
    200,
    2**31,
    2**63,
    2**64 + 1,
    -(2**70),
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "../../etc/passwd",
    "/dev/zero",
    "a" * 3000,
    "\ud800",
    "\x00\n\x1b[31m",
    "=",
    "AAAA",
    [],
    {},
    [[]],
    [None],
    [0, 0, 0],
    {"step": 0},
    {"step": 0, "seed": 0, "sampling": None},
    [[[[[[[[1]]]]]]]],
]


def played(world: World | None = None, steps: int = 40) -> Session:
    """A session with a past: dials turned, luck changed, one way left and another one taken."""
    play = Session(world or CountingWorld(), clips(), seed=3, start=1, world_id=WORLD_ID)
    for step in range(steps):
        if step == 10 and play.sampling is not None:
            play.set_sampling(Sampling(steps=5, temperature=0.3))
        if step == 20:
            play.reseed(77)
        if step == 30:
            for key in KEYS:
                play.step(key)
            play.branch(30)
        play.step(KEYS[step % len(KEYS)])
    return play


def unpacked(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a save and the JSON in its header."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors = {name: value.clone() for name, value in safetensors.torch.load(content).items()}
    return tensors, json.loads(header["__metadata__"]["dreamcade"])


def packed(tensors: dict[str, torch.Tensor], text: str) -> bytes:
    """A save of these tensors with this text in its header."""
    return safetensors.torch.save(tensors, {"dreamcade": text})


def tree(folder: Path) -> set[Path]:
    """All there is below a folder."""
    return set(folder.rglob("*"))


def is_one_line(problem: Exception) -> bool:
    """Whether a complaint can be shown as it is."""
    text = str(problem)
    return 10 < len(text) < 700 and text.isprintable()


def spoilt_bytes(chance: random.Random, content: bytes, front: int) -> bytes:
    """Bytes flipped, cut, put in, repeated or blanked, half of the time among the first `front` ones."""
    spoilt = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        if not spoilt:
            break
        reach = min(front, len(spoilt)) if chance.random() < 0.5 else len(spoilt)
        at, length = chance.randrange(reach), chance.choice([1, 2, 8, 100])
        kind = chance.randrange(6)
        if kind == 0:
            spoilt[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoilt[at:]
        elif kind == 2:
            spoilt[at:at] = chance.randbytes(length)
        elif kind == 3:
            del spoilt[at : at + length]
        elif kind == 4:
            spoilt[at:at] = spoilt[at : at + length]
        else:
            spoilt[at : at + length] = bytes(len(spoilt[at : at + length]))
    return bytes(spoilt)


def spoilt_json(chance: random.Random, data: dict[str, Any]) -> str:
    """One to three values replaced, taken away, doubled or put in; now and then a text that only looks like JSON."""
    spoilt = copy.deepcopy(data)
    for _ in range(chance.choice([1, 1, 2, 3])):
        holder, key = chance.choice(list(_places(spoilt)))
        kind = chance.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 1:
            holder[f"{key}s"] = holder[key]
        elif kind == 2 and isinstance(holder[key], int | float):
            holder[key] += chance.choice([1, -1, 1000])
        elif kind == 2 and isinstance(holder[key], str):
            text = list(holder[key])
            chance.shuffle(text)
            holder[key] = "".join(text)
        else:
            holder[key] = copy.deepcopy(chance.choice(NASTY))
        if not spoilt:
            break
    text = json.dumps(spoilt)
    if chance.random() < 0.05:
        deep = chance.choice([50, 500, 900, 100_000])
        odd = ["9" * 5000, "1e999", "[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep, "NaN", "{", "[1,]", ""]
        text = text.replace(chance.choice(["0", "1", "null", '"', "["]), chance.choice(odd), 1)
    return text


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a JSON tree as its holder and the key or index in it."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])
