"""Finished parts of other runs for a new one: a tokenizer, a LAM, or both, checked before anything is trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.latent_actions import LatentActionConfig
from training.presets import Experiment
from training.runs import Run, read_json, read_part

if TYPE_CHECKING:
    from training.pipeline import Data

CALLED = {"tokenizer": "Video tokenizer", "lam": "LAM"}
FITTED = ("codes",)
"""What a patch codebook finds out for itself."""


Given = Mapping[str, tuple[Path, Mapping[str, Any]]]
"""Part → the folder of the run that has it, and that run's facts."""


def fitting_parts(experiment: Experiment, data: Data, folders: Mapping[str, Path]) -> Given:
    """What is known of runs that have parts, once it was found to fit an experiment and its data; nothing is written.

    Raises FileNotFoundError naming what is missing and what there is, and ValueError with a table of every parameter
    in which tokenizer, LAM and dynamics would disagree.
    """
    given = {part: (folder, _facts(folder, part)) for part, folder in folders.items()}
    found = data.train.datasets[0].manifest
    size = f"{found.height}x{found.width}"
    check_parts(experiment, {part: facts for part, (_, facts) in given.items()}, size)
    return given


def take_parts(run: Run, given: Given) -> None:
    """Copy finished parts into a run that does not have them yet, with the minutes that they took."""
    for part, (folder, _) in given.items():
        if run.part_done(part):
            continue
        shutil.copy(folder / "parts" / f"{part}.safetensors", run.folder / "parts" / f"{part}.safetensors")
        minutes = folder / "parts" / "minutes.json"
        if minutes.is_file():
            run.add_minutes(part, json.loads(minutes.read_text()).get(part, 0.0))


def _facts(folder: Path, part: str) -> Mapping[str, Any]:
    """What a run that has a part says of itself."""
    path = folder / "parts" / f"{part}.safetensors"
    if not path.is_file():
        have = sorted(found.stem for found in path.parent.glob("*.safetensors"))
        there = f"there are: {', '.join(have) or 'none'}"
        raise FileNotFoundError(f"{CALLED[part]} checkpoint not found at {path}; {there}")
    read_part(folder, part)  # it is whole, and of this kind
    facts: Mapping[str, Any] = read_json(folder / "config.json")
    return facts


def frames_of(facts: Mapping[str, Any]) -> str | None:
    """The size of the frames that a run learned from, as `104x80`; None where it does not say."""
    for line in facts.get("data", []):
        if found := re.search(r"\b\d+x\d+\b", str(line)):
            return found.group(0)
    return None


def check_parts(experiment: Experiment, facts: Mapping[str, Mapping[str, Any]], size: str) -> None:
    """Raise ValueError with a table unless parts fit each other. facts: part → what its run says of itself; size: of
    the frames to be learned from."""
    told = {part: of["experiment"]["family"] for part, of in facts.items()}
    here: dict[str, Any] = json.loads(json.dumps(asdict(experiment.family)))
    reads = isinstance(experiment.family.latent_actions, LatentActionConfig)
    sizes = [
        size if name == "dynamics" else frames_of(facts.get(name, {})) for name in ("tokenizer", "lam", "dynamics")
    ]
    rows: list[tuple[str, ...]] = []
    if len({found for found in sizes if found is not None}) > 1:
        rows.append(("frames", *("–" if found is None else found for found in sizes)))
    sources = {"tokenizer": told.get("tokenizer"), "lam": told.get("lam") if reads else None, "dynamics": here}
    rows += _differing("tokenizer", {name: found and found["tokenizer"] for name, found in sources.items()})
    if "lam" in told:
        both = {"tokenizer": None, "lam": told["lam"]["latent_actions"], "dynamics": here["latent_actions"]}
        rows += _differing("latent_actions", both)
    if rows:
        lines = [f"\n| {' | '.join(row)} |" for row in [("parameter", "tokenizer", "lam", "dynamics"), *rows]]
        raise ValueError("the parts do not fit together:" + "".join(lines))


def _differing(group: str, found: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, ...]]:
    """Rows (parameter, value of each source) in which those that have a say disagree."""
    flat = {name: None if config is None else _flat(config) for name, config in found.items()}
    keys = dict.fromkeys(key for config in flat.values() if config is not None for key in config)
    rows = []
    for key in keys:
        values = [None if config is None else config.get(key, "none") for config in flat.values()]
        if key.split(".")[-1] in FITTED and any(config and config.get("kind") == "patch" for config in flat.values()):
            continue
        if len({json.dumps(value) for value in values if value is not None}) > 1:
            rows.append((f"{group}.{key}", *("–" if value is None else str(value) for value in values)))
    return rows


def _flat(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested values by their dotted names."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return out
