"""Changes of colour: counted over play, and what was never seen is not drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.dynamics.changes import Changes, count_changes
from models.dynamics.config import MaskGITConfig
from models.dynamics.maskgit import MaskGIT
from models.frames import SHADES, shades_of

BLACK, WHITE, RED = 0, 1, 2
SHADES_OF_TOKENS = torch.tensor([[BLACK, BLACK], [WHITE, BLACK], [BLACK, WHITE], [WHITE, WHITE], [RED, BLACK]])
"""Tokens of one row and two columns of pixels: nothing, a dot left, a dot right, both, a red dot left."""
NOTHING, LEFT, RIGHT, BOTH, REDDISH = range(5)


def counted(*films: list[list[int]], grid: tuple[int, int] = (1, 1)) -> Changes:
    frames = np.array([frame for film in films for frame in film], np.int32)
    firsts = np.cumsum([0, *(len(film) for film in films[:-1])])
    changes = Changes(grid[0] * grid[1], 2, len(SHADES_OF_TOKENS))
    changes.shades = SHADES_OF_TOKENS
    changes.learn(count_changes(frames, firsts, SHADES_OF_TOKENS.numpy(), grid, 2))
    return changes


def strange(changes: Changes, before: int, after: int, place: int = 0) -> int:
    return int(changes.strange(*(torch.tensor([each]) for each in (place, before, after))))


def test_colours_are_numbered_and_too_many_are_not() -> None:
    patches = torch.tensor([[5, 0, 0, 0, 9, 9], [5, 5, 0, 0, 9, 9]], dtype=torch.uint8)  # two pixels, three channels
    found = shades_of(patches, 3)
    assert found is not None
    assert found.shape == (2, 2)
    assert len({int(found[0, 0]), int(found[0, 1])}) == 2
    assert found[0, 0] == found[1, 0] == found[1, 1]
    many = torch.arange(SHADES + 1, dtype=torch.uint8)[:, None]
    assert shades_of(many, 1) is None
    assert shades_of(many[:-1], 1) is not None


def test_what_play_shows_is_not_strange_and_what_it_does_not_is() -> None:
    changes = counted([[NOTHING], [LEFT], [LEFT], [NOTHING]], [[RIGHT], [NOTHING]])
    assert strange(changes, NOTHING, LEFT) == strange(changes, LEFT, NOTHING) == strange(changes, RIGHT, NOTHING) == 0
    assert strange(changes, NOTHING, REDDISH) == 1
    assert strange(changes, LEFT, REDDISH) == 1
    assert strange(changes, NOTHING, RIGHT) == 1, "the right pixel only ever went dark: one other pixel is too few"
    assert strange(changes, BOTH, BOTH) == 0, "what stays is never strange"


def test_the_end_of_a_game_and_the_next_one_are_no_change() -> None:
    assert strange(counted([[NOTHING], [NOTHING]], [[LEFT], [LEFT]]), NOTHING, LEFT) == 1
    assert strange(counted([[NOTHING], [NOTHING], [LEFT], [LEFT]]), NOTHING, LEFT) == 0


def test_more_pixels_at_once_than_ever_are_strange() -> None:
    """Each pixel has gone white, but never both at once."""
    changes = counted([[NOTHING], [LEFT], [NOTHING], [RIGHT], [NOTHING]])
    assert strange(changes, NOTHING, LEFT) == strange(changes, NOTHING, RIGHT) == 0
    assert strange(changes, NOTHING, BOTH) == 1
    assert strange(counted([[NOTHING], [BOTH]]), NOTHING, BOTH) == 0


def test_what_two_of_a_row_did_the_third_may_do() -> None:
    film = [[NOTHING, NOTHING, NOTHING], [BOTH, NOTHING, NOTHING], [BOTH, BOTH, NOTHING]]
    assert strange(counted(film[:2], grid=(1, 3)), NOTHING, BOTH, place=2) == 2, "one place is too few"
    assert strange(counted(film, grid=(1, 3)), NOTHING, BOTH, place=2) == 0
    upright = counted(film, grid=(3, 1))
    assert strange(upright, NOTHING, BOTH, place=2) == 0
    apart = counted([[NOTHING] * 4, [BOTH, NOTHING, NOTHING, NOTHING], [BOTH, NOTHING, NOTHING, BOTH]], grid=(2, 2))
    assert strange(apart, NOTHING, BOTH, place=1) == 2, "neither of a row nor of a column"


def test_what_is_counted_later_adds_to_what_was() -> None:
    changes = counted([[NOTHING], [LEFT]])
    more = counted([[LEFT], [NOTHING]])
    assert strange(changes, LEFT, NOTHING) == 1
    frames = np.array([[LEFT], [NOTHING]], np.int32)
    later = count_changes(frames, np.array([0]), SHADES_OF_TOKENS.numpy(), (1, 1), 2)
    changes.learn(later)
    assert strange(changes, LEFT, NOTHING) == strange(changes, NOTHING, LEFT) == 0
    assert strange(more, NOTHING, LEFT) == 1


def test_strange_tokens_lose_and_all_others_keep_their_logits() -> None:
    changes = counted([[NOTHING], [LEFT], [NOTHING]])
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.5, -20.0]])
    found = changes(logits, torch.tensor([0]), torch.tensor([NOTHING]))
    assert found[0, [NOTHING, LEFT]].tolist() == [1.0, 2.0]
    assert found[0, RIGHT] == 3.0 - 4.0
    assert found[0, BOTH] == 0.5 - 4.0
    assert found[0, REDDISH] == -20.0, "without a chance anyway"
    assert logits[0, RIGHT] == 3.0, "the logits that were given stay as they are"


def test_before_anything_is_counted_everything_may_happen() -> None:
    changes = Changes(1, 2, 5)
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.5, 0.0]])
    assert torch.equal(changes(logits, torch.tensor([0]), torch.tensor([0])), logits), "no colours known"
    changes.shades = SHADES_OF_TOKENS
    assert torch.equal(changes(logits, torch.tensor([0]), torch.tensor([0])), logits)


@pytest.mark.parametrize(("begins", "wanted"), [(False, LEFT), (True, BOTH)])
def test_a_new_game_looks_as_games_begin(begins: bool, wanted: int) -> None:
    """Dynamics that care little what is drawn: within a game a dot comes and goes, and each game begins with two."""
    torch.manual_seed(0)
    config = replace(MaskGITConfig.sized("tiny"), familiar=False, changes=True)
    dynamics = MaskGIT(config, torch.randn(5, 6), (1, 1), 3, pixels=2).eval()
    assert dynamics.changes is not None
    seen = counted([[BOTH], [NOTHING], [LEFT], [NOTHING]], [[BOTH], [NOTHING]])
    dynamics.changes.load_state_dict(seen.state_dict())
    dynamics.changes.shades = SHADES_OF_TOKENS
    likes = torch.tensor([-9.0, 0.0, 0.1, 0.2, 0.3])
    dynamics.logits = lambda x, *rest: likes.expand(len(x), -1)
    before, action = torch.full((40, 1), NOTHING), torch.zeros(40, dtype=torch.int64)
    known, chance = torch.zeros(40, 1, config.width), torch.rand(40, 2, 1)
    drawn, _ = dynamics.draw(known, before, action, dynamics.table(), 1.0, chance, torch.full((40,), begins))
    assert float((drawn == wanted).float().mean()) > 0.9
