"""From the real game to a world that is played and measured, tiny, by the commands a person types."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from app.cli import main
from collectors.shards import Dataset
from models.checkpoint import load_starts, load_world, read_card


@pytest.mark.parametrize("preset", ["maskgit", "warp"])
def test_collect_train_dream_play_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    data, run, folder = (tmp_path / name for name in ("data", "run", "world"))

    def dreamcade(*words: object) -> str:
        capsys.readouterr()
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        assert status == 0, told.err
        return told.out

    collect = ("collect", "pong", "--frames", 600, "--episode-frames", 150, "--shard-frames", 320, "--workers", 1)
    assert "complete, 600 transitions in 4 episodes, pong" in dreamcade(*collect, "--out", data)

    small = ("--size", "tiny", "--preset", preset, "--threads", 1, "--autocast", "off", "--run", run, "--out", folder)
    assert "tokenizer is done" in dreamcade("train", "tokenizer", "--data", data, *small)
    assert not folder.exists()
    assert f"world written to {folder}" in dreamcade("train", "pong", "--data", data, *small, "--resume")

    world, card = load_world(folder), read_card(folder)
    assert (world.spec.game, world.spec.height, world.spec.width) == ("pong", 104, 80)
    assert [name.split(" · ")[0] for name in world.spec.actions] == [f"latent {code}" for code in range(8)]
    table = world.spec.table
    assert sum(table.usage) == pytest.approx(1)
    with Dataset.open(data) as dataset:
        assert sum(map(sum, table.counts[0])) == dataset.manifest.steps
        assert tuple(dataset.manifest.action_names) == table.real_actions
        seen = {frame.tobytes() for ref in dataset.episodes for frame in dataset.read(ref).frames}
    assert card["facts"]["data"][0]["frames"] == 604
    assert set(card["facts"]["minutes"]) == {"tokenizer", "lam", "dynamics"}
    tokenizer = card["facts"]["experiment"]["family"]["tokenizer"]
    assert tokenizer["kind"] == "patch" if preset == "maskgit" else tokenizer["latent"] == 32
    clips = load_starts(folder)
    assert all(len(clip) == world.spec.context for clip in clips)
    frames = torch.cat(clips).permute(0, 2, 3, 1).contiguous().numpy()
    assert all(frame.tobytes() in seen for frame in frames)  # stored without loss
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["part"] for line in lines} == {"tokenizer", "lam", "dynamics"}
    assert all(math.isfinite(line.get("loss", 0)) for line in lines)
    assert {path.name.split("-")[0] for path in (run / "previews").iterdir()} == {"tokenizer", "lam", "dynamics"}

    for name in ("one", "two"):
        dreamcade("dream", folder, "--seed", 3, "--actions", "0,1,2,3,4,5", "--out", tmp_path / f"{name}.npz")
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert (one["frames"].dtype, one["frames"].shape) == (np.uint8, (7, 104, 80, 3))
    assert one["actions"].tolist() == [0, 1, 2, 3, 4, 5]
    if preset == "maskgit":
        assert one["frames"][0].tobytes() in seen
    else:  # 32 numbers for the 48 of a patch: not every pixel
        assert (
            min(
                np.abs(one["frames"][0].astype(int) - np.frombuffer(f, np.uint8).reshape(104, 80, 3)).mean()
                for f in seen
            )
            < 3
        )
    np.testing.assert_array_equal(one["frames"], two["frames"])
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()

    out = dreamcade("play", folder, "--max-frames", 5, "--threads", 1, "--fps", 0)
    assert "first dreamed frame after" in out
    assert "dreamed 5 frames" in out

    measure = ("evaluate", folder, "--data", data, "--split", "all", "--clips", 2, "--dreams", 1, "--judged", 4)
    dreamcade(*measure, "--dream-frames", 10, "--json", tmp_path / "card.json", "--write")
    scores = json.loads((tmp_path / "card.json").read_text())
    assert read_card(folder)["facts"]["scorecard"] == scores
    assert main(["play", str(folder), "--max-frames", "2", "--fps", "0"]) == 0  # as it is with its scorecard
