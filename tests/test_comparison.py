"""Recipes side by side: every row trains, is measured, and is not done twice."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands.bench import bench
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from training import comparison
from training.comparison import ROWS, Budget, compare, table
from training.held_out import held_out
from training.loop import Interrupted
from training.pipeline import Data
from training.presets import PRESETS
from training.windows import Windows, open_datasets

BUDGET = Budget(minutes=0.01, clips=2, dreams=1, frames=10, judged=0)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("play")
    collect(CollectConfig(game="pong", frames=420, episode_frames=60, workers=1), folder)
    return folder


def data_of(folder: Path) -> tuple[Data, Dataset]:
    datasets = open_datasets((folder,))
    everything = Windows(datasets, "all")
    return Data(everything, everything), datasets[0]


def test_every_row_but_ours_is_a_preset() -> None:
    assert set(ROWS) - {"ours"} <= set(PRESETS)


def test_rows_are_trained_measured_and_kept(play: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, dataset = data_of(play)
    said: list[str] = []
    names = ("ours", "genie")
    found = compare(data, held_out(dataset, "all"), tmp_path, "maskgit", BUDGET, names, size="tiny", say=said.append)
    assert list(found["rows"]) == list(names)
    for name in names:
        row = found["rows"][name]
        assert 0.005 < sum(row["minutes"].values()) < 2
        assert row["card"]["prediction"]["world"]["10"]["psnr"]["n"] == 2
        assert (tmp_path / name / "world" / "model.safetensors").is_file()
    text = table(found)
    head, *lines = text.splitlines()
    assert head == "| | ours | genie | copy last frame |"
    shown = {line.split(" | ")[0][2:]: line.strip("|").split(" | ") for line in lines[1:]}
    card = found["rows"]["genie"]["card"]
    assert shown["PSNR after 10, dB"][2].strip() == f"{card['prediction']['world']['10']['psnr']['value']:.1f}"
    assert shown["reconstruction, dB"][3].strip() == "–"
    assert "told from real after 16" not in shown  # nobody was judged
    monkeypatch.setattr(comparison, "_row", lambda *rest: pytest.fail("done before"))
    again = compare(data, held_out(dataset, "all"), tmp_path, "maskgit", BUDGET, names, size="tiny")
    assert again == found
    with pytest.raises(ValueError, match="was made under other terms"):
        compare(data, held_out(dataset, "all"), tmp_path, "maskgit", BUDGET, names, size="tiny", seed=3)


@pytest.mark.parametrize("name", ["tinyworlds", "one-pass"])
def test_the_other_rows_train(play: Path, tmp_path: Path, name: str) -> None:
    data, dataset = data_of(play)
    found = compare(data, held_out(dataset, "all"), tmp_path, "maskgit", BUDGET, (name,), size="tiny")
    assert found["rows"][name]["preset"] == name
    if name == "one-pass":
        assert found["rows"][name]["card"]["sampling"]["steps"] == 1


def test_a_stopped_comparison_says_how_it_goes_on(play: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*rest: object, **told: object) -> None:
        raise Interrupted

    monkeypatch.setattr(comparison, "compare", stopped)
    folder = tmp_path / "new" / "folder"
    done = CliRunner().invoke(bench, ["families", "--data", str(play), "--split", "all", "--out", str(folder)])
    assert done.exit_code == 130
    assert f"the same command goes on: --out {folder}" in done.output
    assert (folder / "autocast.txt").read_text() in ("on\n", "off\n")


def test_a_row_that_is_not_there_is_refused(play: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["families", "--data", str(play), "--out", str(tmp_path), "--only", "diamond"])
    assert done.exit_code != 0
    assert "no row 'diamond'" in str(done.exception)
    with pytest.raises(ValueError, match="minutes must be above 0"):
        Budget(minutes=0)
