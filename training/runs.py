"""A run folder: config, metrics, previews, checkpoints; and what it takes to resume exactly.

config.json       the resolved experiment: an output, never an input
metrics.jsonl     one line a report; metrics.csv is the same as a table, tb/ the same for TensorBoard
val_metrics.jsonl the same, of held-out play at checkpoints
previews/         PNG
parts/            finished parts as safetensors
resume/           the part in training: weights, optimiser, random states
latest/           a playable world, new at a checkpoint of the dynamics; see snapshots.py
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

TRAINING, VALIDATION = "metrics", "val_metrics"
"""Logs of a run."""


class Run:
    """One folder below saves/runs. Metrics are appended; after a resume, later lines are dropped first."""

    def __init__(self, folder: Path, config: Mapping[str, Any], resume: bool = False, override: bool = False) -> None:
        self.folder = folder
        plain = json.loads(json.dumps(dict(config)))
        path = folder / "config.json"
        if not resume:
            check_free(folder)
        elif path.exists():
            differing = differences(read_json(path), plain)
            if differing and not override:
                raise ValueError(f"config differs from the run's: {'; '.join(differing)}; add --override to go on")
        else:
            raise FileNotFoundError(f"nothing to resume in {folder}; leave --resume away to start")
        for name in ("previews", "parts", "resume"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(plain, indent=1) + "\n")
        self._board: Any = None

    def report(self, part: str, step: int, values: Mapping[str, float], log: str = TRAINING) -> None:
        """Append one line to a log, to the table beside it and to TensorBoard."""
        line = {"part": part, "step": step, **{key: round(float(value), 6) for key, value in values.items()}}
        path = self.folder / f"{log}.jsonl"
        with writing(path), path.open("a") as handle:
            handle.write(json.dumps(line) + "\n")
        add_row(path, line)
        with writing(self.folder / "tb"):
            if self._board is None:
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(self.folder / "tb"))
            for key, value in values.items():
                self._board.add_scalar(f"{part}/{'val_' * (log == VALIDATION)}{key}", float(value), step)

    def reported(self, log: str = TRAINING) -> list[dict[str, Any]]:
        """The lines of a log, those left out that a killed run was writing."""
        return _entries(self.folder / f"{log}.jsonl")

    def forget_after(self, part: str, step: int) -> None:
        """Drop metric lines of a part beyond `step`; they will be written again."""
        for log in (TRAINING, VALIDATION):
            path = self.folder / f"{log}.jsonl"
            if path.exists():
                kept = [line for line in _entries(path) if line.get("part") != part or line.get("step", 0) <= step]
                write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
                write_table(path)

    def minutes(self) -> dict[str, float]:
        """Minutes that each part took so far, interrupted stretches included."""
        path = self.folder / "parts" / "minutes.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def add_minutes(self, part: str, spent: float) -> None:
        """Count minutes towards a part."""
        found = self.minutes()
        write_text(self.folder / "parts" / "minutes.json", json.dumps({**found, part: found.get(part, 0.0) + spent}))

    def part_done(self, part: str) -> bool:
        """Whether a part was finished and saved."""
        return (self.folder / "parts" / f"{part}.safetensors").is_file()

    def save_part(self, part: str, module: nn.Module) -> None:
        """Keep a finished part and drop what was needed to resume it."""
        weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
        write_bytes(self.folder / "parts" / f"{part}.safetensors", save(weights, {"part": part}))
        self.resume_path(part).unlink(missing_ok=True)

    def read_part(self, part: str) -> dict[str, Tensor]:
        """The weights of a finished part."""
        return read_part(self.folder, part)

    def load_part(self, part: str, module: nn.Module) -> None:
        """Read a finished part back into a module of the same shape."""
        path, weights = self.folder / "parts" / f"{part}.safetensors", self.read_part(part)
        expected = {key: value.shape for key, value in module.state_dict().items()}
        if expected != {key: value.shape for key, value in weights.items()}:
            raise ValueError(f"{path} does not fit the config of this run; its tensors have other names or shapes")
        module.load_state_dict(weights)

    def resume_path(self, part: str) -> Path:
        """Where the part in training is kept."""
        return self.folder / "resume" / f"{part}.pt"

    def save_resume(self, part: str, state: Mapping[str, Any]) -> None:
        """Write what resuming needs, whole or not at all."""
        write_state(self.resume_path(part), state)

    def load_resume(self, part: str) -> dict[str, Any] | None:
        """What `save_resume` wrote, or None."""
        path = self.resume_path(part)
        if not path.is_file():
            return None
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a damaged archive
            raise ValueError(f"{path} is damaged; delete it to restart {part}") from error

    def preview(self, name: str, picture: Tensor) -> None:
        """Write a picture uint8 [C, H, W] to previews/."""
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()).save(content, format="PNG")
        write_bytes(self.folder / "previews" / f"{name}.png", content.getbuffer())


def read_part(folder: Path, part: str) -> dict[str, Tensor]:
    """The weights of a finished part of the run in a folder. Raises FileNotFoundError or ValueError telling a cure."""
    path = folder / "parts" / f"{part}.safetensors"
    if not path.is_file():
        have = sorted(found.stem for found in path.parent.glob("*.safetensors"))
        raise FileNotFoundError(f"{part} checkpoint not found at {path}; there are: {', '.join(have) or 'none'}")
    try:
        with safe_open(path, framework="pt") as opened:
            kind = (opened.metadata() or {}).get("part", part)
            weights = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - a file, not a mapping
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged: {reason}; delete it to train {part} again") from error
    if kind != part:
        raise ValueError(f"expected a {part} checkpoint, {path} holds {kind!r}; delete it to train {part} again")
    return weights


def check_free(folder: Path) -> None:
    """Raise ValueError where a run would overwrite another."""
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} already holds a run; add --resume to go on with it or choose another --run")


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where two plain JSON values differ, as lines `a.b: 1 → 2`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))]
    return [] if old == new else [f"{where}: {old} → {new}"]


def random_state(rng: np.random.Generator) -> dict[str, Any]:
    """Where torch's and a numpy generator stand."""
    return {"torch": torch.get_rng_state(), "numpy": json.dumps(rng.bit_generator.state)}


def set_random_state(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put both generators back to where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    rng.bit_generator.state = json.loads(state["numpy"])


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    write_bytes(path, text.encode())


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values whole or not at all, for `torch.load`."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    write_bytes(path, content.getbuffer())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, and leave no draft behind. Raises OSError saying what to do."""
    draft = path.with_suffix(".draft")
    with writing(path):
        try:
            with draft.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def add_row(log: Path, line: Mapping[str, Any]) -> None:
    """Append to the CSV beside a log the newest line of it; with columns that it did not have it is written anew."""
    path = log.with_suffix(".csv")
    columns: list[str] = []
    if path.is_file():
        with path.open(newline="") as opened:
            columns = next(csv.reader(opened), [])
    if not set(line) <= set(columns):
        write_table(log)
        return
    with writing(path), path.open("a", newline="") as handle:
        csv.DictWriter(handle, columns).writerow(line)


def write_table(log: Path) -> None:
    """Write a log of JSON lines as a CSV beside it, with every column that any of its lines has."""
    lines = _entries(log)
    content = io.StringIO()
    table = csv.DictWriter(content, list(dict.fromkeys(key for line in lines for key in line)))
    table.writeheader()
    table.writerows(lines)
    write_text(log.with_suffix(".csv"), content.getvalue())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into one that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"cannot write {path}: {reason}; make room and go on with --resume") from error


def read_json(path: Path) -> Any:
    """What a file of a run holds. Raises ValueError saying what to do where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged and not JSON any more; choose another --run") from error


def _entries(log: Path) -> list[dict[str, Any]]:
    found = []
    for line in log.read_text().splitlines() if log.is_file() else ():
        with suppress(json.JSONDecodeError):  # the line that a killed run was writing
            found.append(dict(json.loads(line)))
    return found
