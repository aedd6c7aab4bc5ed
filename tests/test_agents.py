"""Agents from outside: what they are shown, what they may answer, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from app.cli import main
from collectors.agents import NOISE, Agent
from collectors.behaviours import Seen, weights_of
from collectors.games import PONG, game_named
from collectors.rollout import CollectConfig, collect, play_episode
from collectors.shards import Dataset

BREAKOUT = game_named("breakout")

CODE = '''
def upward(frame, rng):
    """RIGHT, which is up in Pong."""
    assert frame.dtype == "uint8" and frame.shape == (104, 80, 3)
    return 2

def by_chance(frame, rng):
    return rng.integers(6)

def bright(frame, rng):
    return int(frame.mean()) % 3

def too_high(frame, rng):
    return 6

def no_number(frame, rng):
    return 1.5

def push(frame, rng):
    return [0.5]

def push_hard(frame, rng):
    return [1.5]

limit = 4
'''


@pytest.fixture
def players(tmp_path: Path) -> Path:
    path = tmp_path / "players.py"
    path.write_text(CODE)
    return path


def seen(frame: np.ndarray) -> Seen:
    return Seen(frame, np.zeros(128, np.uint8))


def grey(value: int) -> np.ndarray:
    return np.full((104, 80, 3), value, np.uint8)


class Newest(torch.nn.Module):
    """Scores of 4 actions from the means of 4 frames: the darkest wins, so places in the stack can be told apart."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x / 255.0).mean(dim=(2, 3))


def network(path: Path, module: torch.nn.Module) -> Path:
    torch.jit.save(torch.jit.script(module), str(path))
    return path


def test_a_function_plays(players: Path) -> None:
    episode = play_episode(PONG, f"agent:{players}:upward", 1, 400)
    share = (episode.actions == 2).mean()
    assert 0.4 < share < 0.9  # random holds take 4.5 steps on average, decisions one
    assert len(np.unique(episode.actions)) == 6
    assert episode.behaviour == f"agent:{players}:upward"
    same = play_episode(PONG, f"agent:{players}:by_chance", 1, 60)
    np.testing.assert_array_equal(same.frames, play_episode(PONG, f"agent:{players}:by_chance", 1, 60).frames)


def test_a_function_of_a_module_plays(players: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(players.parent))
    assert play_episode(PONG, "agent:players:bright", 1, 20).steps == 20


def test_a_share_of_decisions_is_left_to_chance(players: Path) -> None:
    agent = Agent(f"{players}:upward", PONG)
    agent.reset(np.random.default_rng(0))
    moves = np.array([agent.act(seen(grey(0))) for _ in range(20_000)])
    held = NOISE * 4.5 / (NOISE * 4.5 + 1 - NOISE)
    assert (moves != 2).mean() == pytest.approx(held * 5 / 6, abs=0.02)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("{players}:too_high", r"players.py:too_high' answered 6, expected an id in \[0, 6\)"),
        ("{players}:no_number", r"answered 1.5, expected an id in \[0, 6\)"),
        ("{players}:absent", "there is no function 'absent' in .*players.py"),
        ("{players}:limit", "there is no function 'limit' in .*players.py"),
        ("{folder}/none.py:act", "agent file not found: .*none.py"),
        ("{folder}/none.pt", "agent file not found: .*none.pt; expected module:function"),
        ("no_such_module:act", "'no_such_module' cannot be imported .*; name the file instead, as in agent:no_such"),
        ("{players}", "agent must be module:function, file.py:function, a .zip of Stable-Baselines3 or a .pt"),
        ("", "agent must be module:function"),
    ],
)
def test_what_cannot_be_an_agent(players: Path, which: str, message: str) -> None:
    name = "agent:" + which.format(players=players, folder=players.parent)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        play_episode(PONG, name, 0, 50)
    assert "\n" not in str(caught.value)


def test_an_agent_may_answer_with_numbers(players: Path, tmp_path: Path) -> None:
    pendulum = game_named("pendulum")
    agent = Agent(f"{players}:push", pendulum)
    agent.reset(np.random.default_rng(0))
    answers = np.array([agent.act(seen(grey(0))) for _ in range(200)])
    assert answers.dtype == np.float32
    assert 0.3 < (answers == 0.5).mean() < 0.9
    agent = Agent(f"{players}:push_hard", pendulum)
    agent.reset(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"answered \[1.5\], expected 1 numbers in \[-1, 1\]"):
        [agent.act(seen(grey(0))) for _ in range(99)]
    with pytest.raises(ValueError, match=r"net.pt is a network that gives ids; here an action is 1 numbers"):
        Agent(str(network(tmp_path / "net.pt", Newest())), pendulum)


def test_weights_of_agents(players: Path) -> None:
    name = f"agent:{players}:upward"
    assert weights_of(f"{name}:3,sticky:1", PONG) == {name: 0.75, "sticky": 0.25}
    assert weights_of(f"{name},{name.replace('upward', 'bright')}:0.5", PONG)[name] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="named twice"):
        weights_of(f"{name}:3,{name}", PONG)


def test_a_network_sees_four_small_grey_frames_older_first(tmp_path: Path) -> None:
    agent = Agent(str(network(tmp_path / "net.pt", Newest())), BREAKOUT)
    agent.reset(np.random.default_rng(0))
    agent._look(grey(200))  # an episode begins with its first frame, four times
    np.testing.assert_array_equal(agent._play(grey(200), agent._rng), 0)
    for step, (value, place) in enumerate([(10, 3), (90, 2), (90, 1), (90, 0), (90, 0), (5, 3)]):
        agent._look(grey(value))
        assert agent._play(grey(value), agent._rng) == place, step
    agent.reset(np.random.default_rng(0))  # what the last episode showed is forgotten
    agent._look(grey(50))
    assert agent._play(grey(50), agent._rng) == 0


class Corner(torch.nn.Module):
    """1 where the upper left pixel of the newest frame is exactly this grey, else 0."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hit = (x[:, 3, 0, 0] == self.value).float()
        return torch.stack([1 - hit, hit, hit - 2, hit - 2], dim=1), hit


def test_a_network_gets_plain_pixel_values(tmp_path: Path) -> None:
    frame = play_episode(BREAKOUT, "sticky", 0, 3).frames[-1]
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)
    agent = Agent(str(network(tmp_path / "net.pt", Corner(float(small[0, 0])))), BREAKOUT)
    agent.reset(np.random.default_rng(0))
    agent._look(frame)
    assert agent._play(frame, agent._rng) == 1
    agent._look(255 - frame)
    assert agent._play(255 - frame, agent._rng) == 0


def test_networks_that_do_not_fit(tmp_path: Path) -> None:
    fits = network(tmp_path / "net.pt", Newest())
    with pytest.raises(ValueError, match=r"must take a float32 \[1, 4, 84, 84\] and give \[1, 6\], found \[1, 4\]"):
        Agent(str(fits), PONG)
    other = network(tmp_path / "linear.pt", torch.nn.Linear(7, 4))
    with pytest.raises(ValueError, match=r"linear.pt must take a float32 .*; it fails: ") as caught:
        Agent(str(other), BREAKOUT)
    assert "\n" not in str(caught.value)
    weights = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(3)}, weights)
    with pytest.raises(ValueError, match=r"weights.pt is not TorchScript .*; write it with torch.jit.save"):
        Agent(str(weights), BREAKOUT)


@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is not None, reason="the package is there")
def test_a_missing_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ppo.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"clip_range": 0.2}))
    with pytest.raises(ValueError, match="stable_baselines3, which is missing; get it with: pip install stable-base"):
        weights_of(f"agent:{path}", PONG)


def test_checkpoints_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    from collectors.agents import _algorithm

    for settings, name in (
        ({"clip_range": 0.1, "normalize_advantage": True}, "PPO"),
        ({"normalize_advantage": False}, "A2C"),
        ({"exploration_fraction": 0.1}, "DQN"),
    ):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data", json.dumps(settings))
        assert _algorithm(path) == name
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ValueError, match="is no checkpoint of Stable-Baselines3"):
        _algorithm(tmp_path / "bad.zip")


def test_agents_are_recorded_the_same_by_any_number_of_workers(players: Path, tmp_path: Path) -> None:
    options = {"frames": 200, "episode_frames": 50, "behaviour": f"agent:{players}:by_chance:2,sticky:1"}
    for workers in (1, 2):
        collect(CollectConfig(**options, workers=workers), tmp_path / str(workers))
    one, two = (hashlib.sha256((tmp_path / name / "00000.h5").read_bytes()).hexdigest() for name in "12")
    assert one == two
    with Dataset.open(tmp_path / "1") as data:
        assert {ref.behaviour for ref in data.episodes} <= {f"agent:{players}:by_chance", "sticky"}


def test_the_command_warns_that_agents_are_code(
    players: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "pong", "--frames", "60", "--workers", "1", "--out", str(tmp_path / "out"), "--behaviour"]
    assert main([*words, f"agent:{players}:upward"]) == 0
    assert "agents are code" in capsys.readouterr().err
    assert main([*words, f"agent:{players}:absent"]) == 2
    assert "there is no function 'absent'" in capsys.readouterr().err
