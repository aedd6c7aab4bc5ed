"""Finished parts of other runs for a new one: a tokenizer, a LAM, or both, checked before anything is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.latent_actions import LatentActionConfig
from training.presets import Experiment
from training.runs import Run, read_json

CALLED = {"tokenizer": "Video tokenizer", "lam": "LAM"}
FITTED = ("codes",)
"""What a patch codebook finds out for itself."""


def take_parts(experiment: Experiment, run: Run, given: Mapping[str, Path]) -> None:
    """Copy finished parts into a run. given: part → the folder of the run that has it.

    Raises FileNotFoundError naming what is missing and what there is, and ValueError with a table of every parameter in
    which tokenizer, LAM and dynamics would disagree.
    """
    told = {part: _family(folder, part) for part, folder in given.items()}
    check_parts(experiment, told)
    for part, folder in given.items():
        if run.part_done(part):
            continue
        source = folder / "parts" / f"{part}.safetensors"
        Run(folder, read_json(folder / "config.json"), resume=True).read_part(part)  # it is whole, and of this kind
        shutil.copy(source, run.folder / "parts" / source.name)
        minutes = folder / "parts" / "minutes.json"
        if minutes.is_file():
            run.add_minutes(part, json.loads(minutes.read_text()).get(part, 0.0))


def _family(folder: Path, part: str) -> dict[str, Any]:
    """The family's config of another run that has a part."""
    path = folder / "parts" / f"{part}.safetensors"
    if not path.is_file():
        have = sorted(found.stem for found in path.parent.glob("*.safetensors"))
        there = f"there are: {', '.join(have) or 'none'}"
        raise FileNotFoundError(f"{CALLED[part]} checkpoint not found at {path}; {there}")
    facts = read_json(folder / "config.json")
    family: dict[str, Any] = facts["experiment"]["family"]
    return family


def check_parts(experiment: Experiment, told: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError with a table unless parts fit each other. told: part → the family's config of its run."""
    here: dict[str, Any] = json.loads(json.dumps(asdict(experiment.family)))
    reads = isinstance(experiment.family.latent_actions, LatentActionConfig)
    rows: list[tuple[str, ...]] = []
    sources = {"tokenizer": told.get("tokenizer"), "lam": told.get("lam") if reads else None, "dynamics": here}
    rows += _differing("tokenizer", {name: found and found["tokenizer"] for name, found in sources.items()})
    if "lam" in told:
        both = {"tokenizer": None, "lam": told["lam"]["latent_actions"], "dynamics": here["latent_actions"]}
        rows += _differing("latent_actions", both)
    if rows:
        lines = [" | ".join(row) for row in [("parameter", "tokenizer", "lam", "dynamics"), *rows]]
        raise ValueError("the parts do not fit together:\n" + "\n".join(lines))


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
