"""What is found in frames: each kind where it was put, and nothing in real play."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from collectors.games import PONG, game_named
from collectors.quality import CODEC_NOISE, Finding, Report, found_lines, judge, places, summed
from collectors.rollout import play_episode

FPS = 15.0
SIZE = (32, 40, 3)


def play(first: int, count: int) -> list[np.ndarray]:
    """Frames of which no two are alike, as in a game: a square moves over a ground, and a counter runs."""
    frames = []
    for number in range(first, first + count):
        frame = np.full(SIZE, 90, np.uint8)
        frame[8:14, number % 30 : number % 30 + 6] = 220
        frame[0, 0] = (number % 200 + 40, number // 200 + 40, 0)
        frames.append(frame)
    return frames


def scene(seed: int, count: int) -> list[np.ndarray]:
    """Frames in front of a ground of their own."""
    ground = np.kron(np.random.default_rng(seed).integers(40, 250, (4, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = []
    for number in range(count):
        frame = ground.copy()
        frame[number % 30, :4] = 255 - number
        frames.append(frame)
    return frames


def found(frames: list[np.ndarray], **options: object) -> list[tuple[str, int, int]]:
    return [(one.kind, one.start, one.stop) for one in judge(frames, FPS, **options).findings]  # type: ignore[arg-type]


def test_play_is_left_alone() -> None:
    assert found(play(0, 300)) == []
    assert judge([], FPS) == Report(frames=0)
    assert judge(play(0, 1), FPS).pieces(drop=True, cuts=True) == []


@pytest.mark.parametrize(("still", "is_frozen"), [(29, False), (30, True), (200, True)])
def test_two_seconds_without_a_change_are_frozen(still: int, is_frozen: bool) -> None:
    before, after = play(0, 23), play(23, 20)
    frames = before + before[-1:] * still + after
    assert found(frames) == ([("frozen", 23, 23 + still)] if is_frozen else [])
    if is_frozen:
        assert judge(frames, FPS).pieces(drop=True, cuts=True) == [(0, 23), (23 + still, 43 + still)]
    assert judge(frames, FPS).pieces(drop=False, cuts=True) == [(0, 43 + still)]


def test_black_frames_are_found_wherever_they_are() -> None:
    dark = [np.full(SIZE, 20, np.uint8)]
    frames = dark * 3 + play(0, 40) + dark * 50 + play(40, 10) + dark
    report = judge(frames, FPS)
    black = [(one.start, one.stop) for one in report.of("black")]
    assert black == [(0, 3), (43, 93), (103, 104)]
    assert report.count("black") == 54
    assert report.of("frozen") == ()  # black is called black, and not frozen as well
    assert report.pieces(drop=True, cuts=False) == [(3, 43), (93, 103)]


@pytest.mark.parametrize("lead", [0, 20, 21, 22, 23])
@pytest.mark.parametrize("pictures", [2, 3, 4])
def test_a_blinking_title_is_a_menu(lead: int, pictures: int) -> None:
    title = scene(3, pictures)
    menu = [title[moment // 6 % pictures] for moment in range(96)]
    frames = play(0, lead) + menu + play(lead, 20)
    assert [one for one in found(frames) if one[0] != "cut"] == [("menu", lead, lead + 96)]


def test_what_stops_and_goes_on_is_no_menu() -> None:
    first, second, third = play(0, 3)
    pauses = [first] * 25 + [second] * 25 + [third] * 25  # no picture comes back
    assert found(play(10, 20) + pauses + play(30, 20)) == []
    assert found(play(10, 20) + [first] * 40 + [second] * 25 + play(30, 20)) == [("frozen", 21, 60)]


def test_a_title_of_too_many_pictures_is_not_found() -> None:
    title = scene(3, 5)
    frames = [title[moment // 6 % 5] for moment in range(120)]
    assert found(frames) == []


def test_cuts_divide_scenes() -> None:
    frames = scene(1, 30) + scene(2, 25) + scene(5, 20)
    assert found(frames) == [("cut", 30, 30), ("cut", 55, 55)]
    report = judge(frames, FPS)
    assert report.count("cut") == 2
    assert report.pieces(drop=True, cuts=True) == [(0, 30), (30, 55), (55, 75)]
    assert report.pieces(drop=True, cuts=False) == [(0, 75)]


def test_a_flash_is_no_cut() -> None:
    frames = scene(1, 40)
    frames[20] = np.full(SIZE, 255, np.uint8)
    assert found(frames) == []


def test_much_movement_is_no_cut() -> None:
    ground = np.kron(np.random.default_rng(0).integers(0, 255, (4, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [ground[:, 8 * step : 8 * step + 40] for step in range(50)]
    changes = [np.abs(one.astype(int) - two).mean() for one, two in pairwise(frames)]
    assert min(changes) > 50
    assert found(frames) == []


def test_noise_of_a_codec_is_forgiven_where_there_is_a_codec() -> None:
    rng = np.random.default_rng(0)
    still = [np.clip(scene(1, 1)[0] + rng.integers(-6, 7, SIZE), 0, 255).astype(np.uint8) for _ in range(60)]
    assert found(still) == []
    assert found(still, noise=CODEC_NOISE) == [("frozen", 1, 60)]
    assert found(play(0, 100), noise=CODEC_NOISE) == []


def test_frames_come_one_by_one() -> None:
    """A report of any length needs few frames at a time: each is overwritten as soon as the next one is asked for."""

    def fleeting() -> Iterator[np.ndarray]:
        shared = np.empty(SIZE, np.uint8)
        for frame in play(0, 23) + play(22, 1) * 40:
            shared[:] = frame
            yield shared

    assert found(list(play(0, 23) + play(22, 1) * 40)) == [("frozen", 23, 63)]
    assert [one.kind for one in judge(fleeting(), FPS).findings] == ["frozen"]


@pytest.mark.parametrize("name", ["pong", "breakout"])
def test_real_play_has_nothing_wrong(name: str) -> None:
    game = PONG if name == "pong" else game_named(name)
    episode = play_episode(game, "sticky", 1, 300)
    assert judge(episode.frames, game.fps).findings == ()


def test_reports_for_people_and_programs() -> None:
    findings = (
        Finding(kind="black", start=0, stop=15),
        Finding(kind="menu", start=40, stop=100),
        Finding(kind="cut", start=100, stop=100),
        *(Finding(kind="black", start=200 + 2 * one, stop=201 + 2 * one) for one in range(7)),
    )
    report = Report(frames=400, findings=findings)
    assert places(report.of("black")) == "0-14, 200, 202, 204, 206, 208 and 2 more"
    assert found_lines(report, True) == [
        "dropped 22 black: frames 0-14, 200, 202, 204, 206, 208 and 2 more",
        "dropped 60 menu: frames 40-99",
        "found 1 cut: scenes begin at 100",
    ]
    assert report.to_json()["findings"][1] == ["menu", 40, 100]
    assert summed([report, report]) == {"frames": 800, "black": 44, "frozen": 0, "menu": 120, "cut": 2}
