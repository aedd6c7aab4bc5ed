"""What inspect says of a data set is what is in it, for people and for programs, and its sheet can be looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_shards import make_dataset

from app.cli import main
from collectors.drafts import publish
from collectors.episode import Episode
from collectors.inspection import contact_sheet, inspect_dataset, quality, titled_sheet
from collectors.manifest import read_manifest
from collectors.quality import judge
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from collectors.writing import write_shard


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 transitions of real Pong in four episodes."""
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(frames=400, episode_frames=120, shard_frames=250, workers=1), folder)
    return folder


@pytest.fixture
def spoilt(recorded: Path, tmp_path: Path) -> Path:
    """Real Pong that stands still for a while in its second episode, and has black frames in its third."""
    with Dataset.open(recorded) as data:
        episodes = [data.read(ref) for ref in data.episodes[:3]]
    still, dark = episodes[1].frames.copy(), episodes[2].frames.copy()
    still[30:90] = still[29]
    dark[5:9] = 0
    kept = [episodes[0], replace(episodes[1], frames=still), replace(episodes[2], frames=dark)]
    return with_episodes(tmp_path / "spoilt", recorded, kept)


def with_episodes(folder: Path, like: Path, episodes: list[Episode]) -> Path:
    folder.mkdir()
    shards = (write_shard(folder, 0, episodes, 0),)
    manifest = replace(read_manifest(like), shards=shards)
    publish(folder / "manifest.json", manifest.to_json().encode())
    return folder


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["inspect", *(str(word) for word in words)]) == 0
    return capsys.readouterr().out


def test_the_table_says_what_is_there(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, recorded)
    lines = text.splitlines()
    with Dataset.open(recorded) as data:
        facts = inspect_dataset(data)
    assert lines[0] == "pong  104x80 at 15 fps, mix, seed 0"
    assert lines[1] == "400 transitions (complete), 404 frames, 4 episodes: 26.7 s of play"
    assert "MB in 2 shards, " in lines[2]
    assert lines[3].endswith("; 100 steps each, 40 to 120")
    shares = {
        line.split()[0]: float(line.split()[1]) for line in lines if line.endswith(("█", *"▏▎▍▌▋▊▉")) and "%" in line
    }
    assert shares == {name: round(count / 4, 1) for name, count in facts["actions"].items()}
    longest = max(lines, key=lambda line: line.count("█"))
    assert longest.split()[0] == max(facts["actions"], key=facts["actions"].get)
    assert longest.count("█") == 28
    assert "\x1b[" not in text  # no colours where nobody looks


def test_returns_are_drawn_on_one_scale(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Dataset.open(recorded) as data:
        episodes = [data.read(ref) for ref in data.episodes]
    played = []
    for total, name, episode in zip((-4, 0, 4, 2), ("bad", "bad", "good", "good"), episodes, strict=True):
        rewards = np.zeros(episode.steps, np.float32)
        rewards[0] = total
        played.append(replace(episode, rewards=rewards, behaviour=name))
    text = told(capsys, with_episodes(tmp_path / "data", recorded, played))
    bad, good = (next(line for line in text.splitlines() if line.startswith(f"  {name}")) for name in ("bad", "good"))
    assert bad.count("●") == good.count("●") == 1
    assert bad.index("━") < bad.index("●") < good.index("●")
    assert bad.endswith("mean    -2.00, -4 to 0")
    assert good.endswith("mean     3.00, 2 to 4")


def test_json_is_for_programs(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, recorded, "--json", "--quality", "--verify", "--no-coverage"))
    with Dataset.open(recorded) as data:
        assert {key: found[key] for key in inspect_dataset(data)} == inspect_dataset(data)
    assert found["verified"] is True
    assert found["quality"] == {"frames": 404, "black": 0, "frozen": 0, "menu": 0, "cut": 0, "episodes": []}
    assert (found["knows_actions"], found["lossy"], found["notes"]) == (True, False, [])
    assert found["lengths"] == {"episodes": 4, "mean": 100.0, "low": 40.0, "high": 120.0}
    assert "coverage" not in found


def test_quality_names_the_episode_and_the_frames(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, spoilt, "--quality")
    assert "quality:\n  of 363 frames 4 black, 60 frozen, 0 menu; " in text
    assert "  episode 1: found 60 frozen: frames 30-89" in text
    assert "  episode 2: found 4 black: frames 5-8" in text
    assert "episode 0" not in text
    found = json.loads(told(capsys, spoilt, "--quality", "--json"))["quality"]
    assert [(row["episode"], row["seed"]) for row in found["episodes"]] == [(1, 1), (2, 2)]
    assert ["frozen", 30, 90] in found["episodes"][0]["findings"]


def test_quality_reads_an_episode_in_stretches(spoilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset.open(spoilt) as data:
        whole = quality(data)
        one = judge(data.read(data.episodes[1]).frames, 15.0)
        for stretch in (1, 2, 7, 120):
            monkeypatch.setattr("collectors.inspection.STRETCH_BYTES", stretch * 104 * 80 * 3)
            assert quality(data) == whole
    assert whole["episodes"][0] == {"episode": 1, "seed": 1, **one.to_json()}


def test_the_sheet_shows_frames_as_they_are(recorded: Path, tmp_path: Path) -> None:
    assert main(["inspect", str(recorded), "--sheet", str(tmp_path / "sheet.png"), "--no-coverage"]) == 0
    with Dataset.open(recorded) as data:
        plain, titled = contact_sheet(data), titled_sheet(data)
        last = data.read(data.episodes[3]).frames
    picture = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    np.testing.assert_array_equal(picture, titled)
    inner = picture[45:, 132:]
    np.testing.assert_array_equal(inner[::2, ::2], plain)  # twice as large, and a pixel stays a square
    np.testing.assert_array_equal(inner[1::2, 1::2], plain)
    np.testing.assert_array_equal(inner[3 * 212 : 3 * 212 + 208 : 2, :160:2], last[0])
    for row in range(4):  # words stand beside every row
        assert (picture[45 + row * 212 : 45 + row * 212 + 60, :132].max(-1) > 200).sum() > 50


def test_small_frames_have_a_sheet_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_dataset(tmp_path / "data")[0]
    told(capsys, folder, "--sheet", tmp_path / "sheet.png", "--no-coverage")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] > 1000


def test_an_hour_of_play_is_said_so() -> None:
    from app.commands.inspect import _duration

    assert [_duration(seconds) for seconds in (0.5, 59.4, 60, 133.4, 7980)] == [
        *("0.5 s", "59.4 s", "1 min 0 s", "2 min 13 s", "2 h 13 min"),
    ]
