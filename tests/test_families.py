"""Every family is trained from recorded play by one call, under both kinds of actions, and its world is played."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from app.cli import main
from app.commands.bench import bench
from collectors.rollout import CollectConfig, collect
from models.checkpoint import from_json, load_world, read_card
from models.given_actions import RealActions, actions_between, with_actions
from models.motion_actions import MotionActionConfig
from models.patch_actions import PatchActionConfig
from models.registry import FAMILIES
from models.world import InfersActions, Window, WorldSpec
from training import dynamics_table
from training.dynamics_table import TableBudget, details, table, tabulate
from training.exit_gates import gates
from training.families import Look, family_experiment
from training.held_out import held_out
from training.pipeline import Data, Pipeline, check, spec_of
from training.presets import Experiment
from training.rebuilding import pictures
from training.runs import Run
from training.windows import Windows, open_datasets

PONG_LOOK = Look(height=104, width=80, scrolls=False, gray=False, patch=(13, 10))
RUN_LOOK = Look(height=84, width=84, scrolls=True, gray=True, patch=(14, 7))
LOOKS = {"pong": PONG_LOOK, "coinrun-gray": RUN_LOOK}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {game: tmp_path_factory.mktemp(game) for game in LOOKS}
    for game, folder in found.items():
        collect(CollectConfig(game=game, frames=420, episode_frames=60, workers=1), folder)
    return found


def data_of(folder: Path) -> Data:
    everything = Windows(open_datasets((folder,)), "all")
    return Data(everything, everything)


def test_what_frames_look_like_is_seen(play: dict[str, Path]) -> None:
    found = {game: Look.of(data_of(folder).train) for game, folder in play.items()}
    assert (found["pong"].scrolls, found["pong"].gray) == (False, False)
    assert (found["coinrun-gray"].scrolls, found["coinrun-gray"].gray) == (True, True)
    assert found["coinrun-gray"].patch == (14, 7)


@pytest.mark.parametrize("game", list(LOOKS))
@pytest.mark.parametrize("actions", ["latent", "real"])
@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"genie"}))
def test_experiments_fit_the_frames_and_survive_json(play, name: str, actions: str, game: str) -> None:
    found = family_experiment(name, game, LOOKS[game], "tiny", actions)
    check(found, data_of(play[game]))
    assert type(found.family) is FAMILIES[name]
    assert from_json(Experiment, json.loads(json.dumps(asdict(found)))) == found
    assert isinstance(found.family.latent_actions, RealActions) == (actions == "real")
    assert sum(found.shares) == pytest.approx(1)
    assert (found.within(10).lam.minutes == 0) == (actions == "real")


@pytest.mark.parametrize(
    ("name", "game", "actions"),
    [
        *((name, "coinrun-gray", "real") for name in ("pixel_film", "latent_predictor", "latent_flow", "warp")),
        ("latent_flow", "coinrun-gray", "latent"),
        *((name, "pong", "real") for name in ("maskgit", "autoregressive", "one_pass", "regression")),
        *((name, "pong", "latent") for name in ("autoregressive", "regression", "pixel_film", "latent_predictor")),
        ("maskgit", "coinrun-gray", "latent"),
    ],
)
def test_a_family_is_trained_and_played(play, tmp_path: Path, name: str, game: str, actions: str) -> None:
    data = data_of(play[game])
    experiment = family_experiment(name, game, LOOKS[game], "tiny", actions)
    pipeline = Pipeline(experiment, data, Run(tmp_path / "run", {}))
    pipeline.train("lam")
    again = Pipeline(experiment, data, Run(tmp_path / "run", {}, resume=True))  # finished parts are read back
    again.train()
    for part in (again.world.tokenizer, again.world.latent_actions):  # nobody changes them after their time
        assert not any(weight.requires_grad for weight in part.parameters())
    world = load_world(again.finish(tmp_path / "world", {}))
    assert read_card(tmp_path / "world")["family"] == name
    manifest = data.train.datasets[0].manifest
    real = actions == "real"
    assert isinstance(world, InfersActions) != real
    assert len(world.spec.actions) == (len(manifest.action_names) if real else 8)
    assert (world.spec.actions == tuple(manifest.action_names)) == real
    assert world.spec.table is not None
    for one, other in zip(pipeline.world.tokenizer.parameters(), world.tokenizer.parameters(), strict=True):
        assert torch.equal(one, other)
    window = data.train.read(data.train.draw(np.random.default_rng(0), 2, 6), 6)
    state = world.reset(window if real else Window(window.frames))
    later = world.step(state, torch.tensor([0, 1]), torch.Generator().manual_seed(0))
    frame = world.render(later)
    assert (frame.dtype, frame.shape) == (torch.uint8, window.frames[:, 0].shape)
    if LOOKS[game].gray and name not in ("maskgit", "warp"):
        assert torch.equal(frame[:, 0], frame[:, 2])
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert ({json.loads(line)["part"] for line in metrics} >= {"lam"}) != real


def test_a_dream_begins_from_as_many_frames_as_are_looked_at(play) -> None:
    data = data_of(play["coinrun-gray"])
    usual = family_experiment("latent_flow", "coinrun-gray", RUN_LOOK, "tiny", "real")
    backbone = replace(usual.family.dynamics.backbone, history=7)
    long = replace(usual, family=replace(usual.family, dynamics=replace(usual.family.dynamics, backbone=backbone)))
    assert [spec_of(each, data).context for each in (usual, long)] == [4, 7]


def test_windows_grow_late_in_training(play, tmp_path: Path) -> None:
    data = data_of(play["pong"])
    usual = family_experiment("maskgit", "pong", PONG_LOOK, "tiny", "real")
    for late, long in ((12, (2, 12)), (0, (4, 6)), (500, (4, 6))):  # no episode has 500 frames
        experiment = replace(usual, late_length=late, late_from=0.5)
        pipeline = Pipeline(experiment, data, Run(tmp_path / str(late), {}))
        pipeline.train("lam")
        dynamics, seen = pipeline.world.dynamics, []

        def loss(tokens, *rest, seen=seen, known=dynamics.loss):
            seen.append(tuple(tokens.shape[:2]))
            return known(tokens, *rest)

        dynamics.loss = loss
        pipeline.train()
        assert seen == [(4, 6)] * 10 + [long] * 10
    with pytest.raises(ValueError, match="late_from must be in"):
        replace(usual, late_from=1.5)
    with pytest.raises(ValueError, match="late_length must be 0 or more, found -1"):
        replace(usual, late_length=-1)


def test_the_lam_suits_the_frames() -> None:
    eyes = family_experiment("latent_flow", "pong", PONG_LOOK, "tiny").family.latent_actions
    assert isinstance(eyes, PatchActionConfig)
    assert eyes.eyes.patch == (13, 10)
    assert isinstance(family_experiment("maskgit", "x", RUN_LOOK, "tiny").family.latent_actions, MotionActionConfig)
    assert family_experiment("maskgit", "x", RUN_LOOK, "tiny").family.tokenizer.kind == "fsq"


def test_real_actions_want_names_and_idle_where_nobody_pressed() -> None:
    spec = WorldSpec(game="pong", height=8, width=8)
    with pytest.raises(ValueError, match="real actions needs their names"):
        with_actions(spec, RealActions())

    class Named:
        spec = WorldSpec(game="pong", height=8, width=8, actions=("FIRE", "NOOP"))

    frames = torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8)
    assert actions_between(Window(frames), Named()).tolist() == [[1, 1, 1]] * 2
    given = torch.zeros(2, 3, dtype=torch.int64)
    assert actions_between(Window(frames, given), Named()) is given


@pytest.mark.parametrize("count", [3, 100])
def test_pictures_of_what_is_rebuilt_are_of_different_levels(play: dict[str, Path], count: int) -> None:
    class Darker(torch.nn.Module):
        def reconstruct(self, frames: torch.Tensor) -> torch.Tensor:
            return frames // 2

    found = held_out(open_datasets((play["coinrun-gray"],))[0], "all")
    real, rebuilt = pictures(Darker(), found, count)
    assert len(real) == len(rebuilt) == min(count, len(found.episodes)) > 2
    assert all(torch.equal(one // 2, other) for one, other in zip(real, rebuilt, strict=True))
    first, last = (found.read(found.episodes[at]).frames for at in (0, -1))
    for shown, frames in ((real[0], first), (real[-1], last)):
        assert (frames == shown.permute(1, 2, 0).numpy()).all(axis=(1, 2, 3)).any()
    assert not any(torch.equal(real[0], other) for other in real[1:])


def test_the_command_trains_a_family_and_says_what_it_does_not_know(
    play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path))
    usual = ("--data", str(play["pong"]), "--size", "tiny", "--threads", "1", "--autocast", "off")
    flow = ("train", "pong", "--family", "latent_flow", "--actions", "real", *usual)
    assert main([*flow, "--set", "family.dynamics.backbone.kind=dit"]) == 0
    folder = tmp_path / "worlds" / "pong-latent_flow-real"
    card = read_card(folder)
    assert card["config"]["dynamics"]["backbone"]["kind"] == "dit"
    assert "--family latent_flow --actions real" in card["facts"]["command"]

    assert main(["train", "pong", "--family", "latent_ae", *usual]) == 0
    run = tmp_path / "runs" / "pong-latent_ae"
    assert (run / "parts" / "tokenizer.safetensors").is_file()
    assert (run / "best_ckpt.safetensors").is_file()
    lines = [json.loads(line) for line in (run / "val_metrics.jsonl").read_text().splitlines()]
    assert {"part", "step", "psnr", "ssim", "mse", "latent_variance", "latent_mean_norm"} == set(lines[-1])
    lines = [json.loads(line) for line in (tmp_path / "runs" / "pong-latent_flow-real" / "val_metrics.jsonl").open()]
    last = [line for line in lines if line["part"] == "dynamics"][-1]
    assert {"mse", "psnr", "ssim"} < set(last)
    assert last["psnr"] != last["copy_psnr"] > 20
    assert "go on with: dreamcade train pong" in (said := capsys.readouterr().out)
    assert f"--family latent_predictor --tokenizer {run}" in said
    assert not (tmp_path / "worlds" / "pong-latent_ae").exists()
    rebuilt = tmp_path / "rebuilt"
    measure = ("rebuild", str(run), "--data", str(play["pong"]), "--split", "all", "--frames", "60", "--film", "8")
    capsys.readouterr()
    assert main([*measure, "--out", str(rebuilt)]) == 0
    assert "latents: variance" in capsys.readouterr().out
    found = json.loads((rebuilt / "rebuilt.json").read_text())
    assert found["frames"]["tokenizer"]["psnr"]["value"] > 5
    assert found["frames"]["copy_last_frame"]["psnr"]["n"] == found["frames"]["tokenizer"]["psnr"]["n"]
    assert found["latents"]["variance"] > 0
    assert found["frames"]["copy_last_frame"]["ball_ssim"]["value"] < 1
    assert all((rebuilt / f"rebuilt.{kind}").stat().st_size > 100 for kind in ("png", "mp4"))
    assert main(["rebuild", str(folder), "--data", str(play["coinrun-gray"]), "--split", "all"]) == 2
    assert "rebuilds frames of 104x80, the data set has frames of 84x84" in capsys.readouterr().err
    for wrong, said in (
        (("--family", "magic"), "unsupported family 'magic'; supported: autoregressive, genie, latent_ae, "),
        (("--family", "maskgit", "--preset", "genie"), "--family and --preset say the same"),
        (("--family", "maskgit", "--from", "pong"), "leave --family out"),
    ):
        assert main(["train", "pong", *wrong, *usual]) == 2
        assert said in capsys.readouterr().err


def test_parts_of_other_runs_are_taken_if_they_fit(
    play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path))
    usual = ("--data", str(play["pong"]), "--size", "tiny", "--threads", "1", "--autocast", "off", "--family")
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", "lam", *usual, "regression", "--run", str(first)]) == 0
    taken = ("--tokenizer", str(first), "--lam", str(first), "--run", str(second), "--out", str(tmp_path / "world"))
    assert main(["train", "pong", *usual, "regression", *taken]) == 0
    told = capsys.readouterr().out
    assert "tokenizer: done before" in told
    assert "lam: done before" in told
    for part in ("tokenizer", "lam"):
        one, two = (run / "parts" / f"{part}.safetensors" for run in (first, second))
        assert one.read_bytes() == two.read_bytes()
    made = sorted((second / "checkpoints").glob("dynamics_checkpoint_*.pth"))
    found = torch.load(made[0], weights_only=True)
    assert set(found) == {"model", "optimizer_state_dict", "results", "hyperparameters"}
    assert found["optimizer_state_dict"]
    assert found["results"]["n_updates"] == 20
    assert list((second / "visualizations").glob("dynamics_prediction_step_20_*.png"))
    assert json.loads((second / "run_config.json").read_text())["model_architecture"]["tokenizer"]["latent"] == 16

    other = ("--run", str(tmp_path / "third"), "--out", str(tmp_path / "third-world"), "--tokenizer", str(first))
    assert main(["train", "pong", *usual, "regression", *other, "--set", "family.tokenizer.latent=8"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-3:] == [
        "error: the parts do not fit together:",
        "| parameter | tokenizer | lam | dynamics |",
        "| tokenizer.latent | 16 | – | 8 |",
    ]
    assert not (tmp_path / "third").exists()  # so that the command may be corrected
    gray = ("train", "pong", "--data", str(play["coinrun-gray"]), *usual[2:], "latent_flow", *other)
    assert main(["train", "coinrun-gray", *gray[2:]]) == 2
    assert "| frames | 104x80 | – | 84x84 |" in capsys.readouterr().err
    for part, name in (("tokenizer", "Video tokenizer"), ("lam", "LAM")):
        wrong = ("--run", str(tmp_path / f"no-{part}"), f"--{part}", str(play["pong"]))
        assert main(["train", "pong", *usual, "regression", *wrong]) == 2
        assert f"{name} checkpoint not found at {play['pong'] / 'parts' / part}" in capsys.readouterr().err


def test_one_world_learns_two_games(play, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    breakout = tmp_path / "breakout"
    collect(CollectConfig(game="breakout", frames=420, episode_frames=60, workers=1), breakout)
    both = ("--data", str(play["pong"]), "--data", str(breakout), "--run", str(tmp_path / "run"))
    usual = ("--size", "tiny", "--threads", "1", "--autocast", "off", "--out", str(tmp_path / "world"))
    assert main(["train", "pong", *both, *usual]) == 2
    assert "holds 'breakout', expected 'pong'; use --data with frames of pong, or --mix" in capsys.readouterr().err
    assert main(["train", "pong", *both, *usual, "--mix", "--actions", "real"]) == 2
    assert "the games have different actions" in capsys.readouterr().err
    mixed = ("--mix", "--preset", "maskgit", "--set", "weights=(1,3)")
    assert main(["train", "pong", *both, *usual, *mixed]) == 0
    world, card = load_world(tmp_path / "world"), read_card(tmp_path / "world")
    assert world.spec.game == "pong"
    assert [found["game"] for found in card["facts"]["data"]] == ["pong", "breakout"]
    assert world.spec.table.real_actions == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    dataset = open_datasets((breakout,))[0]
    frames = torch.from_numpy(dataset.read(dataset.episodes[0], 0, 5).frames.transpose(0, 3, 1, 2).copy())[None]
    assert torch.equal(world.reconstruct(frames), frames)  # it knows the other game's patches, too


BUDGET = TableBudget(tokenizer=0.01, lam=0.01, dynamics=0.01, clips=3, dreams=1, frames=10)


def test_rows_share_their_parts_and_are_not_done_twice(play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, dataset = data_of(play["pong"]), open_datasets((play["pong"],))[0]
    said: list[str] = []
    rows = ("regression", "latent_predictor", "latent_flow")  # in the order of the table
    measured = held_out(dataset, "all")
    found = tabulate(data, measured, tmp_path, BUDGET, rows, ("real",), size="tiny", say=said.append)
    assert list(found["rows"]) == [f"{name}-real" for name in rows]
    assert any("latent_flow-real: tokenizer: done before" in line for line in said)
    one, two = (tmp_path / f"{name}-real" / "parts" / "tokenizer.safetensors" for name in rows[1:])
    assert one.read_bytes() == two.read_bytes()
    regression, predictor, flow = (found["rows"][f"{name}-real"] for name in rows)
    assert flow["minutes"]["tokenizer"] >= 0.9 * predictor["minutes"]["tokenizer"] > 0
    assert predictor["drawn"]["samples"] == 1
    assert not {"best", "mean", "diversity"} & set(predictor["drawn"])
    assert flow["drawn"]["best"]["value"] <= flow["drawn"]["each"]["value"]
    assert flow["drawn"]["diversity"]["value"] > 0
    assert set(flow["few_steps"]["mse"]) == {"1", "2", "4", "16"}
    assert predictor["autoencoder"]["latents"]["variance"] > 0
    assert regression["regressed"]["below_copy"] < 1
    assert predictor["regressed"] is None
    lines = table(found).splitlines()
    assert lines[0].startswith("| pong | MSE·10³ @1 |")
    cells = {line.split(" | ")[0][2:]: line.strip("| ").split(" | ") for line in lines[2:]}
    still = found["rows"]["latent_flow-real"]["card"]["prediction"]["copy_last_frame"]["10"]["mse"]["value"]
    assert cells["copy last frame"][3] == dynamics_table._shown(1000 * still)
    assert "latent flow-real" in cells
    titles, *more = (line.strip("| ").split(" | ") for line in details(found).splitlines() if "---" not in line)
    below = dict(zip(titles, more[0], strict=True))["vectors below copied ones"]
    assert (more[0][0], below) == ("regression-real", dynamics_table._shown(regression["regressed"]["below_copy"]))
    assert more[1][titles.index("best of 8, MSE·10³ @10")] == "–"  # it draws nothing
    assert float(more[1][titles.index("one dream, MSE·10³ @10")]) > 0
    asked = gates(found)
    assert {gate.row for gate in asked} == {f"{name}-real" for name in rows}
    assert next(gate.holds for gate in asked if gate.what == "diversity")
    assert not [gate for gate in asked if gate.found is None]
    monkeypatch.setattr(dynamics_table, "_row", lambda *rest: pytest.fail("done before"))
    again = tabulate(data, measured, tmp_path, BUDGET, rows[:1], ("real",), size="tiny")
    assert again == found  # those that were not asked for, too
    (kept := tmp_path / "kept").mkdir()
    for name in rows:
        shutil.copy(tmp_path / f"{name}-real.json", kept)
    elsewhere = tabulate(data, measured, tmp_path / "new", BUDGET, rows, ("real",), size="tiny", results=kept)
    assert elsewhere == found
    with pytest.raises(ValueError, match="was made under other terms"):
        tabulate(data, measured, tmp_path, BUDGET, rows, ("real",), size="tiny", seed=2)


def test_the_table_refuses_what_is_not_there(play, tmp_path: Path) -> None:
    pong = ["dynamics", "--data", str(play["pong"]), "--out", str(tmp_path)]
    done = CliRunner().invoke(bench, [*pong, "--family", "diamond"])
    assert "no row 'diamond'" in str(done.exception)
    done = CliRunner().invoke(bench, [*pong, "--held-out", "x", "--held-out", "y"])
    assert "1 --data need as many --held-out or none, found 2" in str(done.exception)
    with pytest.raises(ValueError, match="minutes of lam must be above 0"):
        TableBudget(lam=0)
