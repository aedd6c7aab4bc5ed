"""Out to Minari and back: Minari itself reads what was written, and what comes back is what went out, bit for bit."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from test_shards import make_dataset

from app.cli import main
from collectors.drafts import publish
from collectors.importing import ImportConfig
from collectors.manifest import read_manifest
from collectors.minari_export import export_minari, minari_name
from collectors.minari_import import import_minari, is_minari
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from collectors.writing import write_shard

minari = pytest.importorskip("minari")

SMALL = {"frames": 500, "episode_frames": 150, "shard_frames": 200, "workers": 1}
PONG = ImportConfig(game="pong")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 transitions of real Pong in four episodes."""
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(**SMALL), folder)
    return folder


@pytest.fixture(scope="module")
def exported(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in Minari's format."""
    root = tmp_path_factory.mktemp("minari")
    with Dataset.open(recorded) as data:
        return export_minari(data, root)


def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home directory that must stay empty."""
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    return folder


def test_minari_reads_what_was_exported(recorded: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(exported.parents[1]))
    assert list(minari.list_local_datasets()) == ["dreamcade/pong-v0"]
    found = minari.load_dataset("dreamcade/pong-v0")
    assert found.observation_space == Box(0, 255, (3, 104, 80), np.uint8)
    assert found.action_space == Discrete(6)
    with Dataset.open(recorded) as data:
        assert (found.total_episodes, found.total_steps) == (len(data.episodes), 500)
        for ref, episode in zip(data.episodes, found.iterate_episodes(), strict=True):
            ours = data.read(ref)
            assert episode.observations.dtype == np.uint8
            np.testing.assert_array_equal(episode.observations.transpose(0, 2, 3, 1), ours.frames)
            np.testing.assert_array_equal(episode.actions, ours.actions)
            np.testing.assert_array_equal(episode.rewards, ours.rewards)
            np.testing.assert_array_equal(episode.terminations, ours.ends)
            np.testing.assert_array_equal(episode.infos["objects"], ours.objects)
            assert episode.truncations.tolist() == [False] * (ours.steps - 1) + [not ours.ends[-1]]
        seeds = [row["seed"] for row in found.storage.get_episode_metadata(range(len(data.episodes)))]
        assert seeds == [ref.seed for ref in data.episodes]


def test_what_comes_back_has_the_same_bytes(recorded: Path, exported: Path, tmp_path: Path) -> None:
    done = import_minari(exported, tmp_path / "back", None)
    assert done.ours
    assert done.manifest == read_manifest(recorded)
    for path in recorded.glob("*.*"):
        assert path.read_bytes() == (tmp_path / "back" / path.name).read_bytes(), path.name
    collect(CollectConfig(**SMALL), tmp_path / "back")  # and a recording could even go on in it


def test_every_column_comes_back(tmp_path: Path) -> None:
    """Objects, latent actions, dreams with their worlds, ends, odd seeds: episodes of a data set that has it all."""
    folder, episodes = make_dataset(tmp_path / "data")
    full = [
        replace(
            episode,
            latent=np.arange(episode.steps) % 3 - 1,
            source="dream" if number % 2 else "real",
            world="0123456789abcdef" if number % 2 else "",
            seed=2**61 + number,
            behaviour=f"player {number}",
        )
        for number, episode in enumerate(episodes)
    ]
    shards = (write_shard(folder, 0, full[:3], 0), write_shard(folder, 1, full[3:], 3))
    manifest = replace(read_manifest(folder), shards=shards, latent_names=("a", "b"))
    publish(folder / "manifest.json", manifest.to_json().encode())
    with Dataset.open(folder) as data:
        place = export_minari(data, tmp_path / "out", "mine/deeper/all-of-it-v3")
        import_minari(place, tmp_path / "back", None)
        with Dataset.open(tmp_path / "back") as back:
            assert len(back.episodes) == 5
            for one, other in zip(data.episodes, back.episodes, strict=True):
                before, after = data.read(one), back.read(other)
                for name in ("frames", "actions", "rewards", "ends", "objects", "latent"):
                    np.testing.assert_array_equal(getattr(before, name), getattr(after, name), name)
                assert (one.seed, one.behaviour, one.source, one.world) == (
                    *(other.seed, other.behaviour, other.source, other.world),
                )
            assert replace(back.manifest, shards=()) == replace(data.manifest, shards=())


def test_commands(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    untouched = home(monkeypatch, tmp_path)
    root, back = tmp_path / "minari", tmp_path / "back"
    assert main(["export", str(recorded), "--format", "minari", "--out", str(root)]) == 0
    told = capsys.readouterr().out
    assert f"{root}/dreamcade/pong-v0: 500 transitions in 4 episodes, every pixel read back and compared" in told
    assert f"MINARI_DATASETS_PATH={root} and minari.load_dataset('dreamcade/pong-v0')" in told
    assert main(["import", str(root / "dreamcade" / "pong-v0"), "--out", str(back)]) == 0
    assert "500 transitions in 4 episodes, pong 104x80 at 15 fps, exactly as it was exported" in capsys.readouterr().out
    assert main(["inspect", str(back), "--verify"]) == 0
    assert list(untouched.iterdir()) == []
    assert "MINARI_DATASETS_PATH" not in os.environ
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == ["dreamcade"]
    assert not (root / ".draft-minari").exists()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which the program refuses."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("error: ")


def test_without_minari_one_line_says_how_to_get_it(
    recorded: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    wanted = "Minari is not installed; get it with: pip install 'minari[hdf5]>=0.5.3'"
    assert refused(capsys, "export", recorded, "--out", tmp_path / "out") == wanted
    assert refused(capsys, "import", exported, "--out", tmp_path / "back") == wanted
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["pong", "../pong-v0", "/pong-v0", "a b-v0", "pong-v", "a//pong-v0", "ä-v0"])
def test_names_that_minari_has_not(recorded: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    said = refused(capsys, "export", recorded, "--out", tmp_path / "out", "--id", name)
    assert said.startswith("--id must be like dreamcade/pong-v0")
    assert list(tmp_path.iterdir()) == []


def test_games_have_names_in_minari() -> None:
    assert minari_name("ms_pacman") == "dreamcade/ms_pacman-v0"
    assert minari_name("procgen:coinrun hard") == "dreamcade/procgen-coinrun-hard-v0"


def test_nothing_is_overwritten(recorded: Path, exported: Path, capsys: Any) -> None:
    said = refused(capsys, "export", recorded, "--out", exported.parents[1])
    assert said.startswith(f"{exported} is there already; choose another --id")


def test_a_failed_export_leaves_nothing(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*arguments: object) -> bool:
        return False

    with Dataset.open(recorded) as data:
        with monkeypatch.context() as broken:
            broken.setattr("collectors.minari_export._equal", other)
            with pytest.raises(
                ValueError, match=r"Minari .* does not give back episode 0 as it was; nothing was exported"
            ):
                export_minari(data, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".collect.lock"]
        (tmp_path / "out" / ".draft-minari" / "dreamcade" / "pong-v0").mkdir(
            parents=True
        )  # as a killed export leaves it
        assert export_minari(data, tmp_path / "out").is_dir()


def foreign(
    root: Path,
    observations: list[Any],
    space: Space[Any],
    actions: Space[Any] | None = None,
    picked: list[np.ndarray] | None = None,
) -> Path:
    """A data set that somebody else made with Minari."""
    collector = minari.data_collector
    buffers = []
    for number, seen in enumerate(observations):
        steps = len(next(iter(seen.values())) if isinstance(seen, dict) else seen) - 1
        buffers.append(
            collector.EpisodeBuffer(
                observations=seen,
                actions=picked[number] if picked else np.arange(steps) % 6,
                rewards=np.linspace(0, 1, steps),
                terminations=np.arange(steps) == steps - 1,
                truncations=np.zeros(steps, bool),
            )
        )
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        minari.create_dataset_from_buffers(
            "other/pong-v1", buffers, observation_space=space, action_space=actions or Discrete(6), algorithm_name="PPO"
        )
    finally:
        os.environ.pop("MINARI_DATASETS_PATH")
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before
    return root / "other" / "pong-v1"


@pytest.fixture
def frames(recorded: Path) -> list[np.ndarray]:
    """The first 30 frames of two episodes of real Pong."""
    with Dataset.open(recorded) as data:
        return [data.read(ref, 0, 30).frames for ref in data.episodes[:2]]


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_others_come_in_too(frames: list[np.ndarray], tmp_path: Path, capsys: Any) -> None:
    seen = [np.ascontiguousarray(part.transpose(0, 3, 1, 2)) for part in frames]
    source = foreign(tmp_path / "m", seen, Box(0, 255, (3, 104, 80), np.uint8))
    assert refused(capsys, "import", source).endswith("does not say which game it is; name it with --game")
    done = import_minari(source, tmp_path / "out", replace(PONG, fps=30.0))
    assert not done.ours
    manifest = read_manifest(tmp_path / "out")
    assert manifest.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert (manifest.behaviour, manifest.fps, manifest.lossy, manifest.knows_actions) == ("PPO", 30.0, False, True)
    with Dataset.open(tmp_path / "out") as data:
        for number, (ref, want) in enumerate(zip(data.episodes, frames, strict=True)):
            episode = data.read(ref)
            np.testing.assert_array_equal(episode.frames, want)
            np.testing.assert_array_equal(episode.actions, np.arange(29) % 6)
            np.testing.assert_array_equal(episode.rewards, np.linspace(0, 1, 29).astype(np.float32))
            assert episode.ends.tolist() == [False] * 28 + [True]
            assert episode.seed == number


def test_pictures_in_a_dictionary_smaller_and_without_stills(frames: list[np.ndarray], tmp_path: Path) -> None:
    still = np.concatenate([frames[0], np.repeat(frames[0][-1:], 40, axis=0)])
    space = Dict({"image": Box(0, 255, (3, 104, 80), np.uint8), "ram": Box(0, 255, (8,), np.uint8)})
    seen = {"image": np.ascontiguousarray(still.transpose(0, 3, 1, 2)), "ram": np.zeros((70, 8), np.uint8)}
    source = foreign(tmp_path / "m", [seen], space)
    done = import_minari(source, tmp_path / "out", replace(PONG, size=(52, 40), drop=True))
    assert done.reports[0].count("frozen") == 40
    with Dataset.open(tmp_path / "out") as data:
        (ref,) = data.episodes
        assert data.read(ref).frames.shape == (30, 52, 40, 3)


def test_jpeg_is_called_lossy(frames: list[np.ndarray], tmp_path: Path) -> None:
    source = foreign(tmp_path / "m", frames, Box(0, 255, (104, 80, 3), np.uint8))
    done = import_minari(source, tmp_path / "out", PONG)
    assert done.manifest.lossy
    assert any("Minari keeps these frames as JPEG" in warning for warning in done.warnings)
    with Dataset.open(tmp_path / "out") as data:
        assert (data.read(data.episodes[0]).frames != frames[0]).any()


@pytest.mark.parametrize(
    ("space", "shape", "message"),
    [
        (Box(0, 255, (4, 84, 84), np.uint8), (30, 4, 84, 84), r"should observe one uint8 picture \[H, W, 3\] or"),
        (Box(0, 1, (3, 20, 20), np.float32), (30, 3, 20, 20), r"should observe one uint8 picture \[H, W, 3\] or"),
        (Box(0, 255, (3, 600, 20), np.uint8), (30, 3, 600, 20), "has frames of 600x20; choose with --size"),
    ],
)
def test_other_observations_are_refused(tmp_path: Path, space: Box, shape: tuple[int, ...], message: str) -> None:
    source = foreign(tmp_path / "m", [np.zeros(shape, space.dtype)], space)
    with pytest.raises(ValueError, match=message):
        import_minari(source, tmp_path / "out", PONG)
    assert not (tmp_path / "out").exists()


def test_numbers_for_actions_come_in_scaled(tmp_path: Path) -> None:
    seen = [np.random.default_rng(0).integers(0, 255, (30, 3, 20, 20), np.uint8)]
    acts = np.random.default_rng(1).uniform((-1, 0), (1, 4), (29, 2)).astype(np.float32)
    for name, low, high in (("same", [-1, -1], [1, 1]), ("scaled", [-1, 0], [1, 4])):
        pushed = acts if name == "scaled" else acts / np.float32(4)
        space = Box(np.array(low, np.float32), np.array(high, np.float32))
        source = foreign(tmp_path / name, seen, Box(0, 255, (3, 20, 20), np.uint8), space, [pushed])
        done = import_minari(source, tmp_path / f"{name} out", replace(PONG, game="some-robot"))
        assert (done.manifest.continuous, done.manifest.action_names) == (True, ("action 0", "action 1"))
        assert any("scaled to [-1, 1]" in warning for warning in done.warnings) == (name == "scaled")
        with Dataset.open(tmp_path / f"{name} out") as data:
            found = data.read(data.episodes[0]).actions
        expected = np.stack([acts[:, 0], acts[:, 1] / 2 - 1], 1) if name == "scaled" else pushed
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_numbers_for_actions_go_out_and_come_back(tmp_path: Path) -> None:
    seen = [np.random.default_rng(0).integers(0, 255, (30, 3, 20, 20), np.uint8)]
    acts = [np.random.default_rng(1).uniform(-1, 1, (29, 2)).astype(np.float32)]
    source = foreign(tmp_path / "m", seen, Box(0, 255, (3, 20, 20), np.uint8), Box(-1, 1, (2,), np.float32), acts)
    import_minari(source, tmp_path / "one", replace(PONG, game="some-robot"))
    with Dataset.open(tmp_path / "one") as data:
        place = export_minari(data, tmp_path / "out")
    import_minari(place, tmp_path / "two", None)
    assert read_manifest(tmp_path / "two") == read_manifest(tmp_path / "one")
    with Dataset.open(tmp_path / "two") as data:
        np.testing.assert_array_equal(data.read(data.episodes[0]).actions, acts[0])


@pytest.mark.parametrize("space", [Box(-np.inf, np.inf, (2,), np.float32), MultiDiscrete([2, 3])])
def test_actions_without_a_meaning_here_are_refused(tmp_path: Path, space: Space[Any]) -> None:
    seen, acts = [np.zeros((30, 3, 20, 20), np.uint8)], [np.zeros((29, 2), space.dtype)]
    source = foreign(tmp_path / "m", seen, Box(0, 255, (3, 20, 20), np.uint8), space, acts)
    with pytest.raises(ValueError, match=r"has actions of kind .*; ids \(Discrete\) or bounded numbers \(Box\)"):
        import_minari(source, tmp_path / "out", PONG)


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """An export to spoil."""
    (tmp_path / "copy" / "data").mkdir(parents=True)
    for path in (exported / "data").iterdir():
        (tmp_path / "copy" / "data" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "copy"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "data" / "metadata.json"
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


TRAP = json.dumps({"id": "Trap-v0", "entry_point": "os:mkdir", "kwargs": {"path": "sprung"}, "additional_wrappers": []})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_space": None, "env_spec": TRAP}, "does not say what its observation_space is, and building its"),
        ({"data_format": "arrow"}, "should have data_format 'hdf5', found 'arrow'"),
        ({"minari_version": "9.9"}, "cannot read"),
        ({"dreamcade": "me"}, "should be of kind 'dreamcade-dataset', found 'str'"),
        ({"dreamcade": {"format": 2, "kind": "dreamcade-dataset"}}, "dataset format 2 found in"),
        ({"total_episodes": 9}, "cannot read an episode"),
    ],
)
def test_metadata_of_strangers(
    copied: Path, changes: dict[str, Any], message: str, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    edit(copied, **changes)
    assert message in refused(capsys, "import", copied, "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def _link(file: h5py.File) -> None:
    del file["episode_0"]["actions"]
    file["episode_0"]["actions"] = h5py.ExternalLink("other.h5", "actions")


def _less(file: h5py.File) -> None:
    del file["episode_1"]["infos"]


def _other_ids(file: h5py.File) -> None:
    file["episode_2"]["actions"][5] = 77


def _no_seed(file: h5py.File) -> None:
    del file["episode_3"].attrs["seed"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_link, "'episode_0/actions' points outside the file; do not use it"),
        (_less, "episode 1 does not fit its manifest in size, actions, objects or seed"),
        (_other_ids, "episode 2 does not fit its manifest"),
        (_no_seed, "episode 3 is not as exported"),
    ],
)
def test_columns_of_strangers(  # type: ignore[no-untyped-def]
    copied: Path, harm, message: str, tmp_path: Path, capsys: Any
) -> None:
    with h5py.File(copied / "data" / "main_data.hdf5", "r+") as file:
        harm(file)
    assert message in refused(capsys, "import", copied, "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_truncated_file_is_named(copied: Path, tmp_path: Path, capsys: Any) -> None:
    path = copied / "data" / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = refused(capsys, "import", copied, "--out", tmp_path / "out")
    assert "main_data.hdf5 cannot be read as HDF5: it is truncated, damaged or something else" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--game", "breakout"], "holds 'pong', not 'breakout'; leave --game away"),
        (["--game", "pong", "--size", "52x40"], "an export of our own comes back as it was"),
        (["--game", "pong", "--filter"], "an export of our own comes back as it was"),
    ],
)
def test_options_that_do_not_go_with_an_export(
    exported: Path, options: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    assert message in refused(capsys, "import", exported, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_minari(exported: Path, recorded: Path) -> None:
    assert is_minari(exported)
    assert is_minari(exported / "data")
    assert not is_minari(recorded)
    with pytest.raises(ValueError, match=r"is no data set of Minari: it needs metadata\.json and main_data\.hdf5"):
        import_minari(recorded, recorded / "new", None)
