"""Frames read around HDF5 are the frames that HDF5 reads; by many threads, of many shards, in little memory."""

import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_shards import make_dataset

from collectors.chunks import Chunks, narrow
from collectors.episode import Episode
from collectors.shards import Dataset
from collectors.writing import write_shard
from training.windows import Windows

FRAMES = int(os.environ.get("DREAMCADE_INDEX_FRAMES", "800000"))  # 8000000 of 64x64 pixels are 100 GB


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data")[0]


def check(data: Dataset) -> None:
    """Every stretch of every episode, as its pixels count the steps."""
    numbers = np.cumsum([0, *(ref.frames for ref in data.episodes)])
    for ref, first in zip(data.episodes, numbers.tolist(), strict=False):
        for start in range(ref.frames):
            for length in {1, 2, 16, 17, ref.frames - start}:
                if start + length <= ref.frames:
                    out = np.zeros((length, 4, 6, 3), np.uint8)
                    actions = data.fill(ref, start, out)
                    expected = first + start + np.arange(length)
                    assert (out == expected[:, None, None, None]).all()
                    assert actions.dtype == np.int64
                    np.testing.assert_array_equal(actions, expected[1:])


def test_frames_and_actions_are_those_of_the_stretch(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        check(data)
        assert all(chunks is not None for chunks, _ in data._tables.values())
        check(pickle.loads(pickle.dumps(data)))


@pytest.mark.parametrize(
    "packing",
    [
        {"chunks": (16, 4, 6, 3), "compression": "gzip", "shuffle": True},
        {"chunks": (16, 4, 6, 3), "compression": "gzip", "fletcher32": True},
        {"chunks": (16, 2, 6, 3), "compression": "gzip"},
        {"chunks": (5, 4, 6, 3)},
        {},
    ],
)
def test_frames_packed_by_others_are_read_too(dataset: Path, packing: dict[str, object]) -> None:
    for name in ("00000.h5", "00001.h5"):
        with h5py.File(dataset / name, "r+") as file:
            frames = file["frames"][()]
            del file["frames"]
            file.create_dataset("frames", data=frames, **packing)
    with Dataset.open(dataset) as data:
        check(data)
        assert all(chunks is None for chunks, _ in data._tables.values())


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 7), (5, 2), (0, 0), (6, 1)])
def test_stretches_outside_an_episode_are_refused(dataset: Path, start: int, length: int) -> None:
    with Dataset.open(dataset) as data, pytest.raises(ValueError, match=r"a stretch must lie in \[0, 6\), found"):
        data.fill(data.episodes[0], start, np.empty((length, 4, 6, 3), np.uint8))


def test_a_view_of_other_strides_is_filled(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        planes = np.zeros((9, 3, 4, 6), np.uint8)
        data.fill(data.episodes[1], 2, np.moveaxis(planes, 1, -1))
        assert (planes == (6 + 2 + np.arange(9))[:, None, None, None]).all()


def test_damage_found_on_the_way_is_named(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        ref, out = data.episodes[4], np.empty((31, 4, 6, 3), np.uint8)
        data.fill(ref, 0, out)
        chunks = data._tables[1][0]
        assert isinstance(chunks, Chunks)
        path, good = dataset / "00001.h5", (dataset / "00001.h5").read_bytes()
        place = int(chunks.offsets[2]) + int(chunks.sizes[2]) - 2  # in the checksum of the last chunk
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(ValueError, match=r"00001.h5 is damaged: chunk 2 of its frames cannot be unpacked; copy"):
            data.fill(ref, 0, out)
        path.write_bytes(good[: int(chunks.offsets[2]) + 3])
        with pytest.raises(ValueError, match=r"00001.h5 is damaged: chunk 2 of its frames is cut off"):
            data.fill(ref, 0, out)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"00001.h5 is in the manifest and not in the folder"):
            data.fill(ref, 0, out)


def test_a_chunk_that_would_unpack_to_more_than_it_should(tmp_path: Path) -> None:
    import zlib

    bomb = zlib.compress(bytes(50_000_000))
    (tmp_path / "x").write_bytes(bomb)
    chunks = Chunks(
        path=tmp_path / "x", offsets=np.array([0]), sizes=np.array([len(bomb)], np.int32), rows=2, frame=(4, 6, 3)
    )
    with pytest.raises(ValueError, match="chunk 0 of its frames is cut off"):
        chunks.fill(0, np.empty((1, 4, 6, 3), np.uint8))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([0, 255], np.uint8), ([0, 256], np.int16), ([-1, 7], np.int8), ([-1, 2**17], np.int32), ([-1, 2**40], np.int64)],
)
def test_numbers_are_kept_in_few_bytes(values: list[int], kind: type) -> None:
    found = narrow(np.array(values, np.int64))
    assert found.dtype == kind
    assert found.tolist() == values
    floats = np.array([[0.5]], np.float32)
    assert narrow(floats) is floats
    assert len(narrow(np.empty(0, np.int64))) == 0


def test_threads_read_at_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.shards.MOST_OPEN", 1)
    with Dataset.open(dataset) as data, ThreadPoolExecutor(4) as pool:
        list(pool.map(check, [data] * 4))

        def whole(number: int) -> list[int]:
            return data.read(data.episodes[number % 5]).frames[:, 0, 0, 0].tolist()

        assert list(pool.map(whole, range(40))) == [whole(number) for number in range(40)]
        assert len(data._handles) == 1


def test_windows_do_not_depend_on_the_threads(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, used = Windows([Dataset.open(dataset)], "all"), set[int]()
    places = windows.draw(np.random.default_rng(0), 300, 7)
    fill = Dataset.fill

    def noted(self, ref, start, out):  # type: ignore[no-untyped-def]
        used.add(threading.get_ident())
        return fill(self, ref, start, out)

    monkeypatch.setattr(Dataset, "fill", noted)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(windows.read(places, 7))
    assert len(used) > 1
    assert torch.equal(found[0].frames, found[1].frames)
    assert torch.equal(found[0].actions, found[1].actions)


LARGE = """
import json, os, resource, sys, time
import numpy as np
from pathlib import Path
from collectors.shards import Dataset
from training.windows import Windows

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

folder, few = Path(sys.argv[1]), Path(sys.argv[2])
rng = np.random.default_rng(0)
small = Windows([Dataset.open(few)], "all")
small.read(small.draw(rng, 64, 16), 16)
before, began = resident(), time.perf_counter()
windows = Windows([Dataset.open(folder)], "all")
opened, after = time.perf_counter() - began, resident()
began = time.perf_counter()
for _ in range(200):
    windows.read(windows.draw(rng, 16, 16), 16)
took = time.perf_counter() - began
for shard in range(len(windows.datasets[0].manifest.shards)):
    windows.datasets[0].fill(windows.datasets[0].episodes[shard * 8], 0, np.empty((2, 1, 1, 3), np.uint8))
handles = len(os.listdir("/proc/self/fd"))
print(json.dumps({"frames": windows.frames, "opened_s": opened, "index_mb": after - before,
    "all_touched_mb": resident() - before, "windows_s": 3200 / took, "handles": handles}))
"""


def large_dataset(folder: Path, frames: int) -> Path:
    """As many shards, episodes, chunks and actions as that many frames have, of one pixel each.

    All shards are one file under many names; what is opened, checked and kept in memory is of the full size.
    """
    rng = np.random.default_rng(0)
    few = folder / "few"
    few.mkdir(parents=True)
    episodes = [
        Episode(
            frames=rng.integers(0, 256, (512, 1, 1, 3), dtype=np.uint8),
            actions=rng.integers(0, 15, 511),
            rewards=np.zeros(511, np.float32),
            ends=np.arange(511) == 510,
            seed=seed,
            behaviour="random",
        )
        for seed in range(8)
    ]
    shard = write_shard(few, 0, episodes, 0)
    manifest = json.loads((make_dataset(folder / "pattern")[0] / "manifest.json").read_text())
    manifest |= {"height": 1, "width": 1, "object_names": []}
    entry = json.loads(json.dumps({name: getattr(shard, name) for name in shard.__slots__}))
    (few / "manifest.json").write_text(json.dumps({**manifest, "shards": [entry]}))
    many, entries = folder / "many", []
    many.mkdir()
    for number in range(frames // 4096):
        os.link(few / "00000.h5", many / f"{number:05d}.h5")
        seeds = list(range(8 * number, 8 * number + 8))
        entries.append({**entry, "file": f"{number:05d}.h5", "first_episode": 8 * number, "seeds": seeds})
    (many / "manifest.json").write_text(json.dumps({**manifest, "shards": entries}))
    return many


def test_memory_and_open_files_do_not_grow_with_the_data(tmp_path: Path) -> None:
    many = large_dataset(tmp_path, FRAMES)
    words = [sys.executable, "-c", LARGE, str(many), str(tmp_path / "few")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True, env=environment
    )
    found = json.loads(done.stdout)
    gigabytes = found["frames"] * 64 * 64 * 3 / 1e9
    print(f"\nindex of {gigabytes:.0f} GB: {found}")
    assert found["frames"] == FRAMES // 4096 * 4096
    assert found["index_mb"] < 10 + 1.0 * gigabytes
    assert found["all_touched_mb"] < 15 + 1.5 * gigabytes
    assert found["handles"] < 64
    assert found["opened_s"] < 10 + gigabytes
