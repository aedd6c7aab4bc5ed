"""Episodes in, the same episodes out; nothing else is let in."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from collectors.drafts import publish
from collectors.episode import Episode
from collectors.manifest import Manifest
from collectors.shards import Dataset, EpisodeRef
from collectors.writing import write_shard

HEIGHT, WIDTH = 4, 6


def counting(first: int, steps: int, seed: int) -> Episode:
    """Pixel, object and action say the step number; action t says what frame it leads to."""
    numbers = np.arange(first, first + steps + 1)
    frames = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (steps + 1, HEIGHT, WIDTH, 3))
    return Episode(
        frames=frames,
        actions=numbers[1:].astype(np.int64),
        rewards=numbers[1:].astype(np.float32) / 2,
        ends=np.arange(steps) == steps - 1,
        objects=np.broadcast_to(numbers.astype(np.float32)[:, None, None], (steps + 1, 1, 3)),
        seed=seed,
        behaviour="counting",
    )


def make_dataset(folder: Path) -> tuple[Path, list[Episode]]:
    """Five counting episodes of uneven length in two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = (5, 40, 1, 17, 30)
    episodes = [counting(sum(lengths[:index]) + index, steps, index) for index, steps in enumerate(lengths)]
    shards = (write_shard(folder, 0, episodes[:3], 0), write_shard(folder, 1, episodes[3:], 3))
    manifest = Manifest(
        game="counting",
        height=HEIGHT,
        width=WIDTH,
        fps=15.0,
        frame_skip=4,
        pooled=1,
        action_names=tuple(f"to {number}" for number in range(256)),
        object_names=("number",),
        behaviour="counting",
        seed=0,
        episode_frames=40,
        shard_frames=40,
        frames_requested=93,
        versions={},
        complete=True,
        shards=shards,
    )
    publish(folder / "manifest.json", manifest.to_json().encode())
    return folder, episodes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data")[0]


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_episodes_come_back_whole(tmp_path: Path) -> None:
    folder, episodes = make_dataset(tmp_path)
    with Dataset.open(folder) as data:
        assert data.frames_total == 98
        assert data.episodes[4] == EpisodeRef(shard=1, index=1, seed=4, behaviour="counting", start=18, frames=31)
        for ref, episode in zip(data.episodes, episodes, strict=True):
            found = data.read(ref)
            for name in ("frames", "actions", "rewards", "ends", "objects"):
                np.testing.assert_array_equal(getattr(found, name), getattr(episode, name), name)
            assert (found.seed, found.behaviour) == (episode.seed, "counting")


def test_every_window_has_the_actions_between_its_frames(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        for ref in data.episodes:
            for start in range(ref.frames - 1):
                for stop in {start + 2, min(start + 9, ref.frames), ref.frames} - {start + 1}:
                    window = data.read(ref, start, stop)
                    numbers = window.frames[:, 0, 0, 0].astype(int)
                    np.testing.assert_array_equal(np.diff(numbers), 1)
                    np.testing.assert_array_equal(window.actions, numbers[1:])
                    np.testing.assert_array_equal(window.rewards * 2, numbers[1:])
                    np.testing.assert_array_equal(window.objects[:, 0, 0], numbers)
                    assert window.ends.any() == (stop == ref.frames)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 3), (-1, 2), (0, 7), (5, 9), (4, 2)])
def test_windows_outside_an_episode_are_refused(dataset: Path, start: int, stop: int) -> None:
    with Dataset.open(dataset) as data, pytest.raises(ValueError, match=r"two frames within \[0, 6\), found"):
        data.read(data.episodes[0], start, stop)


def test_same_episodes_same_bytes(tmp_path: Path) -> None:
    one, two = (make_dataset(tmp_path / name)[0] for name in ("one", "two"))
    for name in ("00000.h5", "00001.h5", "manifest.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def _first_numbers(data: Dataset) -> list[int]:
    return [int(data.read(ref).frames[0, 0, 0, 0]) for ref in data.episodes]


FORK = """
import multiprocessing, sys
sys.path[:0] = {paths}
from test_shards import Dataset, _first_numbers
with Dataset.open({folder!r}) as data:
    here = _first_numbers(data)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_first_numbers, (data,)) == here
"""


def test_handles_survive_fork_and_pickle(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        here = _first_numbers(data)
        assert _first_numbers(pickle.loads(pickle.dumps(data))) == here
    # in a process of its own: one in which other tests left threads behind must not be forked
    code = FORK.format(paths=sys.path, folder=str(dataset))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_missing_things_are_named(dataset: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match=r"no manifest.json in .*nowhere; record with: dreamcade collect pong"):
        Dataset.open(nowhere)
    (dataset / "00001.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001.h5 is in the manifest and not in the folder"):
        Dataset.open(dataset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "dataset format 2 found in .*, this version reads 1"),
        ({"kind": "cake"}, "should be of kind 'dreamcade-dataset', found 'cake'"),
        ({"shards": []}, "has no finished shard yet"),
        ({"height": "4"}, "'height' is missing or of the wrong type"),
        ({"height": 0}, "'height' must be a whole number of at least 1, found 0"),
        ({"width": 7}, r"'frames' must be uint8 \[49, 4, 7, 3\], found uint8 \[49, 4, 6, 3\]"),
        ({"action_names": ["a", "b"]}, r"action 48 is outside \[0, 2\)"),
        ({"object_names": ["a", "b"]}, "column 'objects' must be float32"),
        ({"fps": float("nan")}, "make no sense"),
    ],
)
def test_bad_manifests_are_refused(dataset: Path, changes: dict[str, object], message: str) -> None:
    edit(dataset, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        Dataset.open(dataset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_garbage_manifests_are_refused(dataset: Path, text: str) -> None:
    (dataset / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        Dataset.open(dataset)


def test_shard_names_cannot_leave_the_folder(dataset: Path) -> None:
    shards = json.loads((dataset / "manifest.json").read_text())["shards"]
    edit(dataset, shards=[{**shards[0], "file": "../../etc/passwd"}])
    with pytest.raises(ValueError, match=r"should be named like 00000\.h5"):
        Dataset.open(dataset)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_truncated_shards_are_named(dataset: Path, share: float) -> None:
    path = dataset / "00001.h5"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"00001.h5 is truncated or damaged; copy the data set again"):
        Dataset.open(dataset)


def test_a_flipped_byte_is_found(dataset: Path) -> None:
    with h5py.File(dataset / "00000.h5") as file:
        place = file["frames"].id.get_chunk_info(1).byte_offset + 20
    path = dataset / "00000.h5"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with Dataset.open(dataset) as data:
        with pytest.raises(ValueError, match=r"00000.h5 has sha256 .*, expected"):
            data.verify()
        with pytest.raises(ValueError, match=r"00000.h5 is truncated or damaged"):
            data.read(data.episodes[1])


def _external_link(file: h5py.File, other: Path) -> None:
    file["actions"] = h5py.ExternalLink(str(other), "actions")


def _soft_link(file: h5py.File, other: Path) -> None:
    file["actions"] = h5py.SoftLink("/starts")


def _external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("actions", (46,), np.int64, external=[("/etc/passwd", 0, 368)])


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((46,), np.int64)
    layout[:] = h5py.VirtualSource(str(other), "actions", (46,))
    file.create_virtual_dataset("actions", layout)


def _group(file: h5py.File, other: Path) -> None:
    file.create_group("actions")


@pytest.mark.parametrize("plant", [_external_link, _soft_link, _external_storage, _virtual, _group])
def test_columns_cannot_point_outside(dataset: Path, tmp_path: Path, plant) -> None:  # type: ignore[no-untyped-def]
    other = make_dataset(tmp_path / "other")[0] / "00000.h5"
    with h5py.File(dataset / "00000.h5", "r+") as file:
        del file["actions"]
        plant(file, other)
    with pytest.raises(ValueError, match="column 'actions' points outside the file; do not use this data set"):
        Dataset.open(dataset)


def _replace(file: h5py.File, name: str, data: np.ndarray, **options: object) -> None:
    del file[name]
    file.create_dataset(name, data=data, **options)


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("actions", np.zeros(46, np.int32), {}, r"must be int64 \[46\], found int32 \[46\]"),
        ("actions", np.full(46, -3), {}, r"action -3 is outside \[0, 256\)"),
        ("frames", np.zeros((49, 4, 6), np.uint8), {}, r"must be uint8 \[49, 4, 6, 3\]"),
        ("rewards", np.zeros(46, np.float32), {"compression": "lzf"}, "packed in a way this version refuses"),
        ("starts", np.array([0, 6, 6]), {}, "starts must rise from 0"),
        ("starts", np.array([1, 6, 47]), {}, "starts must rise from 0"),
        ("starts", np.array([0, 6, 900]), {}, "starts must rise from 0"),
    ],
)
def test_wrong_columns_are_refused(  # type: ignore[no-untyped-def]
    dataset: Path, name: str, data: np.ndarray, options, message: str
) -> None:
    with h5py.File(dataset / "00000.h5", "r+") as file:
        _replace(file, name, data, **options)
    with pytest.raises(ValueError, match=message):
        Dataset.open(dataset)


def test_a_missing_column_is_named(dataset: Path) -> None:
    with h5py.File(dataset / "00000.h5", "r+") as file:
        del file["ends"]
    with pytest.raises(ValueError, match="has no column 'ends'"):
        Dataset.open(dataset)


def test_differences_name_the_fields(dataset: Path) -> None:
    manifest = Dataset.open(dataset).manifest
    assert manifest.differences(replace(manifest, seed=3, behaviour="random", complete=False)) == ["behaviour", "seed"]
