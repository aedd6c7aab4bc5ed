"""What another action would have done: looked up where the same was to be seen, and learned by the dynamics."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.dynamics.config import MaskGITConfig
from models.dynamics.context import Other
from models.dynamics.maskgit import MaskGIT
from training.elsewhere import Elsewhere, beside, decided
from training.token_cache import TokenCache

CODES, WIDE = 3, 7
PLAIN = replace(MaskGITConfig.sized("tiny"), whole=1.0, own_share=0.0, easy=1, games=False)


def played(frames: int, seed: int, code_of=None) -> tuple[np.ndarray, np.ndarray]:
    """A player on WIDE places that stays, goes left or goes right as the code says, and stops at the walls; a ball that
    goes round on three places more. Tokens int32 [frames, 4], codes int64 [frames].

    The player takes two places of the grid, which count from both ends where it is; the ball's is the third, the fourth
    is always the same.
    """
    rng = np.random.default_rng(seed)
    at, ball, tokens, codes = 3, int(rng.integers(3)), [], []
    for _ in range(frames):
        code = int(rng.integers(CODES)) if code_of is None else code_of(at, ball)
        tokens.append([at, WIDE - 1 - at, ball, 0])
        codes.append(code)
        at, ball = int(np.clip(at + (0, -1, 1)[code], 0, WIDE - 1)), (ball + 1) % 3
    codes[-1] = -1
    return np.array(tokens, np.int32), np.array(codes, np.int64)


def cache_of(*plays: tuple[np.ndarray, np.ndarray], behaviours: tuple[str, ...] = ()) -> TokenCache:
    whose = behaviours or ("random",) * len(plays)
    windows = SimpleNamespace(
        episodes=[(None, SimpleNamespace(behaviour=name)) for name in whose],
        lengths=np.array([len(tokens) for tokens, _ in plays]),
    )
    return TokenCache(windows, *(np.concatenate(parts) for parts in zip(*plays, strict=True)))


@pytest.fixture(scope="module")
def elsewhere() -> Elsewhere:
    return Elsewhere(cache_of(played(400, 0), played(400, 1)), CODES)


def window(seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, codes = played(200, seed)
    shaped = torch.from_numpy(tokens.astype(np.int64)).reshape(10, 20, 4)
    return shaped, torch.from_numpy(codes).reshape(10, 20)[:, :-1]


def test_the_places_that_codes_decide_are_found(elsewhere: Elsewhere) -> None:
    assert elsewhere.places.tolist() == [0, 1]


def test_play_that_follows_from_the_picture_does_not_tell_them() -> None:
    follows = played(400, 2, lambda at, ball: (0, 1, 2)[ball])  # code and ball always agree
    mixed = Elsewhere(cache_of(follows, played(400, 3), behaviours=("scripted", "random")), CODES, ("random",))
    assert mixed.places.tolist() == [0, 1]
    alone = Elsewhere(cache_of(played(400, 3)), CODES, ("nobody",))  # where there is no such play, all of it tells
    assert alone.places.tolist() == [0, 1]


def test_nothing_is_said_of_what_hardly_ever_changes() -> None:
    tokens, codes = played(400, 0)
    tokens[:, 3] = np.arange(400) == 7
    assert decided(tokens[:-1], tokens[1:], codes[:-1]).tolist() == [0, 1]


def test_other_codes_come_with_their_outcome(elsewhere: Elsewhere) -> None:
    tokens, codes = window()
    other = elsewhere.ask(tokens, codes, 1.0, 0.0, np.random.default_rng(0))
    assert other.chosen.all()  # everything was seen everywhere
    assert (other.actions != codes)[other.chosen].all()
    steps = torch.tensor([0, -1, 1])[other.actions]
    expected = (tokens[:, :-1, 0] + steps).clamp(0, WIDE - 1)
    assert other.future[..., 0].equal(expected)
    assert other.future[..., 1].equal(WIDE - 1 - expected)
    assert other.future[..., 2:].equal(tokens[:, 1:, 2:])  # the rest goes on as it did


def test_what_was_never_seen_stays_as_it_was() -> None:
    """Nobody ever went left from the third place: no outcome, and only as noise with what happened."""
    rng = np.random.default_rng(4)
    plays = [played(400, seed, lambda at, _: int(rng.choice([0, 2] if at == 3 else 3))) for seed in range(2)]
    elsewhere = Elsewhere(cache_of(*plays), CODES)
    tokens, codes = window()
    there = (tokens[:, :-1, 0] == 3) & (codes != 1)
    for noise in (0.0, 1.0):
        other = elsewhere.ask(tokens, codes, 1.0, noise, np.random.default_rng(0))
        tried = there & other.chosen & (other.actions == 1)
        assert bool(tried.any()) == bool(noise)
        assert other.future[tried].equal(tokens[:, 1:][tried])


def test_a_misread_step_is_no_outcome() -> None:
    """Now and then "stay" is read as "left"; who asks for "left" is still shown steps to the left alone."""
    tokens, codes = played(4000, 0)
    stays = np.flatnonzero((codes == 0) & (tokens[:, 0] > 0))
    codes[stays[::40]] = 1
    elsewhere = Elsewhere(cache_of((tokens, codes)), CODES)
    shown, asked = window()
    for seed in range(10):
        other = elsewhere.ask(shown, asked, 1.0, 0.0, np.random.default_rng(seed))
        left = other.chosen & (other.actions == 1) & (shown[:, :-1, 0] > 0)
        assert left.sum() > 20
        went = (other.future[left] - shown[:, :-1][left])[:, 0]
        assert went.unique().tolist() == [-1]


def runs(homes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A runner between two homes, who rests there and starts with small steps. Tokens int32 [K, 6], one for each
    place that is behind the runner; codes: how far, in [-2, 2], plus 2."""
    rng, at, steps = np.random.default_rng(seed), 0, []
    for _ in range(homes):
        way = [(1, 2, 2, 1), (1, 2, 1, 2)][rng.integers(2)]
        steps += [0] * int(rng.integers(1, 4)) + [step if not at else -step for step in way]
        at = 6 - at
    places = np.cumsum([0, *steps])
    return (places[:, None] > np.arange(6)).astype(np.int32), np.array([*steps, -3]) + 2


def test_what_leads_to_a_code_stands_for_it() -> None:
    """Nobody ever made a large step from home: a small one is shown."""
    tokens, codes = runs(200, 0)
    elsewhere = Elsewhere(cache_of((tokens, codes)), 5)
    assert elsewhere.leads.tolist()[0] == 1
    assert elsewhere.leads.tolist()[4] == 3
    shown, asked = (torch.from_numpy(each[None].astype(np.int64)) for each in runs(50, 1))
    other = elsewhere.ask(shown, asked[:, :-1], 1.0, 0.0, np.random.default_rng(0))
    far = other.chosen & (other.actions == 4) & (shown[:, :-1].sum(-1) == 0)
    assert far.any()
    assert (other.future[far].sum(-1) == 1).all()
    back = other.chosen & (other.actions == 0) & (shown[:, :-1].sum(-1) == 0)
    assert not back.any()  # no way leads there


def test_a_single_code_decides_nothing() -> None:
    """A LAM that found nothing: no places, and nothing is shown but what happened."""
    tokens, codes = played(200, 0)
    elsewhere = Elsewhere(cache_of((tokens, np.minimum(codes, 0))), CODES)
    assert elsewhere.places.size == 0
    assert elsewhere.leads.tolist() == [0, 1, 2]
    shown, asked = window()
    other = elsewhere.ask(shown, asked, 1.0, 0.0, np.random.default_rng(0))
    assert other.future.equal(shown[:, 1:])


def test_a_share_is_asked_and_never_between_games(elsewhere: Elsewhere) -> None:
    tokens, codes = window()
    codes[:, 4] = -1
    few = elsewhere.ask(tokens, codes, 0.2, 0.0, np.random.default_rng(0))
    assert 0.1 < few.chosen.float().mean() < 0.3
    assert not few.chosen[:, 4].any()
    assert few.actions[~few.chosen].equal(codes[~few.chosen])
    again = elsewhere.ask(tokens, codes, 0.2, 0.0, np.random.default_rng(0))
    assert all(a.equal(b) for a, b in zip(few, again, strict=True))


def test_dynamics_learn_what_no_play_shows() -> None:
    """On play the code follows from the picture, so the picture alone would do; shown the others, the code counts."""
    torch.manual_seed(0)
    dynamics = MaskGIT(PLAIN, torch.randn(6, 4), (1, 5), 2)
    base = torch.randint(0, 6, (16, 4, 5))
    base[:, 1:] = base[:, :1]
    codes = (base[:, :-1, 0] > 2).long()
    adam = torch.optim.Adam(dynamics.parameters(), lr=3e-3)

    def train(steps: int, shown: bool) -> None:
        for _ in range(steps):
            chosen = torch.rand(codes.shape) < 0.3
            future = base[:, 1:].clone()
            future[..., 0] = torch.where(chosen, 5, future[..., 0])
            other = Other(chosen, torch.where(chosen, 1 - codes, codes), future) if shown else None
            loss, _ = dynamics.loss(base, codes, 0.0, other)
            adam.zero_grad()
            loss.backward()
            adam.step()

    @torch.no_grad()
    def drawn(actions: torch.Tensor) -> torch.Tensor:
        table = dynamics.table()
        memory = dynamics.remember(base[:, :1], actions[:, :0], table)
        known, _ = dynamics.advance(base[:, 0], base[:, 0], actions[:, 0], memory, table)
        return dynamics.draw(known, base[:, 0], actions[:, 0], table, 0.0, torch.rand(16, 2, 5))[0]

    train(150, shown=False)
    assert drawn(codes).equal(base[:, 0])
    assert (drawn(1 - codes)[:, 0] == 5).float().mean() < 0.6
    train(200, shown=True)
    assert drawn(codes).equal(base[:, 0])
    changed = drawn(1 - codes)
    assert (changed[:, 0] == 5).all()
    assert changed[:, 1:].equal(base[:, 0, 1:])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=r"imagined must be in \[0, 1\]"):
        replace(PLAIN, imagined=share)


def visited(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A player as in `played` on the first place, and a ball that now and then comes by the second one onto the first,
    ten more there, and is gone. Tokens int32 [frames, 2], codes int64 [frames]."""
    rng = np.random.default_rng(seed)
    at, ball, tokens, codes = 3, 0, [], []
    for _ in range(frames):
        tokens.append([at + 10 * (ball == 2), ball == 1])
        codes.append(int(rng.integers(CODES)))
        at = int(np.clip(at + (0, -1, 1)[codes[-1]], 0, WIDE - 1))
        ball = (ball + 1) % 3 if ball else int(rng.random() < 0.1)
    codes[-1] = -1
    return np.array(tokens, np.int32), np.array(codes, np.int64)


def test_nothing_comes_in_from_around_without_having_been_there() -> None:
    play, (tokens, codes) = visited(2000, 0), visited(400, 1)
    shaped, read = torch.from_numpy(tokens.astype(np.int64)).reshape(20, 20, 2), torch.from_numpy(codes).reshape(20, 20)
    wrong, asked = {}, {}
    for grid in (None, (1, 2)):
        elsewhere = Elsewhere(cache_of(play), CODES, grid=grid)
        assert elsewhere.places.tolist() == [0]
        other = elsewhere.ask(shaped, read[:, :-1], 1.0, 0.0, np.random.default_rng(0))
        arrives = other.future[..., 0] >= 10
        wrong[grid] = int((arrives != (shaped[:, :-1, 1] == 1))[other.chosen].sum())
        asked[grid] = float(other.chosen.float().mean())
    assert wrong[None] > 20
    assert wrong[1, 2] == 0
    assert asked[1, 2] > 0.8 * asked[None]


def test_what_was_seen_elsewhere_with_other_things_around_is_not_called_unseen() -> None:
    play, (tokens, codes) = visited(2000, 0), visited(400, 1)
    tokens[:, 1] += 5  # such surroundings there never were
    shaped, read = torch.from_numpy(tokens.astype(np.int64)).reshape(20, 20, 2), torch.from_numpy(codes).reshape(20, 20)
    other = Elsewhere(cache_of(play), CODES, grid=(1, 2)).ask(shaped, read[:, :-1], 1.0, 1.0, np.random.default_rng(0))
    known = np.isin(shaped[:, :-1, 0].numpy(), range(WIDE))
    assert known.mean() > 0.8
    assert not other.chosen.numpy()[known].any()


@pytest.mark.parametrize(
    ("places", "grid", "found"),
    [([0], (1, 4), [1]), ([4], (3, 3), [0, 1, 2, 3, 5, 6, 7, 8]), ([2, 5], (3, 3), [1, 4, 7, 8]), ([], (2, 2), [])],
)
def test_what_is_beside_places(places: list[int], grid: tuple[int, int], found: list[int]) -> None:
    assert beside(np.array(places, np.int64), grid).tolist() == found
