"""The scorecard of worlds whose faults are known: each fault must cost its own figure, and no other world's."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from toy_pong import ToyPlay, ToyPong

from models.world import ActionTable, Window
from training.dream_statistics import (
    Eyes,
    Palette,
    Stretch,
    collapse,
    detail,
    frozen,
    limits,
    look,
    rates,
)
from training.dreams import dream, dream_section, held_codes, real_stretches
from training.evaluation import EvaluationOptions, evaluate, rebuild
from training.held_out import HeldOut, held_out
from training.metrics import PSNR_CAP, run_lengths
from training.pong_probe import PongProbe
from training.report import markdown, save_sheet
from training.rollouts import choose_spots, code_gain, prediction

OPTIONS = EvaluationOptions(clips=6, gain_clips=24, dreams=3, dream_frames=120, judged=8, speed_frames=5)
TABLE = ActionTable(
    real_actions=("NOOP",),
    counts=(((1,), (1,), (1,)),),
    best_lag=0,
    mutual_information=(0.0,),
    usage=(0.4, 0.3, 0.3),
    moves=({}, {}, {}),
    labels=("STILL", "UP", "DOWN"),
    agreement=(1.0, 1.0, 1.0),
)


class CopyWorld:
    """Shows its last real frame for ever; can neither infer nor reconstruct; its ids are the game's buttons."""

    spec = replace(ToyPong().spec, actions=("NOOP", "FIRE", "RIGHT", "LEFT"))

    def reset(self, window: Window, rng=None):
        return {"frame": window.frames[:, -1]}

    def step(self, state, action, rng=None):
        return state

    def render(self, state):
        return state["frame"]


@pytest.fixture(scope="module")
def play():
    return ToyPlay(steps=120)


@pytest.fixture(scope="module")
def palette(play):
    return Palette(play.whole[0].frames)


@pytest.fixture(scope="module")
def card(play, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strips")
    return evaluate(ToyPong(), play, replace(OPTIONS, strips=folder)), folder


def dreams_of(fault, play, palette, frames=150):
    probe = PongProbe()
    eyes = Eyes(probe=probe, palette=palette)
    dreamed, _ = dream(ToyPong(fault), play, eyes, dreams=3, frames=frames, seed=0)
    return dream_section(dreamed, real_stretches(play, eyes, None, probe), probe, TABLE, seed=0)


def value(figure):
    return figure["value"]


def test_a_perfect_world_gets_full_marks(card):
    found = card[0]
    for row in ("psnr", "moving_psnr"):
        assert value(found["tokenizer"]["tokenizer"][row]) == PSNR_CAP
        assert value(found["prediction"]["world"]["50"][row]) == PSNR_CAP
    assert value(found["tokenizer"]["tokenizer"]["exact"]) == 1
    assert value(found["tokenizer"]["tokenizer"]["ball"]) == 1
    assert value(found["prediction"]["world"]["10"]["player"]) == 1
    assert value(found["lam"]["direction"]["balanced_accuracy"]) == 1
    assert found["lam"]["direction"]["nmi"] == pytest.approx(1)
    assert found["lam"]["codes_over_5_percent"] == 3
    assert found["lam"]["best_lag"] == found["lam"]["real_action"]["lag"] == 1
    assert value(found["dreams"]["world"]["all"]["obeys_move"]) == 1
    assert value(found["dreams"]["real"]["all"]["obeys_move"]) == 1
    assert value(found["dreams"]["world"]["all"]["obeys_by_chance"]) < 0.6
    assert value(found["dreams"]["world"]["all"]["read_back"]) > 0.75  # a paddle at a wall does not tell
    assert 0.2 < value(found["dreams"]["world"]["all"]["read_back_by_chance"]) < 0.6
    assert "read_back" not in found["dreams"]["real"]["all"]
    answers = found["dreams"]["response"]
    assert {value(share) for share in answers["world"].values()} == {1}
    assert (
        value(answers["real"]["1"]) < value(answers["real"]["2"]) == value(answers["real"]["4"]) == 1
    )  # one step late
    assert found["dreams"]["collapse"]["collapsed"] == 0
    assert value(found["prediction"]["delta4_psnr"]["player_moves"]) > 20
    assert value(found["prediction"]["delta4_pooled_db"]["all"]) > 20


def test_codes_that_do_nothing_are_not_read_back(play, palette):
    rates = {fault: dreams_of(fault, play, palette)["world"]["all"] for fault in ("deaf", "mirrored")}
    assert value(rates["deaf"]["read_back"]) < 0.6
    assert value(rates["mirrored"]["read_back"]) < 0.6


def test_baselines_stand_beside_it(card):
    found = card[0]
    assert value(found["tokenizer"]["constant"]["ball"]) < 0.1
    assert 25 < value(found["tokenizer"]["constant"]["psnr"]) < 40  # PSNR alone would praise it
    assert value(found["tokenizer"]["copy_last_frame"]["ball"]) < 0.1
    assert set(found["prediction"]) >= {"world", "copy_last_frame", "tokenizer"}
    assert set(found["prediction"]["world"]) == {"1", "4", "10", "30", "50", "100"}
    copied = [value(found["prediction"]["copy_last_frame"][h]["psnr"]) for h in ("1", "50")]
    assert copied[0] > copied[1]


def test_the_scorecard_is_plain_json_with_counts(card):
    found = json.loads(json.dumps(card[0], allow_nan=False))
    figure = found["tokenizer"]["tokenizer"]["psnr"]
    assert set(figure) == {"value", "low", "high", "n", "clusters"}
    assert figure["n"] == 4 * 120  # every frame but each episode's first
    assert figure["clusters"] == 4 * 3
    assert found["prediction"]["world"]["1"]["psnr"]["n"] == 6
    assert [(block["start"], block["stop"]) for block in found["dreams"]["world"]["blocks"]] == [(0, 120)]
    assert set(found["dreams"]["real"]) == {"all", "random", "sticky"}
    assert found["speed"]["frames"] == 5
    assert found["data"]["frames_by_behaviour"] == {"random": 242, "sticky": 242}
    assert "labels were measured" in found["notes"][0]


def test_the_same_seed_gives_the_same_scorecard():
    few = ToyPlay(episodes=2, steps=40)
    options = replace(OPTIONS, clips=3, dream_frames=30)
    first, again, other = (evaluate(ToyPong(), few, replace(options, seed=seed)) for seed in (0, 0, 1))
    for found in (first, again, other):
        found.pop("speed")
    assert first == again
    assert first != other


def test_strips_and_report(card):
    found, folder = card
    assert {path.name for path in Path(folder).glob("*.png")} == {"tokenizer.png", "prediction.png", "dreams.png"}
    text = markdown(found)
    assert "| world | 10 | 100 [100, 100] |" in text
    assert "obeys_move | 1 [1, 1]" in text
    assert "0 of 3 dreams collapsed" in text
    early = found["prediction"]["first_frames"]
    assert value(early["world"]["psnr"]) == PSNR_CAP
    assert value(early["world"]["ssim"]) == pytest.approx(1)
    copied = value(early["copy_last_frame"]["psnr"])
    one, ten = (value(found["prediction"]["copy_last_frame"][step]["psnr"]) for step in ("1", "10"))
    assert ten < copied < one
    shown = f"world 100 [100, 100] dB, SSIM 1 [1, 1]; copy last frame {copied:.4g}"
    assert f"mean over the first 10 frames: {shown}" in text


def test_a_copy_of_the_last_frame_obeys_nobody(play):
    found = evaluate(CopyWorld(), play, replace(OPTIONS, horizons=(1, 4)))
    assert value(found["lam"]["code_gain"]) == 1  # the section is about the game's own actions
    assert found["lam"]["codes"] == 4
    assert "lam_code_gain" not in found["lam"]
    assert "tokenizer" not in found
    assert found["prediction"]["world"]["4"] == found["prediction"]["copy_last_frame"]["4"]
    assert value(found["prediction"]["delta4_psnr"]["all"]) == 0
    assert value(found["dreams"]["world"]["all"]["ball_frozen"]) == 1
    assert found["dreams"]["collapse"]["collapsed"] == 3
    assert "the world is under the game's own actions: section 'lam' is about these" in found["notes"]


def test_deaf_and_mirrored_worlds_do_not_obey(play, palette):
    for fault, still in (("deaf", 1), ("mirrored", 1)):
        found = dreams_of(fault, play, palette)["world"]["all"]
        assert value(found["obeys_move"]) == 0
        assert value(found["obeys_still"]) == still
        assert value(found["ball_exactly_one"]) == 1  # its pictures are faultless all the same


def test_codes_that_do_nothing_have_a_gain_of_one(play):
    probe = PongProbe()
    assert code_gain(ToyPong("deaf"), play, probe, clips=24, seed=0).value == 1
    assert code_gain(ToyPong(), play, probe, clips=24, seed=0).value > 100
    assert code_gain(ToyPong("mirrored"), play, probe, clips=24, seed=0).value < 1.5
    rows, _ = prediction(ToyPong("deaf"), play, probe, clips=4, seed=0, horizons=(4,))
    assert value(rows["delta4_psnr"]["all"]) == 0
    assert value(rows["delta4_pooled_db"]["all"]) == pytest.approx(0)


@pytest.mark.parametrize(
    ("fault", "rate", "want", "collapses"),
    [
        ("two_balls", "ball_two_or_more", 1, True),
        ("no_ball", "ball_none", 1, True),
        ("broken", "player_one_piece", 0, True),
        ("stuck", "ball_frozen", 1, True),
        ("snow", "off_palette", 400 / 8320, True),
    ],
)
def test_each_fault_costs_its_own_rate(fault, rate, want, collapses, play, palette):
    found = dreams_of(fault, play, palette)
    assert value(found["world"]["all"][rate]) == pytest.approx(want, abs=0.002)
    assert found["collapse"]["collapsed"] == (3 if collapses else 0)
    healthy = {"ball_two_or_more": 0, "ball_none": 0, "player_one_piece": 1, "ball_frozen": 0, "off_palette": 0}
    for name, rest in healthy.items():
        if name != rate:
            assert value(found["world"]["all"][name]) == rest
    assert value(found["real"]["all"][rate]) == healthy[rate]
    assert found["collapse_of_real_play"]["collapsed"] == 0


def test_collapse_is_dated():
    probe = PongProbe()
    frames = ToyPlay(episodes=1, steps=240).whole[0].frames
    palette = Palette(frames)
    eyes = Eyes(probe=probe, palette=palette)
    limit = limits([look(frames, eyes)], probe)
    spoiled = frames.copy()
    spoiled[100:, 90, 30] = spoiled[100:, 20, 50] = 236
    assert collapse(look(spoiled, eyes), limit) == 130  # 31 of the last 60 frames
    stopped = frames.copy()
    stopped[100:] = frames[100]
    assert collapse(look(stopped, eyes), limit) == 100
    assert collapse(look(frames, eyes), limit) is None


def test_detail_is_what_neighbours_differ_by():
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    frames[1, :, ::2] = 30  # columns differ by 30, rows not at all
    assert detail(frames).tolist() == [0.0, 15.0]


def test_a_dream_that_blurs_has_collapsed():
    """With no probe and too many colours for a palette, as in games that scroll."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (200, 24, 32, 3)).astype(np.uint8)
    eyes = Eyes(probe=None, palette=Palette(frames))
    limit = limits([look(frames, eyes)], None)
    blurred = frames.copy()
    blurred[80:] = frames[80:] // 4 + 96
    seen = look(blurred, eyes)
    assert collapse(look(frames, eyes), limit) is None
    assert collapse(seen, limit) == 110  # 31 of the last 60 frames
    found = rates([seen], None, limit, None, seed=0)
    assert found["detail_in_range"]["value"] == pytest.approx(0.4, abs=0.02)
    assert found["detail"]["value"] == pytest.approx(0.4 * 85 + 0.6 * 21, rel=0.05)


def test_runs_and_frozen_balls():
    assert run_lengths(np.array([1, 1, 0, 1, 1, 1], bool)).tolist() == [1, 2, 0, 1, 2, 3]
    moving = ToyPlay(episodes=1, steps=130).whole[0].frames
    stopped = moving.copy()
    stopped[50:109] = stopped[50]
    assert frozen(PongProbe().detect(stopped)).sum() == 0  # 59 frames
    stopped[109] = stopped[50]
    held = frozen(PongProbe().detect(stopped))
    assert np.flatnonzero(held).tolist() == list(range(50, 110))


def test_changed_pixels_run_across_buffers(play, palette):
    frames = play.whole[0].frames[:40]
    eyes = Eyes(probe=None, palette=palette)
    whole = look(frames, eyes)
    later = look(frames[20:], eyes, before=frames[19])
    assert np.isnan(whole.changed[0])
    assert np.array_equal(whole.changed[20:], later.changed)


def test_a_palette_of_too_many_colours_says_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3)).astype(np.uint8)
    assert np.isnan(Palette(noise).off(noise)).all()


def test_codes_are_held_for_one_to_eight_frames():
    codes = held_codes(40, 500, 3, seed=1)
    assert np.bincount(codes.ravel()).min() > 5000
    lengths = np.diff(np.flatnonzero(np.diff(held_codes(1, 20000, 10**6, seed=1)[0])))
    assert (lengths.min(), lengths.max()) == (1, 8)
    assert np.array_equal(codes, held_codes(40, 500, 3, seed=1))


def test_spots_fit_and_spread(play):
    spots = choose_spots(play, 54, 30, seed=0)
    assert len(set(spots)) == 30
    assert all(start + 54 <= 121 for _, start in spots)
    assert {number for number, _ in spots} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"needs episodes of 200 frames, the longest here has 121; record longer"):
        choose_spots(play, 200, 4, seed=0)


def test_a_tokenizer_that_loses_the_ball_is_found_out():
    few = ToyPlay(episodes=2, steps=40)
    found = evaluate(ToyPong("blind"), few, replace(OPTIONS, dream_frames=10, clips=2, horizons=(1,)))
    row = found["tokenizer"]["tokenizer"]
    assert value(row["psnr"]) > 39
    assert value(row["ball"]) == 0
    assert value(row["player"]) == 1
    assert value(found["prediction"]["tokenizer"]["1"]["ball"]) == 0


def test_rebuilding_keeps_every_frame_in_its_place():
    class Counting:
        def reconstruct(self, frames):
            assert frames.shape[1] == 4
            return frames

    frames = torch.arange(11, dtype=torch.uint8).view(11, 1, 1, 1).expand(11, 3, 2, 2).contiguous()
    assert torch.equal(rebuild(Counting(), frames, 4, batch=2), frames)


@pytest.mark.parametrize(
    ("field", "found"), [("game", "'breakout' at 104x80"), ("height", "'pong' at 96x80"), ("width", "'pong' at 104x64")]
)
def test_play_of_another_game_or_size_is_refused(field, found):
    play = ToyPlay(episodes=1, steps=5)
    setattr(play.manifest, field, {"game": "breakout", "height": 96, "width": 64}[field])
    with pytest.raises(ValueError, match=f"data set holds {found} but the world plays 'pong' at 104x80"):
        evaluate(ToyPong(), play, OPTIONS)


def test_short_episodes_drop_the_far_horizons():
    found = evaluate(ToyPong(), ToyPlay(steps=30), replace(OPTIONS, dream_frames=10))
    assert set(found["prediction"]["world"]) == {"1", "4", "10"}
    assert any("no episode is long enough for all horizons [1, 4, 10, 30, 50, 100]" in note for note in found["notes"])


def test_options_are_checked():
    with pytest.raises(ValueError, match="dream frames must be at least 1, found 0"):
        EvaluationOptions(dream_frames=0)


def test_splits_hold_what_training_did_not_see(play):
    play.folder = Path("there")
    whole = held_out(play, "all")
    assert isinstance(whole, HeldOut)
    assert whole.episodes == play.episodes
    with pytest.raises(ValueError, match=r"no split 'mine'; known are held-out, validation, test, all"):
        held_out(play, "mine")
    with pytest.raises(ValueError, match=r"none of the 4 episodes of there is in the split 'test'; record more"):
        held_out(play, "test")


def test_sheets_are_rows_of_frames(tmp_path):
    from PIL import Image

    frame = torch.full((3, 4, 5), 200, dtype=torch.uint8)
    save_sheet(tmp_path / "deep" / "sheet.png", [[frame, frame], [frame]], zoom=2, gap=1)
    with Image.open(tmp_path / "deep" / "sheet.png") as image:
        assert image.size == (2 * 11, 2 * 9)
        assert image.getpixel((0, 0)) == (200, 200, 200)
        assert image.getpixel((10, 0)) == (0, 0, 0)
    save_sheet(tmp_path / "empty.png", [])
    assert not (tmp_path / "empty.png").exists()


@pytest.fixture
def toy_command(tmp_path, monkeypatch):
    """`dreamcade evaluate` on the toy world, as words → result, and what it writes into the world's card."""
    import collectors.shards
    import models.checkpoint
    from app import library
    from app.commands.evaluate import evaluate as command

    play = ToyPlay(episodes=2, steps=40)
    play.folder = tmp_path
    play.__class__.__enter__, play.__class__.__exit__ = lambda self: self, lambda self, *failure: None
    written = {}
    monkeypatch.setattr(collectors.shards.Dataset, "open", lambda path: play)
    monkeypatch.setattr(library, "pick", lambda name: tmp_path)
    monkeypatch.setattr(models.checkpoint, "load_world", lambda folder, device: ToyPong())
    monkeypatch.setattr(models.checkpoint, "update_facts", lambda folder, facts: written.update(facts))
    line = ["toy", "--data", str(tmp_path), "--split", "all", "--clips", "2", "--dreams", "2", "--dream-frames", "20"]
    return lambda *words: CliRunner().invoke(command, [*line, *map(str, words)]), written


def test_the_command_measures_and_writes(tmp_path, toy_command):
    command, written = toy_command
    out = tmp_path / "out" / "card.json"
    result = command("--json", out, "--write")
    assert result.exit_code == 0
    card = json.loads(out.read_text())
    assert card["data"]["split"] == "all"
    assert written["scorecard"]["dreams"] == card["dreams"]
    assert "# pong: 82 held-out frames in 2 episodes, seed 0" in result.output


def test_a_full_disk_does_not_cost_the_report(tmp_path, toy_command, monkeypatch):
    command, out = toy_command[0], tmp_path / "card.json"
    out.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = command("--json", out)
    assert "# pong: 82 held-out frames in 2 episodes, seed 0" in result.output
    assert str(result.exception).startswith(f"cannot write {out}: no space left on the disk; make room")
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".draft*"))


def test_stretches_without_a_probe_have_no_object_rows(play, palette):
    real = real_stretches(play, Eyes(probe=None, palette=palette), None, None)
    assert isinstance(real[0], Stretch)
    dreamed, _ = dream(ToyPong(), play, Eyes(probe=None, palette=palette), dreams=2, frames=20, seed=0)
    found = dream_section(dreamed, real, None, None, seed=0)
    reading = {"read_back", "read_back_by_chance"}
    assert set(found["world"]["all"]) == {"churn", "off_palette", "detail", "detail_in_range"} | reading
