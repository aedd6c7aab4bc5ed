"""Recording goes wrong: killed, interrupted, no room, two at once, another recording in the folder."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands.collect import collect as collect_command
from collectors.drafts import only_writer, publish
from collectors.manifest import read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset

ROOT = Path(__file__).parent.parent
OPTIONS = {"frames": 1600, "episode_frames": 100, "shard_frames": 200}
QUICK = CollectConfig(frames=120, episode_frames=60, shard_frames=60, workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def start(out: Path, workers: int) -> "subprocess.Popen[str]":
    """The collect command in a process of its own, on its way: the first shard is finished."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    code = "import sys; from app.commands.collect import collect; collect(sys.argv[1:])"
    command = [sys.executable, "-c", code, "pong", *arguments, f"--workers={workers}", f"--out={out}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    limit = time.monotonic() + 60
    while not (out / "00000.h5").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    collect(CollectConfig(**OPTIONS, workers=1), folder)
    return contents(folder)


def test_killed_and_resumed_is_the_same_as_never_killed(tmp_path: Path, whole: dict[str, bytes]) -> None:
    process = start(tmp_path, workers=2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()  # returns when the workers, who share the pipe, have left too
    assert not read_manifest(tmp_path).complete
    (tmp_path / ".draft-00001.h5").write_bytes(b"half a shard")
    collect(CollectConfig(**OPTIONS, workers=1), tmp_path)
    assert contents(tmp_path) == whole
    assert not list(tmp_path.glob(".draft-*"))


def test_interrupted_says_how_to_go_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    process = start(tmp_path, workers=1)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command goes on from there" in message
    assert "Traceback" not in message
    assert not read_manifest(tmp_path).complete
    collect(CollectConfig(**OPTIONS, workers=1), tmp_path)
    assert contents(tmp_path) == whole


def _full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    collect(QUICK, tmp_path / "whole")

    def fill(done: int, total: int) -> None:
        if done == 120:
            monkeypatch.setattr(os, call, _full)

    with pytest.raises(OSError, match=r"cannot write .*00001.h5: no space left on the disk; make room") as caught:
        collect(QUICK, tmp_path / "cut", fill)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert sorted(contents(tmp_path / "cut")) == ["00000.h5", "manifest.json"]
    assert not list((tmp_path / "cut").glob(".draft-*"))
    with Dataset.open(tmp_path / "cut") as data:
        data.verify()
        assert data.manifest.steps == 60
    collect(QUICK, tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_write_that_the_system_refuses(tmp_path: Path) -> None:
    publish(tmp_path / "file", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*file: file too large"):
            publish(tmp_path / "file", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == {"file": b"old"}


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(OSError, match="another process is recording into"):
        collect(QUICK, tmp_path)


def test_another_recording_is_left_alone(tmp_path: Path) -> None:
    collect(QUICK, tmp_path)
    before = contents(tmp_path)
    other = CollectConfig(frames=500, episode_frames=60, shard_frames=60, seed=7, workers=1)
    message = r"another recording: seed 0 \(now 7\), frames_requested 120 \(now 500\); choose another --out"
    with pytest.raises(ValueError, match=message):
        collect(other, tmp_path)
    assert contents(tmp_path) == before


def test_a_damaged_shard_is_not_built_upon(tmp_path: Path) -> None:
    collect(QUICK, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest |= {"complete": False, "shards": manifest["shards"][:1]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "00000.h5").write_bytes(b"no shard")
    with pytest.raises(ValueError, match=r"00000.h5 has sha256"):
        collect(QUICK, tmp_path)


def test_foreign_shards_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "00000.h5").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"holds .h5 files and no manifest.json; choose another --out"):
        collect(QUICK, tmp_path)
    assert contents(tmp_path) == {"00000.h5": b"mine"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pong", "--frames", "0"], "frames must be in [1, 1000000000], found 0"),
        (["pong", "--seed", "-1"], "seed must be in [0, 2147483648), found -1"),
        (["pong", "--size", "big"], "--size must be HEIGHTxWIDTH as in 104x80, found 'big'"),
        (["pong", "--size", "0x80"], "frame size must be HxW with sides in [8, 512], found 0x80"),
        (["pong", "--workers", "no"], "--workers must be auto or a number from 1 on, found 'no'"),
        (["pong", "--behaviour", "lazy"], "unknown behaviour 'lazy'; known: random, sticky, scripted, novelty"),
        (["pong", "--behaviour", "random:-1"], "behaviour weight must be a positive number"),
        (["pong", "--behaviour", "random:1,random:2"], "behaviour 'random' is named twice"),
        (["freeway", "--behaviour", "scripted"], "no scripted player for 'freeway'"),
        (["brekout"], "unknown game 'brekout'; did you mean breakout"),
        (["..."], "unknown game '...'; try pong, breakout or ms_pacman"),
    ],
)
def test_what_a_person_gets_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    refuse(ValueError, [*arguments, "--out", str(tmp_path / "out")], lambda text: message in text)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refuse(OSError, ["pong", "--out", str(tmp_path / "file" / "out")], lambda text: "not a directory" in text)


def refuse(kind: type[Exception], arguments: list[str], check: Callable[[str], bool]) -> None:
    """The command raises one line of the given kind."""
    found = CliRunner().invoke(collect_command, arguments)
    assert isinstance(found.exception, kind), found.output
    text = str(found.exception)
    assert check(text), text
    assert "\n" not in text
