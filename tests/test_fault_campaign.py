"""The fault campaign: killed at random moments, a disk that fills up at a random byte, two writers, bits that flip.

DREAMCADE_KILLS=200 kills two hundred times instead of six and spoils as many more shards; DREAMCADE_FAULT_SEED picks
other moments and places. Run it with -s to see what was hit.
"""

import errno
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors import drafts
from collectors.manifest import NAME, read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from collectors.verify import find_damage

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("DREAMCADE_KILLS", "6"))
CHANCE = random.Random(int(os.environ.get("DREAMCADE_FAULT_SEED", "0")))
MANY = {"frames": 720, "episode_frames": 60, "shard_frames": 60}  # twelve shards of one episode
FEW = {"frames": 120, "episode_frames": 40, "shard_frames": 40}

RECORDERS = """
# For every line with a folder: a process that records into it. Says its number, then how it ended.
import os, sys
from pathlib import Path
from collectors.rollout import CollectConfig, collect, play_episode
from collectors.games import game_named
config = CollectConfig(**{options!r}, workers=1)
play_episode(game_named("pong"), "random", 0, 1)  # whatever is loaded late is loaded now
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        status = 1
        try:
            collect(config, Path(line.strip()))
            status = 0
        finally:
            os._exit(status)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

RECORD = """
import sys
from pathlib import Path
from collectors.rollout import CollectConfig, collect
try:
    collect(CollectConfig(**{options!r}, workers=1), Path(sys.argv[1]))
except OSError as problem:
    sys.exit(str(problem))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    }


def recorded(folder: Path, options: dict[str, int]) -> dict[str, bytes]:
    collect(CollectConfig(**options, workers=1), folder)
    return contents(folder)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    recorded(folder, FEW)
    return folder


@pytest.fixture(scope="module")
def recorders() -> Iterator["subprocess.Popen[str]"]:
    code = RECORDERS.format(options=MANY)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def killed(recorders: "subprocess.Popen[str]", folder: Path, after: float, writing: bool) -> int:
    """Record into a folder, kill -9 after so many seconds; how the process ended, 0 where it was quicker.

    writing: wait on until a file is half written, as that takes a small part of the time.
    """
    assert recorders.stdin
    assert recorders.stdout
    recorders.stdin.write(f"{folder}\n")
    recorders.stdin.flush()
    child = int(recorders.stdout.readline())
    time.sleep(after)
    until = time.monotonic() + 2
    while writing and time.monotonic() < until and not any(folder.glob(".draft-*")):
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)  # its parent has not asked for it yet, so that the number is still its own
    recorders.stdin.write("\n")
    recorders.stdin.flush()
    return int(recorders.stdout.readline())


def survey(folder: Path, whole: dict[str, bytes], before: dict[str, bytes]) -> dict[str, bytes]:
    """What a reader finds now: every shard that is listed is whole, and none that was there before is gone."""
    if not (folder / NAME).exists():
        assert not before
        return {}
    manifest = read_manifest(folder)
    assert find_damage(folder, manifest) == []
    found = {shard.file: (folder / shard.file).read_bytes() for shard in manifest.shards}
    assert found.items() <= whole.items()
    assert before.items() <= found.items()
    return found


def test_killed_at_random_moments(
    tmp_path: Path, recorders: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory
) -> None:
    recorded(tmp_path / "first", FEW)
    began = time.monotonic()
    whole = recorded(tmp_path / "whole", MANY)
    lasts = time.monotonic() - began
    folder, before, kills, sets, halves = tmp_path / "0", dict[str, bytes](), 0, 0, 0
    while kills < KILLS:
        status = killed(recorders, folder, CHANCE.uniform(0, lasts / 2), writing=kills % 2 == 1)
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        halves += any(folder.glob(".draft-*"))
        before = survey(folder, whole, before)
        if status == 0:
            assert contents(folder) == whole
            shutil.rmtree(folder)
            sets += 1
            folder, before = tmp_path / str(sets), {}
    print(f"\n{kills} kills within {sets + 1} recordings, {halves} with a file half written; nothing complete was lost")
    assert recorded(folder, MANY) == whole


class SmallDisk(io.FileIO):
    """A file on a disk that has room for so many bytes in all."""

    room = 0

    def write(self, content: bytes) -> int:  # type: ignore[override]
        fits = content[: SmallDisk.room]
        SmallDisk.room -= len(fits)
        super().write(fits)
        if len(fits) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(fits)


def opened(path: Path, mode: str) -> io.IOBase:
    return SmallDisk(path, mode) if mode == "wb" else open(path, mode)


def test_a_disk_that_fills_up_at_a_random_byte(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(few)
    needed = sum(map(len, whole.values())) + len(whole[NAME]) * 2  # the manifest is written several times
    for number in range(max(4, KILLS // 4)):
        folder, SmallDisk.room = tmp_path / str(number), CHANCE.randrange(needed)
        with monkeypatch.context() as disk:
            disk.setattr(drafts, "open", opened, raising=False)
            with pytest.raises(
                OSError, match=r"cannot write .*: no space left on the disk; make room and run"
            ) as caught:
                recorded(folder, FEW)
        assert "\n" not in str(caught.value)
        assert not list(folder.glob(".draft-*"))
        survey(folder, whole, {})
        assert recorded(folder, FEW) == whole


def test_a_file_system_that_is_really_full(tmp_path: Path, few: Path) -> None:
    """On a mount of its own that is gone with the process that made it."""
    size = sum(len(content) for content in contents(few).values()) // 2 // 4096 * 4096
    script = (
        'mount -t tmpfs -o "size=$1" none "$2" || exit 77; "$3" -c "$4" "$2/set"; status=$?;'
        ' mount -o remount,size=64m "$2" && "$3" -c "$4" "$2/set" && cp -r "$2/set" "$5"; exit $status'
    )
    (tmp_path / "disk").mkdir()
    words = [str(size), str(tmp_path / "disk"), sys.executable, RECORD.format(options=FEW), str(tmp_path / "out")]
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount allowed here: {done.stderr.strip()}")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "no space left on the disk; make room and run the same command again to go on" in lines[0]
    assert contents(tmp_path / "out") == contents(few)


def test_writers_that_meet(tmp_path: Path, few: Path) -> None:
    command = [sys.executable, "-c", RECORD.format(options=FEW), str(tmp_path / "set")]
    writers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    told = [(writer.communicate(timeout=120)[1].strip(), writer.returncode) for writer in writers]
    refused = [message for message, status in told if status]
    assert len(refused) < 4
    assert all("another process is recording into" in message and "\n" not in message for message in refused)
    assert contents(tmp_path / "set") == contents(few)


def everything(folder: Path) -> list[np.ndarray]:
    """All that a data set holds, by both ways of reading it."""
    with Dataset.open(folder) as data:
        found = []
        for ref in data.episodes:
            episode, frames = (
                data.read(ref),
                np.empty((ref.frames, data.manifest.height, data.manifest.width, 3), np.uint8),
            )
            actions = data.fill(ref, 0, frames)
            found += [episode.frames, episode.actions, episode.rewards, episode.ends, frames, actions]
        return found


def test_shards_spoilt_at_random_places(tmp_path: Path, few: Path) -> None:
    """The checksum finds each; and whoever reads without it is told, or gets what was recorded, never anything else."""
    shutil.copytree(few, tmp_path / "set")
    folder, right, told, harmless = tmp_path / "set", everything(few), 0, 0
    manifest = read_manifest(folder)
    for number in range(max(24, 5 * KILLS)):
        path = folder / CHANCE.choice(manifest.shards).file
        good = path.read_bytes()
        place = CHANCE.randrange(len(good))
        if number % 2:
            path.write_bytes(good[:place])
        else:
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << CHANCE.randrange(8)]) + good[place + 1 :])
        assert [damage.shard.file for damage in find_damage(folder, manifest)] == [path.name]
        problem, found = "", right
        try:
            found = everything(folder)
        except ValueError as error:
            problem = str(error)
            told += 1
        assert path.name in problem or not problem
        assert "\n" not in problem
        assert all(map(np.array_equal, found, right)), f"byte {place} of {path.name}"
        harmless += not problem
        path.write_bytes(good)
    print(f"\n{told + harmless} shards were spoilt and all named: readers refused {told}, read {harmless} as recorded")
    assert told > harmless
