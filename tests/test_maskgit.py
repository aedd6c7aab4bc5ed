"""The dynamics: what it learns of a game, what its loss looks at, and how a frame is drawn."""

from dataclasses import replace

import block_play
import pytest
import torch

from models.blocks import KeysValues
from models.dynamics.config import MaskGITConfig
from models.dynamics.context import (
    NEAR,
    NEVER,
    RECENT,
    Memory,
    across_games,
    erased,
    familiarity,
    mendable,
    swapped,
)
from models.dynamics.maskgit import MaskGIT
from models.tokenizer import TokenizerConfig

TINY = MaskGITConfig.sized("tiny")
PLAIN = replace(TINY, whole=1.0, own_share=0.0, easy=1, games=False)  # nothing left to chance in the loss
GRID, PLACES, TOKENS = (3, 4), 12, 32


def made(config: MaskGITConfig = PLAIN, actions: int = 3) -> MaskGIT:
    torch.manual_seed(0)
    return MaskGIT(config, torch.randn(TOKENS, 6), GRID, actions)


def train(dynamics: MaskGIT, batch, steps: int, lr: float = 2e-3) -> list[float]:
    adam = torch.optim.Adam(dynamics.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss, _ = dynamics.loss(*batch())
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses


def rough(dynamics: MaskGIT) -> MaskGIT:
    """Weights that matter everywhere, as after training."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return dynamics.requires_grad_(False)


def known_of(dynamics: MaskGIT, tokens: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """What is known of the frame after frames [B, T, N] that the actions [B, T] lie between and after."""
    memory = dynamics.remember(tokens, actions[:, :-1], dynamics.table())
    earlier = tokens[:, max(0, tokens.shape[1] - 2)]
    return dynamics.advance(tokens[:, -1], earlier, actions[:, -1], memory, dynamics.table())[0]


def some_play(batch: int = 2, length: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randint(0, TOKENS, (batch, length, PLACES), generator=generator)
    return tokens, torch.randint(0, 3, (batch, length - 1), generator=generator)


@pytest.fixture(scope="module")
def overfitted() -> tuple[MaskGIT, torch.Tensor, torch.Tensor, list[float]]:
    """Dynamics that knows one window of the block game by heart, in patches of its own."""
    window, _ = block_play.play(1, 7, seed=5)
    tokenizer = replace(TokenizerConfig.sized("tiny"), patch=block_play.PATCH, codes=TOKENS).build(block_play.SPEC)
    tokenizer.fit(iter(window.frames))
    tokens = tokenizer.encode(window.frames)
    torch.manual_seed(0)
    dynamics = MaskGIT(TINY, tokenizer.features(), GRID, 3)
    losses = train(dynamics, lambda: (tokens, window.actions), 400)
    return dynamics.requires_grad_(False), tokens, window.actions, losses


def test_overfits_a_window(overfitted) -> None:
    losses = overfitted[3]
    assert sum(losses[-20:]) < sum(losses[:20]) / 20


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_draws_what_it_knows_by_heart(overfitted, steps: int, temperature: float) -> None:
    dynamics, tokens, actions, _ = overfitted
    chance = torch.rand(1, steps, PLACES, generator=torch.Generator().manual_seed(1))
    for t in range(1, 7):
        known = known_of(dynamics, tokens[:, :t], actions[:, :t])
        grid, entropy = dynamics.draw(known, tokens[:, t - 1], actions[:, t - 1], dynamics.table(), temperature, chance)
        assert torch.equal(grid, tokens[:, t])
        assert entropy.max() < 0.7


def test_loss_falls_to_nothing_while_the_first_frame_is_noise() -> None:
    """Nobody can foretell noise; so what remains of the loss would tell if the prompt were in it."""
    dynamics = made()
    fixed, actions = some_play(4, 4)
    fixed = fixed[:1].expand(4, -1, -1)  # the frames after the first are always the same

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randint(0, TOKENS, (4, 1, PLACES))
        return torch.cat([noise, fixed[:, 1:]], dim=1), actions

    losses = train(dynamics, batch, 250)
    nothing = torch.tensor(TOKENS).log().item()
    assert losses[0] > 0.8 * nothing
    assert sum(losses[-20:]) / 20 < 0.1 * nothing / 4  # one frame of noise in four would leave a quarter


def test_context_frames_are_read_and_not_guessed() -> None:
    """With `first` = 3 frames 1 and 2 are no target either, and a window without a target is refused."""
    dynamics = made(replace(PLAIN, first=3))
    fixed, actions = some_play(4, 5)
    fixed = fixed[:1].expand(4, -1, -1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randint(0, TOKENS, (4, 3, PLACES))
        return torch.cat([noise, fixed[:, 3:]], dim=1), actions

    losses = train(dynamics, batch, 250)
    assert sum(losses[-20:]) / 20 < 0.1
    with pytest.raises(ValueError, match="windows of 3 frames are too short; use 4 or more"):
        dynamics.loss(fixed[:, :3], actions[:, :2])


def test_loss_sees_the_past_the_action_and_only_them() -> None:
    dynamics = rough(made())
    tokens, actions = some_play(1, 6)
    before = dynamics.loss(tokens, actions)[0]
    assert torch.equal(before, dynamics.loss(tokens, actions)[0])
    for t in range(5):
        other = actions.clone()
        other[0, t] = (other[0, t] + 1) % 3
        assert not torch.equal(before, dynamics.loss(tokens, other)[0]), t
    x = features(dynamics, tokens, actions)
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % TOKENS
    moved = (features(dynamics, changed, actions) - x).abs().amax(dim=(0, 2, 3))
    assert (moved[:3] == 0).all()  # frames 1, 2 and 3 are guessed without seeing frame 3
    assert (moved[3:] > 1e-4).all()


def features(dynamics: MaskGIT, tokens: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Features of frames 1 … T-1, each guessed from nothing but the frames before it: [1, T-1, N, D]."""
    table, found = dynamics.table(), []
    for t in range(1, tokens.shape[1]):
        known = known_of(dynamics, tokens[:, :t], actions[:, :t])[:, None]
        hidden = torch.ones(len(tokens), 1, PLACES, dtype=torch.bool)
        found.append(dynamics.guess(known, tokens[:, t : t + 1], hidden, actions[:, t - 1 : t], table))
    return torch.cat(found, dim=1)


def test_training_is_what_happens_at_play() -> None:
    """The loss over a whole window is the cross-entropy of each frame, foretold from a cache as at play."""
    dynamics = rough(made())
    tokens, actions = some_play(1, 6)
    place = torch.arange(PLACES).expand(1, 5, -1)
    logits = dynamics.logits(features(dynamics, tokens, actions), tokens[:, :-1], place, dynamics.table())
    entropy = torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens[:, 1:].flatten(), reduction="sum")
    hard = (tokens[:, 1:] != tokens[:, :-1]).sum()
    torch.testing.assert_close(dynamics.loss(tokens, actions)[0], entropy / hard, atol=1e-4, rtol=1e-4)


def test_hidden_tokens_are_hidden_and_seen_ones_are_seen() -> None:
    dynamics = rough(made())
    tokens, actions = some_play(1, 3)
    known = known_of(dynamics, tokens[:, :2], actions)[:, None]
    masked = torch.zeros(1, 1, PLACES, dtype=torch.bool)
    masked[..., :6] = True

    def look(grid: torch.Tensor) -> torch.Tensor:
        return dynamics.guess(known, grid, masked, actions[:, 1:], dynamics.table())

    for place, seen in ((2, False), (8, True)):
        other = tokens[:, 2:].clone()
        other[..., place] = (other[..., place] + 1) % TOKENS
        assert torch.equal(look(other), look(tokens[:, 2:])) is not seen


def test_advancing_frame_by_frame_is_reading_all_at_once() -> None:
    dynamics = rough(made())
    tokens, actions = some_play(2, 9)
    table, earlier = dynamics.table(), torch.cat([tokens[:, :1], tokens[:, :7]], dim=1)
    whole, _ = dynamics.foretell(tokens[:, :8], earlier, actions, table)
    empty = dynamics.remember(tokens[:, :1], actions[:, :0], table)
    rubbish = torch.full_like(empty.keys, 1e4)  # where nothing was yet
    memory = Memory(rubbish, rubbish.clone(), empty.filled)
    for t in range(8):
        known, memory = dynamics.advance(tokens[:, t], earlier[:, t], actions[:, t], memory, table)
        torch.testing.assert_close(known, whole[:, t], atol=1e-4, rtol=1e-3)
    for t in range(1, 9):
        known = known_of(dynamics, tokens[:, :t], actions[:, :t])
        torch.testing.assert_close(known, whole[:, t - 1], atol=1e-4, rtol=1e-3)


def test_memory_counts_back_from_the_present() -> None:
    keys = torch.zeros(2, 1, PLACES, 2, 3, 4)
    memory = Memory(keys, keys, torch.tensor([3, 1]))
    (past,) = memory.past()
    assert past.offset.tolist() == [[[3, 2, 1]], [[0, 0, 1]]]
    one = torch.ones(2, PLACES, 2, 1, 4)
    memory = memory.with_frame([KeysValues(one, one)])
    assert memory.filled.tolist() == [3, 2]
    assert memory.keys[..., :2, :].sum() == 0
    assert memory.values[..., 2, :].min() == 1


def test_the_own_dream_begins_with_the_context_and_follows_the_game(overfitted) -> None:
    dynamics, tokens, actions, _ = overfitted
    own = dynamics._own_dream(tokens, actions, actions < 0, dynamics.table())
    assert torch.equal(own, tokens[:, :-1])
    noise = made(replace(PLAIN, first=2))
    own = noise._own_dream(tokens, actions, actions < 0, noise.table())
    assert own.shape == tokens[:, :-1].shape
    assert torch.equal(own[:, :2], tokens[:, :2])
    assert not torch.equal(own[:, 2:], tokens[:, 2:-1])


FAULTY = replace(PLAIN, own_share=0.0, own_from=0.5, erased=0.0, action_noise=0.0)


def test_faults_come_late_and_change_the_context_alone() -> None:
    """Targets stay the real frames, and a frame that follows the true start is told as ever."""
    tokens, actions = some_play(2, 6)
    for changes in ({"own_share": 1.0}, {"erased": 1.0}, {"action_noise": 1.0}):
        dynamics = rough(made(replace(FAULTY, **changes)))
        plain = dynamics.loss(tokens, actions, 0.4)[0]
        assert torch.equal(plain, dynamics.loss(tokens, actions, 0.0)[0])
        torch.manual_seed(0)
        assert not torch.equal(plain, dynamics.loss(tokens, actions, 0.5)[0]), changes
    dynamics = rough(made(replace(FAULTY, own_share=1.0)))
    short = dynamics.loss(tokens[:, :2], actions[:, :1], 0.9)[0]  # nothing to dream: frame 1 has a true past
    assert torch.equal(short, dynamics.loss(tokens[:, :2], actions[:, :1], 0.0)[0])


def test_a_dream_that_left_the_game_teaches_nothing_any_more() -> None:
    dynamics = made(replace(FAULTY, own_share=1.0))
    tokens, actions = some_play(1, 6)
    dreamed = tokens[:, :-1].clone()
    dreamed[0, 1, :1] += 1  # one token away
    dreamed[0, 3, :2] += 1  # two: gone another way
    dynamics._own_dream = lambda *_: dreamed  # type: ignore[method-assign]
    context, told = dynamics._spoilt(tokens, actions, actions < 0, dynamics.table())
    assert torch.equal(context, dreamed)
    near = torch.tensor([True, True, True, False, False])
    assert torch.equal(told, near[None, :, None] & mendable(dreamed, tokens[:, :-1], tokens[:, 1:]))
    begins = torch.tensor([[False, True, False, False, True]])
    again = dynamics._spoilt(tokens, actions, begins, dynamics.table())[1]
    assert again[0, 1].all()  # all of a new game, also what the dream had otherwise
    assert torch.equal(again[0, [0, 2, 3, 4]], told[0, [0, 2, 3, 4]])


def test_a_new_game_is_drawn_once_for_all_places() -> None:
    """One frame in eight ends a game, and no picture tells which: no place may go on where others begin."""
    end, anew = torch.arange(PLACES), torch.arange(PLACES) + PLACES
    ending = torch.stack([end] * 3 + [anew] * 3)
    lasting = torch.stack([end] * 6)
    tokens = torch.stack([ending, lasting] * 8)
    actions = torch.zeros(16, 5, dtype=torch.int64)
    actions[::2, 2] = -1
    dynamics = made(replace(PLAIN, games=True))
    train(dynamics, lambda: (tokens, actions), 300)
    dynamics.requires_grad_(False)
    memory = dynamics.remember(tokens[:1, :3], actions[:1, :2], dynamics.table())
    known, _ = dynamics.advance(end[None], end[None], torch.tensor([0]), memory, dynamics.table())
    assert 0.05 < dynamics.end(known).sigmoid().item() < 0.25
    for begins, frame, other in ((False, end, anew), (True, anew, end)):
        told = dynamics.opened(known, torch.tensor([begins]))
        for seed in range(20):
            chance = torch.rand(1, 1, PLACES, generator=torch.Generator().manual_seed(seed))
            drawn, _ = dynamics.draw(told, end[None], torch.tensor([0]), dynamics.table(), 1.0, chance)
            assert (drawn[0] == frame).sum() >= PLACES - 2, (begins, seed)
            assert not (drawn[0] == other).any(), (begins, seed)


def test_an_action_counts_more_at_play_than_in_training_where_the_config_says_so() -> None:
    plain, firm = (rough(made(replace(PLAIN, insist=insist))) for insist in (1.0, 1.5))
    actions = torch.tensor([[0, 1, 2]])
    assert torch.equal(plain.meant(actions), firm.meant(actions))  # in training
    usual, asked = plain.action.weight.mean(dim=0), plain.eval().meant(actions)
    torch.testing.assert_close(firm.eval().meant(actions), usual + 1.5 * (asked - usual))
    tokens, _ = some_play()
    both = torch.zeros(2, 6, dtype=torch.int64)
    assert not torch.equal(known_of(plain, tokens, both), known_of(firm, tokens, both))
    with pytest.raises(ValueError, match="insist must be 0 or more, found -1"):
        replace(PLAIN, insist=-1)


def test_dynamics_of_before_know_of_no_games() -> None:
    """Windows across games fit them too: the action between the games is then a random one."""
    tokens, actions = some_play()
    actions[:, 2] = -1
    dynamics = made(PLAIN)
    assert not hasattr(dynamics, "opening")
    assert dynamics.loss(tokens, actions)[0].isfinite()
    begins, given = across_games(actions)
    assert torch.equal(begins, actions < 0)
    assert torch.equal(given[~begins], actions[~begins])
    assert given.min() >= 0
    assert given.max() < 3


def test_what_stands_still_is_not_mended() -> None:
    """A brick that a dream took away stays away; what moved of late is told where it is."""
    length = RECENT + 6
    real = torch.zeros(1, length, 3, dtype=torch.int64)
    real[0, 3:, 1] = 1  # this place changes once, between frames 2 and 3
    dreamed = real.clone()
    dreamed[0, :, 0] = 7  # a brick too few, for ever
    dreamed[0, :, 1] = 7
    told = mendable(dreamed[:, :-1], real[:, :-1], real[:, 1:])
    assert not told[0, :, 0].any()
    assert told[0, :, 1].nonzero()[:, 0].tolist() == list(range(2, 2 + RECENT))
    assert told[0, :, 2].all()  # where nothing is wrong there is nothing to mend, and all is told


def test_what_is_erased_shows_the_usual_from_some_frame_on() -> None:
    usual = torch.arange(PLACES)
    tokens = usual.repeat(64, 6, 1)
    tokens[:8] = torch.randint(PLACES, TOKENS, (8, 6, PLACES))
    torch.manual_seed(0)
    found = erased(tokens, GRID, 1.0)
    gone = (found != tokens)[:8]
    assert torch.equal(found[:8][gone], usual.expand(8, 6, PLACES)[gone])
    boxes = gone.any(dim=1).view(8, *GRID)
    assert boxes.any(dim=(1, 2)).all()
    rows, columns = boxes.any(2), boxes.any(1)
    assert torch.equal(boxes, rows[:, :, None] & columns[:, None])  # rectangles
    for shown in gone.any(-1):
        since = int(shown.int().argmax())
        assert shown[since:].all()
    assert torch.equal(erased(tokens, GRID, 0.0), tokens)


def test_some_actions_are_swapped() -> None:
    torch.manual_seed(0)
    found = swapped(torch.zeros(4000, dtype=torch.int64), 3, 0.3)
    assert set(found.unique().tolist()) == {0, 1, 2}
    assert abs((found != 0).float().mean().item() - 0.3 * 2 / 3) < 0.03  # a third of them are what was there


def test_one_greedy_pass_is_the_argmax() -> None:
    dynamics = rough(made())
    tokens, actions = some_play(3, 5)
    known, table = known_of(dynamics, tokens[:, :4], actions), dynamics.table()
    hidden = torch.ones(3, 1, PLACES, dtype=torch.bool)
    x = dynamics.guess(known[:, None], tokens[:, 3:4], hidden, actions[:, 3:], table)
    logits = dynamics.logits(x[:, 0], tokens[:, 3], torch.arange(PLACES).expand(3, -1), table)
    grid, entropy = dynamics.draw(known, tokens[:, 3], actions[:, 3], table, 0.0, torch.rand(3, 1, PLACES))
    assert torch.equal(grid, logits.argmax(-1))
    share = logits.softmax(-1)
    want = torch.distributions.Categorical(probs=torch.where(share < 0.005, 0.0, share)).entropy()
    torch.testing.assert_close(entropy, want, atol=1e-4, rtol=1e-4)


def test_what_is_familiar_at_a_place() -> None:
    here = torch.zeros(PLACES, TOKENS, dtype=torch.bool)
    here[0, 5] = True
    here[[0, 1], 6] = True
    here[[0, 4], 7] = True
    found = familiarity(here, GRID)
    assert found.shape == (PLACES, TOKENS)
    assert found[0, 5] == found[1, 6] == found[4, 7] == 0
    assert (found[1:, 5] == NEVER).all()  # seen once, and nowhere else
    assert (found[[2, 3], 6] == NEAR).all()  # at two places of the row
    assert (found[4:, 6] == NEVER).all()
    assert found[8, 7] == NEAR  # at two places of the column
    assert (found[1:4, 7] == NEVER).all()


def test_a_token_is_not_drawn_where_it_was_never_seen_unless_it_stays() -> None:
    dynamics = rough(made(replace(PLAIN, familiar=True)))
    tokens, actions = some_play(3, 5)
    present, action = tokens[:, 3], actions[:, 3]
    known, table = known_of(dynamics, tokens[:, :4], actions), dynamics.table()
    draws = torch.rand(20, 3, 4, PLACES, generator=torch.Generator().manual_seed(3))

    def drawn() -> torch.Tensor:
        return torch.cat([dynamics.draw(known, present, action, table, 1.0, chance)[0] for chance in draws])

    def strange(grid: torch.Tensor) -> torch.Tensor:
        return ((grid + torch.arange(PLACES)) % 4 > 0) & (grid != present.repeat(20, 1))

    assert strange(drawn()).float().mean() > 0.5
    here = (torch.arange(TOKENS) + torch.arange(PLACES)[:, None]) % 4 == 0
    dynamics.learn_places(torch.where(here, 0.0, -100.0))
    assert not strange(drawn()).any()
    with torch.no_grad():
        dynamics.stay.bias.fill_(50.0)
    assert torch.equal(drawn(), present.repeat(20, 1))
    dynamics.learn_places(torch.full((PLACES, TOKENS), -3.0))
    assert torch.equal(dynamics.prior == 0, here)  # what was known before is kept
    assert (dynamics.prior[~here] == -3).all()


def test_few_hidden_places_are_guessed_as_many_are() -> None:
    dynamics = rough(made())
    tokens, actions = some_play(4, 5)
    known, table, before = known_of(dynamics, tokens[:, :4], actions), dynamics.table(), tokens[:, 3]
    masked = torch.zeros(4, PLACES, dtype=torch.bool)
    masked[0, 7] = masked[1, 0] = masked[1, 11] = masked[3, 2:6] = True  # nothing is hidden in the third frame
    x = dynamics.guess(known[:, None], before[:, None], masked[:, None], actions[:, 3:], table)[:, 0]
    found = dynamics._guess_open(known, before, masked, actions[:, 3], table)
    torch.testing.assert_close(found, x[masked])


def test_many_passes_agree_with_each_other_where_one_does_not() -> None:
    """Two neighbours always show the same, one of two things: drawn in one pass they differ half the time."""
    dynamics = made(replace(PLAIN, whole=0.0, depth=1))
    still = torch.zeros(32, 1, PLACES, dtype=torch.int64)
    actions = torch.zeros(32, 1, dtype=torch.int64)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        tokens = still.repeat(1, 2, 1)
        tokens[:, 1, [5, 6]] = torch.randint(1, 3, (32, 1))
        return tokens, actions

    train(dynamics, batch, 400)
    dynamics.requires_grad_(False)
    known, table = known_of(dynamics, still, actions), dynamics.table()
    alike = {}
    for steps in (1, PLACES):
        luck = torch.Generator().manual_seed(0)
        draws = [torch.rand(32, steps, PLACES, generator=luck) for _ in range(4)]
        grid = torch.cat([dynamics.draw(known, still[:, 0], actions[:, 0], table, 1.0, chance)[0] for chance in draws])
        alike[steps] = (grid[:, 5] == grid[:, 6]).float().mean().item()
        assert 0.2 < (grid[:, 5] == 1).float().mean() < 0.8  # it is not always the same thing
    assert 0.2 < alike[1] < 0.8
    assert alike[PLACES] > 0.9, alike


def test_training_on_some_easy_tokens_leaves_the_expected_loss_as_it_is() -> None:
    dynamics = rough(made())
    window, _ = block_play.play(4, 6, seed=2)
    tokenizer = replace(TokenizerConfig.sized("tiny"), patch=block_play.PATCH, codes=TOKENS).build(block_play.SPEC)
    tokenizer.fit(iter(window.frames))
    tokens = tokenizer.encode(window.frames)  # mostly unchanged, as in a game
    exact = dynamics.loss(tokens, window.actions)[0]
    dynamics.config = replace(PLAIN, easy=8)
    torch.manual_seed(1)
    draws = torch.stack([dynamics.loss(tokens, window.actions)[0] for _ in range(300)])
    assert draws.std() > 0
    assert abs(draws.mean() - exact) < 4 * draws.std() / len(draws) ** 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30, "heads": 4}, "width 30 is not divisible by 4 heads; use 1, 2, 3, 5, 6, 10, 15"),
        ({"reach": 1}, "reach 1 must be 2 or more"),
        ({"own_share": 1.5}, r"own_share must be in \[0, 1\], found 1.5"),
    ],
)
def test_bad_configs_say_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)
