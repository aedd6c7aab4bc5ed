"""A Pong of known rules in the colours of the real one, as a world and as recorded play: a double for tests."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from collectors.episode import Episode
from collectors.shards import EpisodeRef
from models.world import Window, WorldSpec
from training.pong_probe import PongProbe

SPEC = WorldSpec(game="pong", height=104, width=80, context=4, actions=("latent 0", "latent 1", "latent 2"))
STILL, UP, DOWN = 0, 1, 2
MOVE = np.array([0, -3, 3])
WHITE, GREEN, ORANGE = (236, 236, 236), (92, 186, 92), (213, 130, 74)
ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
BUTTON = {STILL: 0, UP: 2, DOWN: 3}


def advance(state: np.ndarray, code: np.ndarray) -> np.ndarray:
    """[B, 5] of ball y, x, its speed vy, vx, and the top of the player's paddle, one step on."""
    y, x, vy, vx, top = state.T.copy()
    vy = np.where((y + vy < 17) | (y + vy > 92), -vy, vy)
    vx = np.where((x + vx < 12) | (x + vx > 66), -vx, vx)
    return np.stack([y + vy, x + vx, vy, vx, np.clip(top + MOVE[code], 16, 88)], 1)


def draw(state: np.ndarray) -> np.ndarray:
    """[B, 5] → uint8 [B, 104, 80, 3]. The enemy's paddle keeps to the ball."""
    frames = np.empty((len(state), 104, 80, 3), np.uint8)
    frames[:] = (144, 72, 17)
    frames[:, 11:16] = frames[:, 96:] = WHITE
    for frame, (y, x, _, _, top) in zip(frames, state, strict=True):
        enemy = int(np.clip(y - 4, 16, 88))
        frame[enemy : enemy + 8, 8:10] = ORANGE
        frame[top : top + 8, 70:72] = GREEN
        frame[y : y + 2, x] = WHITE
    return frames


class ToyPong:
    """Knows the rules, so it foretells without error. Each fault makes it wrong in one way:

    deaf: keys do nothing; mirrored: keys work the wrong way round; two_balls; no_ball; broken: the
    player's paddle in two pieces; stuck: nothing ever moves; snow: random pixels; blind: its
    tokenizer loses the ball.
    """

    def __init__(self, fault: str = "", table=None) -> None:
        self.fault = fault
        self.spec = replace(SPEC, table=table)
        self.steps_taken = 0

    def reset(self, window: Window, rng=None):
        frames = window.frames[:, -2:].permute(0, 1, 3, 4, 2).numpy()
        probe = PongProbe()
        old, new = probe.detect(frames[:, 0]), probe.detect(frames[:, 1])
        at, speed = new.centres[:, 0], new.centres[:, 0] - old.centres[:, 0]
        state = np.stack([at[:, 0] - 0.5, at[:, 1], speed[:, 0], speed[:, 1], new.player.first], 1)
        return {"state": torch.from_numpy(state.round().astype(np.int64))}

    def step(self, state, action, rng=None):
        assert action.dtype == torch.int64
        assert action.shape == state["state"].shape[:1]
        self.steps_taken += 1
        if self.fault == "stuck":
            return state
        code = action.numpy() * (self.fault != "deaf")
        code = np.array([STILL, DOWN, UP])[code] if self.fault == "mirrored" else code
        return {"state": torch.from_numpy(advance(state["state"].numpy(), code))}

    def render(self, state):
        numbers = state["state"].numpy()
        frames = draw(numbers)
        for frame, (y, x, _, _, top) in zip(frames, numbers, strict=True):
            if self.fault == "two_balls":
                frame[90 if y < 50 else 20, 30] = WHITE
            if self.fault == "no_ball":
                frame[y : y + 2, x] = (144, 72, 17)
            if self.fault == "broken":
                frame[top + 3, 70:72] = (144, 72, 17)
            if self.fault == "snow":
                frame[16:96:4, ::4] = (0, 0, 255)
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def infer_actions(self, frames):
        tops = (
            PongProbe().detect(frames.flatten(0, 1).permute(0, 2, 3, 1).numpy()).player.first.reshape(frames.shape[:2])
        )
        way = np.diff(tops, axis=1)
        return torch.from_numpy(np.where(way < 0, UP, np.where(way > 0, DOWN, STILL)))

    def reconstruct(self, frames):
        out = frames.clone()
        if self.fault == "blind":
            field = out[:, :, :, 16:96]
            white = (field == 236).all(2, keepdim=True)
            field[:] = torch.where(white, torch.tensor([144, 72, 17], dtype=torch.uint8).view(1, 1, 3, 1, 1), field)
        return out


class ToyPlay:
    """Recorded play of the toy, in memory. Buttons act `lag` steps late; objects as a real data set has them."""

    def __init__(
        self, episodes: int = 4, steps: int = 240, lag: int = 1, objects: bool = True, game: str = "pong"
    ) -> None:
        names = ("ball", "player", "enemy") if objects else ()
        self.manifest = SimpleNamespace(
            game=game, height=104, width=80, action_names=ACTIONS, object_names=names, dreamed=0
        )
        self.whole = [_record(seed, steps, lag, objects) for seed in range(episodes)]
        self.episodes = tuple(
            EpisodeRef(shard=0, index=i, seed=i, behaviour=e.behaviour, start=0, frames=len(e.frames))
            for i, e in enumerate(self.whole)
        )

    def read(self, ref, start=0, stop=None):
        whole = self.whole[ref.index]
        stop = ref.frames if stop is None else stop
        assert 0 <= start < stop - 1 < ref.frames
        return Episode(
            frames=whole.frames[start:stop],
            actions=whole.actions[start : stop - 1],
            rewards=whole.rewards[start : stop - 1],
            ends=whole.ends[start : stop - 1],
            objects=None if whole.objects is None else whole.objects[start:stop],
            seed=ref.seed,
            behaviour=ref.behaviour,
        )


def _record(seed: int, steps: int, lag: int, objects: bool) -> Episode:
    rng = np.random.default_rng(seed)
    state = np.array(
        [[rng.integers(20, 90), rng.integers(20, 60), rng.choice([-2, -1, 1, 2]), 2, rng.integers(30, 70)]]
    )
    codes = np.repeat(rng.integers(0, 3, steps), rng.integers(1, 9, steps))[: steps + lag]
    states = [state]
    for code in codes[:steps]:
        states.append(advance(states[-1], np.array([code])))
    numbers = np.concatenate(states)
    frames = draw(numbers)
    pressed = codes[lag : lag + steps]  # the button of step t shows `lag` steps later
    return Episode(
        frames=frames,
        actions=np.array([BUTTON[int(code)] for code in pressed], np.int64),
        rewards=np.zeros(steps, np.float32),
        ends=np.zeros(steps, bool),
        objects=PongProbe().table(PongProbe().detect(frames)) if objects else None,
        seed=seed,
        behaviour=("random", "sticky")[seed % 2],
    )
