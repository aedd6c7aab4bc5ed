"""The LAM finds the three moves of a player nobody told it about, past a ball that moves by itself."""

from dataclasses import replace

import block_play
import pytest
import torch

from models.latent_actions import ChangeEncoder, LatentActionConfig, LatentActionModel
from models.tokenizer import TokenizerConfig

STEPS = 800


def untrained(codes: int = 8) -> tuple[LatentActionModel, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A LAM, frames, their tokens and which way the player went."""
    torch.manual_seed(0)
    window, went = block_play.play(64, 12, seed=1)
    tokenizer = replace(TokenizerConfig.sized("tiny"), patch=block_play.PATCH, codes=64).build(block_play.SPEC)
    tokenizer.fit(iter(window.frames))
    config = replace(LatentActionConfig.sized("tiny"), codes=codes)
    lam = LatentActionModel(config, block_play.SPEC, tokenizer)
    return lam, window.frames, tokenizer.encode(window.frames), went


def train(lam: LatentActionModel, frames: torch.Tensor, tokens: torch.Tensor, steps: int = STEPS) -> list[dict]:
    adam = torch.optim.Adam(lam.parameters(), lr=4e-3)
    told = []
    for step in range(steps):
        rows = torch.randint(0, len(frames), (16,))
        first = int(torch.randint(0, frames.shape[1] - 5, ()))
        loss, logs = lam.loss(frames[rows, first : first + 5], tokens[rows, first : first + 5], step / steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        told.append({"loss": loss.item(), **{key: float(value) for key, value in logs.items()}})
    return told


@pytest.fixture(scope="module")
def course() -> tuple[LatentActionModel, list[dict]]:
    """A LAM after its training, and what its loss told on the way."""
    lam, frames, tokens, _ = untrained()
    told = train(lam, frames, tokens)
    return lam.eval(), told


@pytest.fixture(scope="module")
def trained(course: tuple[LatentActionModel, list[dict]]) -> LatentActionModel:
    return course[0]


def test_codes_agree_with_the_moves_nobody_told(trained: LatentActionModel) -> None:
    window, went = block_play.play(48, 12, seed=99)  # unseen play
    codes = trained.infer(window.frames)
    counts = torch.zeros(8, 3, dtype=torch.int64)
    counts.index_put_((codes.flatten(), went.flatten()), torch.tensor(1), accumulate=True)
    assert counts.sum(0).min() > 100  # all three moves are in the play
    agreement = counts.amax(1).sum() / counts.sum()
    assert agreement >= 0.8, counts
    assert (counts.argmax(1)[counts.sum(1) > 0]).unique().numel() == 3  # each move has a code of its own


def test_infer_is_deterministic_in_range_and_causal(trained: LatentActionModel) -> None:
    frames = block_play.play(4, 9, seed=3)[0].frames
    codes = trained.infer(frames)
    assert (codes.dtype, codes.shape) == (torch.int64, (4, 8))
    assert 0 <= int(codes.min()) <= int(codes.max()) < 8
    assert torch.equal(codes, trained.infer(frames))
    assert torch.equal(codes[:, :4], trained.infer(frames[:, :5]))
    assert torch.equal(codes[2:3], trained.infer(frames[2:3]))
    assert torch.equal(codes[:, 5:], trained.infer(frames[:, 5:]))  # a code names a change, whatever was before


def test_the_code_is_worth_something_to_the_decoder(course: tuple[LatentActionModel, list[dict]]) -> None:
    told = course[1]
    last = told[-30:]
    untold, coded = (sum(line[key] for line in last) / 30 for key in ("untold_ce", "code_ce"))
    assert coded < 0.95 * untold  # the ball, whose way one frame does not show, is in both
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in told)


def test_each_phase_teaches_what_it_should() -> None:
    lam, frames, tokens, _ = untrained()
    memory, codes = lam.place, (lam.code.weight, lam.encoder.tell[-1].weight)
    for progress, has_memory, has_codes in ((0.0, True, False), (0.5, False, True), (0.9, False, True)):
        lam.zero_grad()
        loss, logs = lam.loss(frames[:8, :5], tokens[:8, :5], progress)
        loss.backward()
        assert (memory.grad is not None) is has_memory, progress
        assert all((part.grad is not None and bool(part.grad.any())) is has_codes for part in codes), progress
        assert ("code_ce" in logs) is has_codes


def moved(top: int, left: int, way: int, wall: int = 0) -> torch.Tensor:
    """Two frames [1, 2, 3, 104, 80] in which a bar of eight pixels goes `way` pixels to the right, beside a wall."""
    frames = torch.zeros(1, 2, 3, 104, 80)
    frames[..., :wall] = 0.5
    for at, column in enumerate((left, left + way)):
        frames[0, at, 0, top : top + 2, column : column + 8] = 0.8
    return frames


def test_a_code_does_not_tell_where() -> None:
    torch.manual_seed(2)
    encoder = ChangeEncoder(3, LatentActionConfig.sized("small")).eval()
    there = encoder(moved(48, 32, 11))
    torch.testing.assert_close(encoder(moved(56, 24, 11)), there)
    torch.testing.assert_close(encoder(moved(48, 32, 11, wall=20)), there)
    assert not torch.allclose(encoder(moved(48, 43, -11)), there, atol=1e-3)
    assert not torch.equal(encoder.train()(moved(48, 32, 11)), encoder.train()(moved(48, 32, 11)))  # shifted by chance


def test_left_and_right_are_told_apart_though_ends_are_far_apart() -> None:
    """Four convolutions see both ends of a move of eleven pixels by a bar of eight."""
    torch.manual_seed(0)
    encoder = ChangeEncoder(3, replace(LatentActionConfig.sized("small"), codes=2, channels=8))
    adam = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    places = [(int(top), int(left)) for top, left in torch.randint(14, 50, (200, 2))]
    clips = torch.cat([moved(top, left + 11 * (i % 2), 11 - 22 * (i % 2)) for i, (top, left) in enumerate(places)])
    ways = torch.arange(200) % 2
    for _ in range(60):
        rows = torch.randint(0, 160, (32,))
        loss = torch.nn.functional.cross_entropy(encoder(clips[rows])[:, 0], ways[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    told = encoder.eval()(clips[160:])[:, 0].argmax(-1)
    assert (told == ways[160:]).float().mean() > 0.9


def test_choosing_walks_towards_the_cheaper_code() -> None:
    """One small step of the encoder alone along its gradient lowers the expected cost."""
    lam, frames, tokens, _ = untrained()
    lam.config = replace(lam.config, even=0.0, extra=0.0, tries=10**6)

    def loss() -> torch.Tensor:
        torch.manual_seed(3)  # the same places and transitions are looked at
        return lam.loss(frames[:8, :5], tokens[:8, :5], 0.9)[0]

    before = loss()
    before.backward()
    with torch.no_grad():
        for parameter in lam.encoder.parameters():
            parameter -= 0.01 * parameter.grad / parameter.grad.norm().clamp(min=1e-9)
    assert loss() < before


@pytest.mark.parametrize("watch", [0.0, 1.0])
def test_what_shows_something_is_watched(watch: float) -> None:
    """Of places that do not change, those that show something and no others, where `extra` is 0."""
    lam, _, _, _ = untrained()
    lam.config = replace(lam.config, watch=watch, extra=0.0)
    tokens = torch.zeros(5, 4, 20, dtype=torch.int64)
    tokens[2, :, 7] = 3
    watched = lam._watched(tokens).unflatten(0, (5, 3))
    assert watched.sum() == 3 * watch
    assert watched[2, :, 7].float().mean() == watch


def test_number_of_codes_is_kept() -> None:
    lam, frames, tokens, _ = untrained(codes=3)
    train(lam, frames, tokens, steps=6)
    assert set(lam.infer(frames).unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": 1}, r"number of latent actions must be in \[2, 64\], found 1"),
        ({"codes": 65}, "found 65"),
        ({"width": 30, "heads": 4}, "width 30 is not divisible by 4 heads; use 1, 2, 3, 5, 6, 10, 15"),
        ({"free_share": 1.0}, "free_share 1.0"),
        ({"free_share": 0.6, "sort_share": 0.4}, "sort_share 0.4"),
        ({"balance": -0.1}, "balance -0.1"),
        ({"watch": 1.5}, r"watch must be in \[0, 1\], found 1.5"),
        ({"layers": 2}, "layers must be 3 or more, found 2"),
    ],
)
def test_bad_configs_say_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LatentActionConfig.sized("tiny"), **changes)
