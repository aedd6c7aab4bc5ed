"""Data sets behind URLs: s3://bucket/pong, gs://…, memory://…; whatever fsspec and its packages reach.

A data set is read from a copy on this machine that holds each shard once, compared with its sha256 when it arrives.
It is recorded on this machine too and then sent: shards first and the manifest last, so that whoever reads there
never sees a shard that is not whole.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collectors.drafts import only_writer, publish
from collectors.manifest import NAME, Manifest, ShardInfo, parse_manifest_text, read_manifest

INSTALL = "pip install fsspec"


def is_remote(place: str | Path) -> bool:
    """Whether a place is a URL of another machine; file:// is not."""
    return isinstance(place, str) and "://" in place and not place.startswith("file://")


def folder_of(place: str | Path) -> Path:
    """The folder on this machine in which a place's shards are: itself, or where its copy is kept."""
    if not is_remote(place):
        return Path(str(place).removeprefix("file://"))
    url = str(place).rstrip("/")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    kept = os.environ.get("DREAMCADE_CACHE") or Path.home() / ".cache" / "dreamcade"
    return Path(kept) / f"{url.rpartition('/')[2] or 'data'}-{name}"


def local_folder(place: str | Path) -> Path:
    """The folder to read a data set from; one behind a URL is copied first, as far as it is not here already.

    Raises FileNotFoundError when there is none, ValueError when a package is missing or a shard arrives damaged,
    OSError when the other side cannot be reached.
    """
    folder = folder_of(place)
    if is_remote(place) and not _bring(str(place).rstrip("/"), folder):
        raise FileNotFoundError(f"no {NAME} at {place}; record with: dreamcade collect pong --out {place}")
    return folder


def staging_folder(place: str | Path) -> Path:
    """The folder to record into; what a URL holds already is copied there, so that the recording goes on.

    Shards that were recorded here and not sent yet stay.
    """
    folder = folder_of(place)
    if is_remote(place) and not (folder / NAME).exists():
        _bring(str(place).rstrip("/"), folder)
    return folder


def send(folder: Path, place: str | Path) -> None:
    """Copy a folder's shards to a URL, then its manifest; shards that are there already stay. Nothing for a path.

    Raises OSError when the other side refuses; what has arrived by then is invisible, as no manifest names it.
    """
    if not is_remote(place):
        return
    url = str(place).rstrip("/")
    system, root = _system(url)
    manifest, there = read_manifest(folder), _manifest_at(url, system, root)
    known = {(shard.file, shard.sha256) for shard in there.shards} if there else set()
    with _reaching(url):
        system.makedirs(root, exist_ok=True)
        for shard in manifest.shards:
            if (shard.file, shard.sha256) not in known:
                system.pipe_file(f"{root}/{shard.file}", (folder / shard.file).read_bytes())
        system.pipe_file(f"{root}/{NAME}", (folder / NAME).read_bytes())


def _bring(url: str, folder: Path) -> bool:
    """Copy what is at a URL into a folder, the manifest last. False when there is no data set."""
    system, root = _system(url)
    there = _manifest_at(url, system, root)
    if there is None:
        return False
    with only_writer(folder, "wait until it is copied"):
        here = read_manifest(folder).shards if (folder / NAME).exists() else ()
        known = {(shard.file, shard.sha256) for shard in here}
        for shard in there.shards:
            if (shard.file, shard.sha256) not in known or not (folder / shard.file).is_file():
                publish(folder / shard.file, _checked(url, system, root, shard))
        publish(folder / NAME, there.to_json().encode())
    return True


def _checked(url: str, system: Any, root: str, shard: ShardInfo) -> bytes:
    with _reaching(url):
        content = bytes(system.cat_file(f"{root}/{shard.file}"))
    found = hashlib.sha256(content).hexdigest()
    if found != shard.sha256:
        digests = f"has sha256 {found[:12]}…, expected {shard.sha256[:12]}…"
        raise ValueError(f"shard {url}/{shard.file} {digests}; copy it there again")
    return content


def _manifest_at(url: str, system: Any, root: str) -> Manifest | None:
    with _reaching(url):
        if not system.exists(f"{root}/{NAME}"):
            return None
        content = bytes(system.cat_file(f"{root}/{NAME}"))
    return parse_manifest_text(content, f"{url}/{NAME}")


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL and the path in it."""
    protocol = url.partition("://")[0]
    try:
        with _reaching(url):
            system, root = importlib.import_module("fsspec.core").url_to_fs(url)
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{protocol}:// needs a package that is missing: {reason}; or {INSTALL}") from error
    except ValueError as error:
        raise ValueError(f"cannot use {url}: {error}; known are folders, file://, s3://, gs://, …") from error
    return system, str(root)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Turns an OSError of the other side into one line that names the URL."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split()).lower() or type(error).__name__
        raise OSError(f"cannot use {url}: {reason}; check the address and try again") from error
