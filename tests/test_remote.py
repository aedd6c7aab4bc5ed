"""Data sets behind URLs: read from a verified copy, written with the manifest last."""

import json
from pathlib import Path

import fsspec
import pytest
from test_fault_campaign import contents
from test_shards import edit, make_dataset

from app.cli import main
from collectors import remote
from collectors.manifest import NAME
from collectors.remote import folder_of, is_remote, send
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from training.windows import open_datasets

URL = "memory://sets/counting"
SMALL = ("--frames", "60", "--episode-frames", "20", "--shard-frames", "40", "--workers", "1")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DREAMCADE_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    if memory.exists("/sets"):
        memory.rm("/sets", recursive=True)
    return tmp_path / "cache"


def at(path: str) -> dict[str, bytes]:
    memory = fsspec.filesystem("memory")
    return {name.rpartition("/")[2]: memory.cat_file(name) for name in memory.ls(path, detail=False)}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1].removeprefix("error: ")


def test_what_is_sent_is_read_back(tmp_path: Path) -> None:
    folder, episodes = make_dataset(tmp_path / "data")
    send(folder, URL)
    assert at("/sets/counting") == contents(folder)
    with Dataset.open(URL) as data:
        assert [len(data.read(ref).frames) for ref in data.episodes] == [len(one.frames) for one in episodes]
    assert open_datasets((URL,))[0].manifest.game == "counting"


def test_only_what_is_new_is_brought_and_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path / "data")[0]
    send(folder, URL)
    Dataset.open(URL).close()
    moved: list[str] = []
    memory = type(fsspec.filesystem("memory"))
    for name in ("cat_file", "pipe_file"):
        real = getattr(memory, name)
        monkeypatch.setattr(
            memory,
            name,
            lambda self, path, *rest, real=real, name=name, **more: (
                moved.append(f"{name} {path.rpartition('/')[2]}"),
                real(self, path, *rest, **more),
            )[1],
        )
    Dataset.open(URL).close()
    send(folder, URL)
    assert moved == [f"cat_file {NAME}", f"cat_file {NAME}", f"pipe_file {NAME}"]


def test_the_manifest_comes_last_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path / "data")[0]
    memory = type(fsspec.filesystem("memory"))
    real = memory.pipe_file

    def breaks(self, path, *rest, **more):  # type: ignore[no-untyped-def]
        if path.endswith("00001.h5"):
            raise OSError("the line is dead")
        return real(self, path, *rest, **more)

    with monkeypatch.context() as line:
        line.setattr(memory, "pipe_file", breaks)
        with pytest.raises(OSError, match=r"cannot use memory://sets/counting: the line is dead; check the address"):
            send(folder, URL)
    assert sorted(at("/sets/counting")) == ["00000.h5"]
    with pytest.raises(FileNotFoundError, match=r"no manifest.json at memory://sets/counting; record with"):
        Dataset.open(URL)
    send(folder, URL)
    (there := fsspec.filesystem("memory")).pipe_file("/sets/counting/00001.h5", b"other")
    with pytest.raises(ValueError, match=r"shard memory://sets/counting/00001.h5 has sha256 .*; copy it there again"):
        Dataset.open(URL)
    assert sorted(contents(folder_of(URL))) == ["00000.h5"]
    there.pipe_file("/sets/counting/00001.h5", (folder / "00001.h5").read_bytes())
    Dataset.open(URL).verify()


def test_a_copy_that_is_out_of_date_is_brought_again(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data")[0]
    send(folder, URL)
    Dataset.open(URL).close()
    other = make_dataset(tmp_path / "other")[0]
    found = json.loads((other / NAME).read_text())
    (other / "00000.h5").write_bytes((other / "00001.h5").read_bytes())
    shard = {**found["shards"][1], "file": "00000.h5", "first_episode": 0}
    edit(other, shards=[shard])
    send(other, URL)
    with Dataset.open(URL) as data:
        data.verify()
        assert [ref.seed for ref in data.episodes] == [3, 4]


def test_a_recording_goes_to_a_url_and_on_from_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CollectConfig(frames=60, episode_frames=20, shard_frames=40, workers=1)
    collect(config, tmp_path / "local")
    url = "memory://sets/pong"
    assert main(["collect", "pong", *SMALL, "--out", url]) == 0
    assert f"{url}: complete, 60 transitions in 3 episodes, pong" in capsys.readouterr().out
    assert at("/sets/pong") == contents(tmp_path / "local")
    # half of it, as another machine left it there, and nothing of it here
    whole = json.loads(at("/sets/pong")[NAME])
    half = json.dumps({**whole, "complete": False, "shards": whole["shards"][:1]}).encode()
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/sets/half/{NAME}", half)
    memory.pipe_file("/sets/half/00000.h5", at("/sets/pong")["00000.h5"])
    assert main(["collect", "pong", *SMALL, "--out", "memory://sets/half"]) == 0
    assert at("/sets/half") == contents(tmp_path / "local")
    assert "holds another recording: seed 0 (now 5)" in refused(
        capsys, "collect", "pong", *SMALL, "--seed", "5", "--out", url
    )
    assert main(["inspect", url, "--verify"]) == 0
    assert "every shard matches its sha256" in capsys.readouterr().out
    assert refused(capsys, "inspect", url, "--repair").startswith(f"{url} is repaired where it lies")


def test_a_file_url_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    url = f"file://{tmp_path / 'set'}"
    assert main(["collect", "pong", *SMALL, "--out", url]) == 0
    assert main(["inspect", url, "--verify", "--json"]) == 0
    assert '"steps": 60' in capsys.readouterr().out
    Dataset.open(url).close()
    assert (tmp_path / "set" / NAME).is_file()
    assert not cache.exists()


def test_what_is_a_url() -> None:
    assert is_remote("s3://bucket/pong")
    assert not is_remote("file:///data/pong")
    assert not is_remote(Path("s3://bucket/pong"))
    assert folder_of("data/pong") == Path("data/pong")
    assert folder_of("file:///data/pong") == Path("/data/pong")
    assert folder_of("s3://one/pong") != folder_of("s3://two/pong")
    assert folder_of("s3://one/pong") == folder_of("s3://one/pong/")


def test_packages_and_addresses_that_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(capsys, "inspect", "memory://sets/none").startswith("no manifest.json at memory://sets/none; record")
    assert "cannot use nosuch://bucket/pong: " in refused(capsys, "inspect", "nosuch://bucket/pong")

    def missing(name: str) -> object:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(remote.importlib, "import_module", missing)
    expected = "s3:// needs a package that is missing: Install s3fs to access S3; or pip install fsspec"
    with pytest.raises(ValueError, match=expected):
        Dataset.open("s3://bucket/pong")
