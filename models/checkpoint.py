"""A world ↔ a folder: config.json, model.safetensors, start clips as PNG, README.md.

Nothing in the folder is code and nothing is pickled. A folder is written as a draft beside the target
and renamed when whole, so that a reader sees the old world or the new one and never half of either.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from models.registry import FAMILIES, family
from models.world import ActionTable, WorldSpec

FORMAT = 1
ROOT = Path(__file__).resolve().parent.parent
ROOTS = (ROOT / "saves" / "worlds", ROOT / "assets" / "worlds")


def from_json(kind: Any, data: Any, where: str = "config") -> Any:
    """Plain JSON → a (nested) dataclass. Raises ValueError for keys that are unknown or missing and for values
    of another type than the field's."""
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, Mapping):
            raise ValueError(f"{where} must be a table of values, found {type(data).__name__}")
        known = [item.name for item in fields(kind)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise ValueError(f"{where} has no {unknown[0]!r}; it knows: {', '.join(known)}")
        hints = get_type_hints(kind)
        try:
            return kind(**{key: from_json(hints[key], value, f"{where}.{key}") for key, value in data.items()})
        except TypeError as error:
            raise ValueError(f"{where} is incomplete: {error}") from error
        except ArithmeticError as error:
            raise ValueError(f"{where} has a value that cannot be: {error}") from error
    options = [option for option in get_args(kind) if is_dataclass(option)]
    if options and not (data is None and type(None) in get_args(kind)):
        return _one_of(options, data, where)
    if not _fits(kind, data):
        raise ValueError(f"{where} must be {getattr(kind, '__name__', kind)}, found {str(data)[:60]!r}")
    return _tuples(data) if get_origin(kind) is tuple else data


def _one_of(kinds: list[Any], data: Any, where: str) -> Any:
    """The first of some dataclasses that plain JSON is; where it is none, what is wrong by the first one."""
    problems = []
    for kind in kinds:
        try:
            return from_json(kind, data, where)
        except ValueError as problem:
            problems.append(problem)
    raise problems[0]


def _fits(kind: Any, data: Any) -> bool:
    """Whether plain JSON is what a field's type says."""
    origin, options = get_origin(kind), get_args(kind)
    if kind in (int, float):
        return isinstance(data, (int, float) if kind is float else int) and not isinstance(data, bool)
    if kind in (str, bool, type(None)):
        return isinstance(data, kind)
    if origin is Literal:
        return data in options
    if origin is tuple:
        if not isinstance(data, list | tuple):
            return False
        kinds = [options[0]] * len(data) if options[-1] is ... else list(options)
        return len(data) == len(kinds) and all(map(_fits, kinds, data))
    if origin is Mapping:
        return isinstance(data, Mapping) and all(_fits(options[1], value) for value in data.values())
    return any(_fits(option, data) for option in options) if options else True


def _tuples(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_tuples(item) for item in data)
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return data


def family_of(config: Any) -> str:
    """The registered name of a config's family."""
    return next(name for name, kind in FAMILIES.items() if type(config) is kind)


def check_out(folder: Path | str) -> None:
    """Raise ValueError where a world would take the place of something that is no world."""
    folder = Path(folder)
    if not folder.exists() or (folder / "model.safetensors").is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ValueError(f"{folder} is there and is no world; choose another --out")


def save_world(world: Any, folder: Path | str, facts: Mapping[str, Any], starts: Sequence[Tensor], card: str) -> Path:
    """Write a world whole or not at all; only a world may be replaced.

    facts: how it was made and how good it is; starts: clips uint8 [T, C, H, W]; card: README.md.
    """
    folder = Path(folder)
    check_out(folder)
    draft = folder.parent / f".{folder.name}.draft-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        (draft / "starts").mkdir(parents=True)
        name = family_of(world.config)
        body = {"format": FORMAT, "family": name, "config": asdict(world.config), "spec": asdict(world.spec)}
        _write_json(draft / "config.json", {**body, "facts": dict(facts)})
        weights = {key: value.detach().cpu().contiguous() for key, value in world.state_dict().items()}
        (draft / "model.safetensors").write_bytes(save(weights))  # save_file would hide it from other users
        for index, clip in enumerate(starts):
            _write_clip(draft / "starts" / f"{index:02d}.png", clip)
        (draft / "README.md").write_text(card)
        for path in draft.rglob("*"):
            if path.is_file():
                with path.open("rb") as handle:
                    os.fsync(handle.fileno())
        _swap(draft, folder)
    except OSError as error:
        raise OSError(f"world could not be written to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _swap(draft: Path, folder: Path) -> None:
    """Put a draft in a folder's place; if that fails, what was there is there again."""
    retired = folder.parent / f".{folder.name}.old-{os.getpid()}"
    if folder.exists():
        os.replace(folder, retired)
    try:
        os.replace(draft, folder)
    except OSError:
        if retired.exists():
            retired.rename(folder)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def read_card(folder: Path | str) -> dict[str, Any]:
    """config.json of a world, checked for its format only."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no world at {folder}: config.json is missing{_others(Path(folder))}")
    try:
        card = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged and not JSON any more: {error}") from error
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} has world format {found!r}, this version reads {FORMAT}")
    return dict(card)


def load_world(folder: Path | str, device: str = "cpu") -> Any:
    """A world from its folder, ready to play. Raises FileNotFoundError or ValueError in one line."""
    folder = Path(folder)
    card = read_card(folder)
    for key in ("family", "config", "spec"):
        if key not in card:
            raise ValueError(f"{folder}/config.json has no {key!r}; the world is damaged")
    kind = family(str(card["family"]))
    config, spec = from_json(kind, card["config"]), from_json(WorldSpec, card["spec"], "spec")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; copy the world again or train it anew")
    try:
        weights = load_file(path, device=device)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    try:
        with torch.device(device):
            world = config.build(spec)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{folder}/config.json describes a world that cannot be built: {reason}") from error
    expected = {key: value.shape for key, value in world.state_dict().items()}
    for key in sorted(set(expected) ^ set(weights)):
        raise ValueError(f"{path} and config.json disagree: {key} is in only one of them")
    for key, shape in expected.items():
        if weights[key].shape != shape:
            raise ValueError(f"{path}: {key} has shape {list(weights[key].shape)}, config.json says {list(shape)}")
    world.load_state_dict(weights)
    world.link()
    return world.eval().requires_grad_(False)


def world_id(folder: Path | str) -> str:
    """What tells a world's weights from all others: 16 hex digits of their SHA-256."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; copy the world again or train it anew")
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def load_starts(folder: Path | str) -> list[Tensor]:
    """The world's start clips, uint8 [T, C, H, W] each."""
    spec = from_json(WorldSpec, read_card(folder).get("spec"), "spec")
    clips = []
    for path in sorted((Path(folder) / "starts").glob("*.png")):
        clips.append(_read_clip(path, spec.height, spec.width))
    if not clips:
        raise FileNotFoundError(f"no start frames in {Path(folder) / 'starts'}; copy the world again")
    return clips


def find_worlds(roots: Sequence[Path] = ROOTS) -> dict[str, Path]:
    """Name → folder of every world below the roots; the first root wins a name."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(Path(root).glob("*/config.json")):
            if not path.parent.name.startswith("."):
                found.setdefault(path.parent.name, path.parent)
    return found


def find_world(name: str, roots: Sequence[Path] = ROOTS) -> Path:
    """A world's folder by its name or path. Raises FileNotFoundError listing what there is."""
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    worlds = find_worlds(roots)
    if name in worlds:
        return worlds[name]
    have = f"there are: {', '.join(sorted(worlds))}" if worlds else "there are none yet; make one: dreamcade make pong"
    raise FileNotFoundError(f"no world called {name!r}; {have}")


def update_facts(folder: Path | str, facts: Mapping[str, Any]) -> None:
    """Merge facts into a world's config.json, whole or not at all."""
    folder = Path(folder)
    card = read_card(folder)
    card["facts"] = {**card.get("facts", {}), **facts}
    draft = folder / f".config.draft-{os.getpid()}"
    try:
        _write_json(draft, card)
        os.replace(draft, folder / "config.json")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        path = folder / "config.json"
        raise OSError(f"cannot write {path}: {reason}; make room and try again, the old one is kept") from error
    finally:
        draft.unlink(missing_ok=True)


def _others(folder: Path) -> str:
    here = [path.parent.name for path in sorted(folder.parent.glob("*/config.json"))]
    return f"; worlds beside it: {', '.join(here)}" if here else ""


def _write_json(path: Path, data: Any) -> None:
    with path.open("w") as handle:
        json.dump(data, handle, indent=1)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())


def _write_clip(path: Path, clip: Tensor) -> None:
    from PIL import Image

    tall = clip.permute(0, 2, 3, 1).reshape(-1, clip.shape[3], clip.shape[1])  # [T·H, W, C]
    Image.fromarray(tall.cpu().numpy()).save(path, optimize=True)


def _read_clip(path: Path, height: int, width: int) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width != width or image.height % height or image.height > 64 * height:
                found = f"{path} is {image.height}x{image.width}"
                raise ValueError(f"{found}; expected a column of {height}x{width} frames")
            tall = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    return torch.from_numpy(tall.reshape(-1, height, width, 3).copy()).permute(0, 3, 1, 2)


__all__ = [
    "ActionTable",
    "check_out",
    "family_of",
    "find_world",
    "find_worlds",
    "from_json",
    "load_starts",
    "load_world",
    "read_card",
    "save_world",
    "update_facts",
    "world_id",
]
