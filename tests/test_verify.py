"""Damage is named, set aside, and recorded again by the same command; and bad data gets one clear line."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import test_shards as shards
from test_fault_campaign import contents

from app.cli import main
from collectors import verify
from collectors.editing import drop_episodes
from collectors.manifest import NAME, Manifest, read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import NEWEST_LAYOUT, Dataset
from collectors.verify import Damage, find_damage, repair

SIX = {"frames": 110, "episode_frames": 20, "shard_frames": 40}  # six episodes, the last cut to ten, two a shard
COLLECT = ("collect", "pong", "--frames", "110", "--episode-frames", "20", "--shard-frames", "40", "--workers", "1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    collect(CollectConfig(**SIX, workers=1), folder)
    assert len(read_manifest(folder).shards) == 3
    return folder


@pytest.fixture
def folder(tmp_path: Path, recorded: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "set"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(word) for word in words])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return status, told.out, told.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    status, _, told = run(capsys, *words)
    assert status == 2
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    return errors[0].removeprefix("error: ")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "has other bytes than were recorded"),
    "flipped": (flip, "has other bytes than were recorded"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "gone": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize(
    ("harm", "numbers"), [("cut", [0]), ("flipped", [1]), ("empty", [2]), ("gone", [1]), ("flipped", [0, 2])]
)
def test_what_is_damaged_is_named_set_aside_and_recorded_again(
    folder: Path, recorded: Path, capsys: pytest.CaptureFixture[str], harm: str, numbers: list[int]
) -> None:
    names = [f"{number:05d}.h5" for number in numbers]
    for name in names:
        HARMS[harm][0](folder / name)
    spoilt = contents(folder)
    told = refused(capsys, "inspect", folder, "--verify")
    assert f"{len(names)} of 3 shards of {folder} are damaged: " in told
    assert all(f"{name} (2 episodes, " in told and HARMS[harm][1] in told for name in names)
    assert told.endswith(f"set them aside with: dreamcade inspect {folder} --repair")
    assert contents(folder) == spoilt

    status, out, told = run(capsys, "inspect", folder, "--repair")
    assert status == 0
    assert all(f"set aside: {name} " in told for name in names)
    assert f"damaged and set aside: {', '.join(names)}; the same collect command records them again" in out
    assert "unfinished, 110 requested" in out
    aside = contents(folder / "damaged") if (folder / "damaged").is_dir() else {}
    assert aside == {name: spoilt[name] for name in names if name in spoilt}
    whole = contents(recorded)
    assert {name: whole[name] for name in whole if name not in (*names, NAME)} == without_manifest(folder)
    assert run(capsys, "inspect", folder, "--verify")[0] == 0

    status, out, _ = run(capsys, *COLLECT, "--out", folder)
    assert status == 0
    assert "complete, 110 transitions in 6 episodes" in out
    assert contents(folder) == whole


def without_manifest(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name != NAME}


def test_a_recording_that_was_not_finished_goes_on_as_if_nothing_had_been_lost(folder: Path, recorded: Path) -> None:
    found = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps({**found, "complete": False, "shards": found["shards"][:2]}))
    (folder / "00002.h5").unlink()
    flip(folder / "00000.h5")
    assert [str(damage)[:8] for damage in repair(folder)] == ["00000.h5"]
    manifest = read_manifest(folder)
    assert [(shard.file, shard.first_episode) for shard in manifest.shards] == [("00001.h5", 0)]
    assert (manifest.steps, manifest.recorded_steps, manifest.recorded_episodes) == (40, 80, 4)
    collect(CollectConfig(**SIX, workers=1), folder)
    assert contents(folder) == contents(recorded)


def test_all_shards_may_be_lost(folder: Path, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.glob("*.h5"):
        cut(path)
    assert "has no finished shard yet; run the same collect command" in refused(capsys, "inspect", folder, "--repair")
    collect(CollectConfig(**SIX, workers=1), folder)
    assert contents(folder) == contents(recorded)


def test_episodes_dropped_by_hand_stay_dropped(folder: Path) -> None:
    with Dataset.open(folder) as data:
        gone = [data.episodes[2]]
    edited = drop_episodes(folder, gone)
    before = contents(folder)
    assert [shard.file for shard in edited.shards] == ["00000.h5", "00003.h5", "00002.h5"]
    flip(folder / "00003.h5")
    repair(folder)
    collect(CollectConfig(**SIX, workers=1), folder)
    assert without_manifest(folder) == {name: before[name] for name in before if name != NAME}
    assert read_manifest(folder) == edited


def test_a_set_that_nobody_can_record_again_is_kept_without_the_damaged_shard(tmp_path: Path) -> None:
    folder = shards.make_dataset(tmp_path)[0]
    cut(folder / "00000.h5")
    repair(folder)
    assert [ref.seed for ref in Dataset.open(folder).episodes] == [3, 4]
    Dataset.open(folder).verify()


def test_a_repair_that_is_interrupted_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(folder / "00001.h5")
    spoilt = (folder / "00001.h5").read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(verify, "publish", full)
        with pytest.raises(OSError, match="No space left"):
            repair(folder)
    assert [str(damage).partition(") ")[2] for damage in repair(folder)] == ["is missing"]
    assert contents(folder / "damaged") == {"00001.h5": spoilt}
    assert repair(folder) == []


def test_nothing_that_was_set_aside_is_overwritten(folder: Path) -> None:
    for _ in range(2):
        flip(folder / "00001.h5")
        repair(folder)
        collect(CollectConfig(**SIX, workers=1), folder)
    assert sorted(contents(folder / "damaged")) == ["00001-2.h5", "00001.h5"]


def test_other_play_is_not_passed_off_as_what_was_lost(folder: Path) -> None:
    flip(folder / "00001.h5")
    repair(folder)
    found = json.loads((folder / NAME).read_text())
    found["lost"][0]["steps"] += 1
    found["lost"][0]["frames"] += 1
    (folder / NAME).write_text(json.dumps(found))
    message = r"00001.h5 played again has 40 transitions in 2 episodes, it held 41 in 2; record into another --out"
    with pytest.raises(ValueError, match=message):
        collect(CollectConfig(**SIX, workers=1), folder)


def test_play_of_other_bytes_is_not_passed_off_either(folder: Path) -> None:
    flip(folder / "00001.h5")
    repair(folder)
    found = json.loads((folder / NAME).read_text())
    found["lost"][0]["sha256"] = "0" * 64
    (folder / NAME).write_text(json.dumps(found))
    before = contents(folder)
    message = r"00001.h5 played again has other bytes than were recorded; it stays set aside; record into another --out"
    with pytest.raises(ValueError, match=message):
        collect(CollectConfig(**SIX, workers=1), folder)
    assert contents(folder) == before


def test_a_second_repair_knows_where_the_first_lost_one_was(folder: Path, recorded: Path) -> None:
    for name in ("00001.h5", "00000.h5"):
        flip(folder / name)
        repair(folder)
    manifest = read_manifest(folder)
    assert [(shard.file, shard.first_episode) for shard in manifest.lost] == [("00000.h5", 0), ("00001.h5", 2)]
    assert [(shard.file, shard.first_episode) for shard in manifest.shards] == [("00002.h5", 0)]
    collect(CollectConfig(**SIX, workers=1), folder)
    assert contents(folder) == contents(recorded)


@pytest.mark.parametrize(
    "options",
    [
        {"levels": 2, "behaviour": "random"},
        {"behaviour": "novelty", "episode_frames": 30, "frames": 400, "shard_frames": 90},
    ],
)
def test_seeds_that_were_played_more_than_once(tmp_path: Path, options: dict[str, Any]) -> None:
    """Levels come again with another player, and an expedition is several episodes of one seed."""
    config = CollectConfig(**{**SIX, **options}, workers=1)
    collect(config, tmp_path / "set")
    whole = contents(tmp_path / "set")
    manifest = read_manifest(tmp_path / "set")
    seeds = [seed for shard in manifest.shards for seed in shard.seeds]
    assert len(manifest.shards) >= 3
    assert len(set(seeds)) < len(seeds)
    for number in (len(manifest.shards) - 1, 1):
        flip(tmp_path / "set" / manifest.shards[number].file)
    assert len(repair(tmp_path / "set")) == 2
    collect(config, tmp_path / "set")
    assert contents(tmp_path / "set") == whole


def test_a_disk_that_cannot_be_read_is_damage_and_a_closed_door_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(folder)
    for number, fails in ((errno.EIO, False), (errno.EACCES, True)):

        def broken(*arguments: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as disk:
            disk.setattr(verify, "verify_shards", broken)
            if fails:
                with pytest.raises(PermissionError):
                    find_damage(folder, manifest)
            else:
                assert find_damage(folder, manifest)[2] == Damage(manifest.shards[2], "cannot be read from the disk")


def edited(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    found = json.loads((folder / NAME).read_text())
    change(found)
    (folder / NAME).write_text(json.dumps(found))


HANDS: dict[str, tuple[Callable[..., object], str]] = {
    "a count": (lambda found: found["shards"][1].update(frames=999), "00001.h5 has 2 episodes, its counts say"),
    "the size": (lambda found: found.update(width=81), "was changed by hand, as every shard is what was recorded, but"),
    "a shard twice": (lambda found: found["shards"][1].update(file="00000.h5"), "names 00000.h5 twice"),
    "the order": (lambda found: found["shards"].reverse(), "00002.h5 should start at episode 0, found 4"),
    "fewer actions": (lambda found: found.update(action_names=["NOOP"]), "was changed by hand"),
    "a name": (lambda found: found["shards"][0].update(file="a.h5"), "should be named like 00000.h5, found 'a.h5'"),
    "a seed": (lambda found: found["shards"][0]["seeds"].pop(), "00000.h5 has 2 episodes, its counts say"),
    "a newer format": (lambda found: found.update(format=2), "this version reads 1; a newer dreamcade wrote it"),
    "no format": (lambda found: found.pop("format"), "dataset format None found in"),
}


@pytest.mark.parametrize("hand", HANDS)
def test_a_manifest_edited_by_hand_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], hand: str) -> None:
    edited(folder, HANDS[hand][0])
    before = contents(folder)
    assert HANDS[hand][1] in refused(capsys, "inspect", folder, "--verify")
    assert HANDS[hand][1] in refused(capsys, "inspect", folder, "--repair")  # whole shards are not thrown away for it
    assert contents(folder) == before


def test_a_shard_of_a_newer_kind_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((folder / "00000.h5").read_bytes())
    assert content[8] <= 3
    content[8] = 9
    (folder / "00000.h5").write_bytes(content)
    told = refused(capsys, "inspect", folder)
    assert told == f"shard {folder / '00000.h5'} is of a newer kind of HDF5 (9) than this version reads; update h5py"


def test_the_newest_kind_that_this_version_writes_is_not_newer(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file["x"] = 1
    assert (tmp_path / "x.h5").read_bytes()[8] <= NEWEST_LAYOUT


def test_a_folder_that_may_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    home = Path(tempfile.mkdtemp())
    home.chmod(0o555)
    root = os.geteuid() == 0  # to whom every door is open
    if root:
        os.seteuid(65534)
    try:
        told = refused(capsys, *COLLECT, "--out", home / "set")
    finally:
        if root:
            os.seteuid(0)
        home.rmdir()
    assert told == f"cannot write {home / 'set'}: permission denied; choose another place or make it writable"


def test_no_frames_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "collect", "pong", "--frames", 0, "--out", tmp_path / "set")
    assert told == "frames must be in [1, 1000000000], found 0"
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("size", "words", "message"),
    [
        ((23, 29), [], "no patch of 4 to 16 pixels divides a frame of 23x29; collect with another --size"),
        ((24, 32), ["--set", "family.tokenizer.patch=(7,8)"], "patch 7x8 does not divide a frame of 24x32"),
    ],
)
def test_frames_that_no_patch_divides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size, words, message
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(shards, "HEIGHT", size[0])
    monkeypatch.setattr(shards, "WIDTH", size[1])
    data = shards.make_dataset(tmp_path / "data")[0]
    run_folder = tmp_path / "run"
    assert message in refused(capsys, "train", "lam", "--data", data, "--run", run_folder, "--threads", 1, *words)
    assert not run_folder.exists()


def test_a_manifest_without_damage_says_nothing_of_it(folder: Path) -> None:
    manifest: Manifest = read_manifest(folder)
    assert repair(folder) == []
    assert "lost" not in manifest.to_json()
    assert (folder / NAME).read_text() == manifest.to_json()
