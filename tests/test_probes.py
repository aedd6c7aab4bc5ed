"""The Pong probe against the emulator's memory, and against pictures that were spoiled on purpose."""

import time

import numpy as np
import pytest
from toy_pong import GREEN, WHITE, draw

from collectors import pong
from collectors.labels import objects
from training.pong_probe import PongProbe
from training.probes import joined, near, paddle_near, probe_for

BROWN = (144, 72, 17)


@pytest.fixture(scope="module")
def recorded():
    """1,500 frames of real Pong as they are stored, and what the console's memory says is on them."""
    from ale_py import ALEInterface, LoggerMode, roms

    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setInt("random_seed", 5)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path("pong"))
    ale.reset_game()
    keys, rng = ale.getMinimalActionSet(), np.random.default_rng(5)
    frames, truth, held, key = [], [], 0, 0
    while len(frames) < 1500:
        if held == 0:
            key, held = keys[rng.integers(6)], rng.integers(1, 9)
        held -= 1
        for _ in range(4):
            ale.act(key)
        frames.append(ale.getScreenRGB()[2:210:2, ::2])
        ram = ale.getRAM()
        truth.append(objects((pong.boxes(ram),) * 2, (2, 210), 104, 80, decimated=True))
        if ale.game_over():
            ale.reset_game()
    return np.stack(frames), np.stack(truth)


@pytest.fixture
def plain():
    """One clean frame: ball at (40, 30), the player's paddle in rows 50 to 57, the enemy's in 36 to 43."""
    return draw(np.array([[40, 30, 1, 1, 50]]))


def test_the_ball_is_where_the_memory_says(recorded):
    frames, truth = recorded
    seen = PongProbe().detect(frames)
    ball = truth[:, 0]
    assert ((seen.balls > 0) == (ball[:, 0] > 0)).mean() >= 0.99
    assert seen.balls.max() == 1  # real play never shows two
    assert seen.blobs.sum() == 0
    both = (seen.balls == 1) & (ball[:, 0] > 0)
    assert both.sum() > 500
    assert (np.abs(seen.centres[both, 0] - ball[both, 1:]).max(1) <= 1).mean() >= 0.99


@pytest.mark.parametrize(("name", "column"), [("player", 1), ("enemy", 2)])
def test_the_paddles_are_where_the_memory_says(recorded, name, column):
    frames, truth = recorded
    paddle = PongProbe().detect(frames).paddles[name]
    assert (paddle.visible == (truth[:, column, 0] > 0)).mean() >= 0.99
    both = paddle.visible & (truth[:, column, 0] > 0)
    assert (np.abs(paddle.at[both] - truth[both, column, 1]) <= 1.5).mean() >= 0.99
    assert (paddle.pieces[both] == 1).mean() >= 0.99


def test_a_clean_frame_is_read_exactly(plain):
    seen = PongProbe().detect(plain)
    assert seen.balls.tolist() == [1]
    assert seen.centres[0, 0].tolist() == [40.5, 30.0]
    player = seen.player
    assert (player.first[0], player.last[0], player.length[0], player.pieces[0], player.at[0]) == (50, 57, 8, 1, 53.5)
    assert PongProbe().table(seen)[0].tolist() == [[1, 40.5, 30], [1, 53.5, 70.5], [1, 39.5, 8.5]]


def test_two_balls_are_two_and_one_erased_is_none(plain):
    two = plain.copy()
    two[0, 70:72, 50] = WHITE
    none = plain.copy()
    none[0, 40:42, 30] = BROWN
    seen = PongProbe().detect(np.concatenate([two, none]))
    assert seen.balls.tolist() == [2, 0]
    assert sorted(seen.centres[0, :2].tolist()) == [[40.5, 30.0], [70.5, 50.0]]
    assert np.isnan(seen.centres[1]).all()


def test_a_fast_ball_in_two_dots_is_one_ball(plain):
    plain[0, 40:42, 32] = WHITE  # one pixel of gap, as the pooling of two raw frames gives
    far = plain.copy()
    far[0, 40:42, 32] = BROWN
    far[0, 40:42, 33] = WHITE
    assert PongProbe().detect(np.concatenate([plain, far])).balls.tolist() == [1, 2]


def test_a_large_white_thing_is_no_ball(plain):
    plain[0, 60:64, 40:44] = WHITE
    seen = PongProbe().detect(plain)
    assert (seen.balls[0], seen.blobs[0]) == (1, 1)


def test_a_broken_paddle_has_two_pieces_and_a_missing_one_is_not_visible(plain):
    broken, gone = plain.copy(), plain.copy()
    broken[0, 53, 70:72] = BROWN
    gone[0, 16:96, 70:72] = BROWN
    player = PongProbe().detect(np.concatenate([broken, gone])).player
    assert player.pieces.tolist() == [2, 0]
    assert player.length.tolist() == [7, 0]
    assert player.visible.tolist() == [True, False]


def test_a_ball_in_front_of_a_paddle_does_not_break_it(plain):
    plain[0, 53:55, 70:72] = WHITE
    assert PongProbe().detect(plain).player.pieces[0] == 1


def test_noise_of_a_tokenizer_is_tolerated(recorded):
    frames = recorded[0][:300]
    noise = np.random.default_rng(0).integers(-15, 16, frames.shape)
    noisy = np.clip(frames.astype(int) + noise, 0, 255).astype(np.uint8)
    clean, found = PongProbe().detect(frames), PongProbe().detect(noisy)
    assert (clean.balls == found.balls).all()
    assert (clean.player.pieces == found.player.pieces).all()
    assert (clean.paddles["enemy"].length == found.paddles["enemy"].length).mean() > 0.99


def test_half_a_ball_does_not_count(plain):
    plain[0, 40:42, 30] = (170, 100, 60)  # mostly background
    assert PongProbe().detect(plain).balls[0] == 0


def test_clear_measures_the_room_to_both_walls(plain):
    probe = PongProbe()
    tops = np.array([16, 17, 22, 50, 82, 87, 88])
    paddle = probe.detect(draw(np.array([[40, 30, 1, 1, top] for top in tops]))).player
    assert probe.clear(paddle, 1).tolist() == [False, True, True, True, True, True, False]
    assert probe.clear(paddle, 6).tolist() == [False, False, True, True, True, False, False]


def test_near_is_within_two_pixels(plain):
    probe = PongProbe()
    places = [(40, 30), (42, 30), (43, 30)]
    frames = draw(np.array([[y, x, 1, 1, top] for (y, x), top in zip(places, (50, 52, 53), strict=True)]))
    truth, guess = probe.detect(plain.repeat(3, 0)), probe.detect(frames)
    assert near(truth, guess).tolist() == [True, True, False]
    assert paddle_near(truth.player, guess.player).tolist() == [True, True, False]


def test_many_frames_read_as_they_do_alone(recorded):
    probe, frames = PongProbe(), recorded[0][:40]
    together = probe.detect(frames)
    apart = joined([probe.detect(frame[None]) for frame in frames])
    assert np.array_equal(together.balls, apart.balls)
    assert np.array_equal(together.centres, apart.centres, equal_nan=True)
    assert np.array_equal(together.paddles["enemy"].first, apart.paddles["enemy"].first)


def test_detection_is_fast(recorded):
    began = time.perf_counter()
    PongProbe().detect(recorded[0])
    assert len(recorded[0]) / (time.perf_counter() - began) > 1000  # about 10,000 on a free core


def test_other_games_and_sizes_have_no_probe():
    assert probe_for("freeway") is None
    assert probe_for("pong", 64, 64) is None
    assert isinstance(probe_for("pong", 104, 80), PongProbe)
    with pytest.raises(ValueError, match=r"needs uint8 \[N, 104, 80, 3\], found uint8 \[1, 64, 64, 3\]"):
        PongProbe().detect(np.zeros((1, 64, 64, 3), np.uint8))


def test_the_player_is_green_also_where_two_frames_mix(plain):
    plain[0, 48:50, 70:72] = (144, 186, 92)
    player = PongProbe().detect(plain).player
    assert (player.length[0], player.pieces[0]) == (10, 1)
    assert tuple(plain[0, 50, 70]) == GREEN
