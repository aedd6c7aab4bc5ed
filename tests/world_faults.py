"""What can go wrong with a world on disk: how to do the harm, and what must be said about it."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "config.json").read_text())
    change(card)
    (folder / "config.json").write_text(json.dumps(card))


def _cut(path: Path, share: float = 0.5) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def odd_picture(path: Path) -> None:
    """A PNG whose picture data is said to end before it does: something that is no chunk follows."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = bytearray(path.read_bytes())
    place = whole.index(b"IDAT")
    whole[place - 4 : place] = (100).to_bytes(4, "big")
    path.write_bytes(whole)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it is of 20,000 by 20,000 pixels."""
    Image.new("L", (1, 1)).save(path)
    whole = bytearray(path.read_bytes())
    whole[16:24] = 2 * (20_000).to_bytes(4, "big")
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    path.write_bytes(whole)


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (
        lambda folder: (folder / "config.json").unlink(),
        r"no world at .*blocks: config.json is missing",
    ),
    "config is not json": (
        lambda folder: _cut(folder / "config.json"),
        r"config.json is damaged and not JSON any more",
    ),
    "config is not text": (
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
        r"config.json is damaged and not JSON any more",
    ),
    "config is deep": (
        lambda folder: (folder / "config.json").write_text(100_000 * "["),
        r"config.json is damaged and not JSON any more",
    ),
    "config is a list": (
        lambda folder: (folder / "config.json").write_text("[1]"),
        r"config.json has world format None, this version reads 1",
    ),
    "another format": (
        lambda folder: edited(folder, lambda card: card.update(format=2)),
        r"config.json has world format 2, this version reads 1",
    ),
    "no spec": (
        lambda folder: edited(folder, lambda card: card.pop("spec")),
        r"config.json has no 'spec'; the world is damaged",
    ),
    "unknown key": (
        lambda folder: edited(folder, lambda card: card["config"]["dynamics"].update(layers=3)),
        r"config.dynamics has no 'layers'; it knows: width, heads, depth",
    ),
    "missing key": (
        lambda folder: edited(folder, lambda card: card["spec"].pop("height")),
        r"spec is incomplete: .*'height'",
    ),
    "wrong type": (
        lambda folder: edited(folder, lambda card: card["config"]["dynamics"].update(width="wide")),
        r"config.dynamics.width must be int, found 'wide'",
    ),
    "out of range": (
        lambda folder: edited(folder, lambda card: card["config"]["dynamics"].update(reach=1)),
        r"reach 1 must be 2 or more",
    ),
    "no heads": (
        lambda folder: edited(folder, lambda card: card["config"]["dynamics"].update(heads=0)),
        r"width 32 is not divisible by 0 heads; use 1, 2, 4, 8, 16",
    ),
    "no size": (
        lambda folder: edited(folder, lambda card: card["spec"].update(height=0)),
        r"height of a world must be 1 or more, found 0",
    ),
    "grey": (
        lambda folder: edited(folder, lambda card: card["spec"].update(channels=1)),
        r"config.json describes a world that cannot be built: frames are RGB",
    ),
    "unknown family": (
        lambda folder: edited(folder, lambda card: card.update(family="pixel_magic")),
        r"unsupported family 'pixel_magic'; supported: .*maskgit",
    ),
    "family is no name": (
        lambda folder: edited(folder, lambda card: card.update(family=["maskgit"])),
        r"unsupported family",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        r"no weights at .*model.safetensors; copy the world again or train it anew",
    ),
    "weights cut": (
        lambda folder: _cut(folder / "model.safetensors"),
        r"model.safetensors is damaged: ",
    ),
    "weights empty": (
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        r"model.safetensors is damaged: ",
    ),
    "weights are a pickle": (
        lambda folder: torch.save({"a": torch.zeros(2)}, folder / "model.safetensors"),
        r"model.safetensors is damaged: ",
    ),
    "a weight is missing": (
        lambda folder: _weights(folder, lambda weights: weights.pop("dynamics.place")),
        r"model.safetensors and config.json disagree: dynamics.place is in only one of them",
    ),
    "a weight too many": (
        lambda folder: _weights(folder, lambda weights: weights.update(extra=torch.zeros(1))),
        r"model.safetensors and config.json disagree: extra is in only one of them",
    ),
    "a weight of another shape": (
        lambda folder: _weights(folder, lambda weights: weights.update({"dynamics.place": torch.zeros(3, 5)})),
        r"dynamics.place has shape \[3, 5\], config.json says \[12, 32\]",
    ),
    "another width": (
        lambda folder: edited(folder, lambda card: card["config"]["dynamics"].update(width=64)),
        r"has shape \[.*\], config.json says \[",
    ),
    "start cut": (
        lambda folder: _cut(folder / "starts" / "01.png"),
        r"01.png is not a readable picture: ",
    ),
    "start is no picture": (
        lambda folder: (folder / "starts" / "00.png").write_text("hello"),
        r"00.png is not a readable picture: ",
    ),
    "start is odd": (
        lambda folder: odd_picture(folder / "starts" / "00.png"),
        r"00.png is not a readable picture: ",
    ),
    "start is a bomb": (
        lambda folder: bomb(folder / "starts" / "00.png"),
        r"00.png is not a readable picture: ",
    ),
    "start of another size": (
        lambda folder: Image.new("RGB", (30, 48)).save(folder / "starts" / "00.png"),
        r"00.png is 48x30; expected a column of 24x32 frames",
    ),
    "no starts": (
        lambda folder: [path.unlink() for path in (folder / "starts").iterdir()],
        r"no start frames in .*starts; copy the world again",
    ),
}
