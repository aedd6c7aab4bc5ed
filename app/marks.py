"""Which episodes of a data set a person has marked. Kept among the player's own files, never in the data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.places import saves
from collectors.drafts import publish
from collectors.manifest import Manifest
from collectors.shards import EpisodeRef

FORMAT = 1
MOST_BYTES = 4 << 20


def key_of(manifest: Manifest, ref: EpisodeRef) -> str:
    """What a mark is tied to: the bytes of the shard and the place in it. A shard that changes loses its marks,
    so that a mark can never come to lie on another episode."""
    return f"{manifest.shards[ref.shard].sha256[:16]}:{ref.index}"


def marks_file(folder: Path) -> Path:
    """Where the marks of the data set in a folder are."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return saves() / "marks" / f"{digest[:16]}.json"


class Marks:
    """The marks of one data set; every change is on disk at once. Raises ValueError for a damaged file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder.resolve(), marks_file(folder)
        self._keys = _read(self.path)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def toggle(self, key: str) -> bool:
        """Mark, or take the mark away. Returns whether it is marked now; OSError where that cannot be written."""
        self.become(self._keys ^ {key})
        return key in self._keys

    def become(self, keys: Iterable[str]) -> None:
        """Exactly these marks. Raises OSError, and nothing has changed, where they cannot be written."""
        wanted = set(keys)
        body = {"format": FORMAT, "dataset": str(self.folder), "marks": sorted(wanted)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OSError(f"cannot write {self.path}: {(problem.strerror or str(problem)).lower()}") from None
        publish(self.path, (json.dumps(body, indent=1) + "\n").encode())
        self._keys = wanted


def _read(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    advice = "delete it to begin without marks"
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES >> 20} MiB and no file of marks; {advice}")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged and not JSON any more; {advice}") from None
    marks = found.get("marks") if isinstance(found, dict) and found.get("format") == FORMAT else None
    if not isinstance(marks, list) or not all(isinstance(key, str) for key in marks):
        raise ValueError(f"{path} should hold a list 'marks' in format {FORMAT}; {advice}")
    return set(marks)
