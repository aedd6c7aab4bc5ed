"""--set: typed, checked against the fields, and helpful where a name is wrong."""

import pytest

from app.commands.train import as_typed
from training.overrides import apply_overrides
from training.presets import Experiment, best_patch, preset

BASE = preset("maskgit", "pong", 104, 80, "tiny")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("seed=7", lambda made: made.seed == 7),
        ("dynamics.steps=500", lambda made: made.dynamics.steps == 500),
        ("family.dynamics.width=64", lambda made: made.family.dynamics.width == 64),
        ("dynamics.optim.lr=0.5", lambda made: made.dynamics.optim.lr == 0.5),
        ("dynamics.optim.lr=1", lambda made: made.dynamics.optim.lr == 1.0 and type(made.dynamics.optim.lr) is float),
        ("dynamics.optim.lr=3e-3", lambda made: made.dynamics.optim.lr == 0.003),
        ("lam.optim.muon=false", lambda made: made.lam.optim.muon is False),
        ("lam.optim.muon=False", lambda made: made.lam.optim.muon is False),
        ("family.tokenizer.kind=vq", lambda made: made.family.tokenizer.kind == "vq"),
        ("family.tokenizer.kind='fsq'", lambda made: made.family.tokenizer.kind == "fsq"),
        ("family.tokenizer.levels=[4,4]", lambda made: made.family.tokenizer.levels == (4, 4)),
        ("family.tokenizer.patch=(8, 8)", lambda made: made.family.tokenizer.patch == (8, 8)),
        (" dynamics.steps = 500 ", lambda made: made.dynamics.steps == 500),
    ],
)
def test_one_value_changes(change: str, found) -> None:
    made = apply_overrides(BASE, [change])
    assert found(made)
    assert isinstance(made, Experiment)


def test_nothing_else_changes() -> None:
    made = apply_overrides(BASE, ["dynamics.steps=500", "lam.batch=2", "dynamics.steps=600"])
    back = apply_overrides(made, [f"dynamics.steps={BASE.dynamics.steps}", f"lam.batch={BASE.lam.batch}"])
    assert made.dynamics.steps == 600
    assert made != BASE
    assert back == BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dynamics.steps", r"--set wants key=value, found 'dynamics.steps'"),
        ("stepz=1", r"--set stepz: no 'stepz' here; known: game, family, tokenizer, lam, dynamics, seed"),
        ("dynamics.step=1", r"no 'step' here; did you mean 'steps'\? known: steps, batch, length, report_every"),
        ("seed.more=1", r"no 'more' here; known: nothing"),
        ("dynamics=1", r"--set dynamics: is a group of values; set one of dynamics.steps, dynamics.batch"),
        ("dynamics.steps=many", r"--set dynamics.steps: expected int, found 'many'"),
        ("dynamics.steps=1.5", r"--set dynamics.steps: expected int, found 1.5"),
        ("dynamics.steps=True", r"--set dynamics.steps: expected int, found True"),
        ("lam.optim.muon=1", r"--set lam.optim.muon: expected bool, found 1"),
        ("dynamics.optim.lr=fast", r"--set dynamics.optim.lr: expected float, found 'fast'"),
        ("family.tokenizer.patch=8", r"--set family.tokenizer.patch: expected tuple, found 8"),
        ("dynamics.steps=0", r"steps must be 1 or more, found 0"),
        ("dynamics.optim.lr=-1", r"lr -1.0 must be positive"),
        ("family.tokenizer.kind=jpeg", r"tokenizer kind must be patch, vq or fsq, found 'jpeg'"),
        ("family.latent_actions.codes=1", r"number of latent actions must be in \[2, 64\], found 1"),
        (
            "family.dynamics.heads=0",
            r"width \d+ is not divisible by 0 heads; use 1, 2, 4, 8, 16",
        ),
        ("family.tokenizer.patch=('a', 8)", r"--set family.tokenizer.patch=\('a', 8\): cannot be: "),
        ("family.tokenizer.patch=(8,)", r"experiment.family.tokenizer.patch must be tuple, found '\(8,\)'"),
        ("family.tokenizer.levels=[8, 'b']", r"experiment.family.tokenizer.levels must be tuple, found "),
        ("dynamics.steps=__import__('os')", r"expected int, found \"__import__"),
    ],
)
def test_what_a_person_gets_wrong(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        apply_overrides(BASE, [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["maskgit", "maskgit-vq", "maskgit-fsq"])
@pytest.mark.parametrize("size", ["tiny", "small", "base", "paper"])
def test_every_preset_comes_in_every_size(name: str, size: str) -> None:
    made = preset(name, "pong", 104, 80, size)
    assert made.family.tokenizer.kind == {"maskgit": "patch", "maskgit-vq": "vq", "maskgit-fsq": "fsq"}[name]
    assert made.family.tokenizer.patch == best_patch(104, 80)
    assert made.game == "pong"
    assert made.dynamics.length > made.family.dynamics.first  # there is a frame to guess


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown preset 'maskgti'; known: maskgit, maskgit-vq, maskgit-fsq"):
        preset("maskgti", "pong", 104, 80)


@pytest.mark.parametrize(("size", "patch"), [((104, 80), (13, 10)), ((64, 64), (8, 8)), ((105, 80), (15, 8))])
def test_a_patch_is_chosen_that_divides_the_frame(size: tuple[int, int], patch: tuple[int, int]) -> None:
    rows, columns = best_patch(*size)
    assert size[0] % rows == size[1] % columns == 0
    assert 48 <= size[0] * size[1] // (rows * columns) <= 100
    assert (rows, columns) == patch


def test_a_frame_that_no_patch_divides() -> None:
    with pytest.raises(ValueError, match="no patch of 4 to 16 pixels divides a frame of 97x80"):
        best_patch(97, 80)


def test_a_card_says_what_was_typed() -> None:
    usual = {"preset_name": "auto", "size": "small", "seed": 0, "minutes": None, "changes": ()}
    assert as_typed(usual) == ""
    told = {"preset_name": "genie", "size": "tiny", "seed": 7, "minutes": 12.5, "changes": ("lam.steps=9",)}
    assert as_typed(told) == " --preset genie --size tiny --seed 7 --minutes 12.5 --set lam.steps=9"
    patch = {**usual, "changes": ("family.tokenizer.patch=(13, 8)",)}
    assert as_typed(patch) == " --set 'family.tokenizer.patch=(13, 8)'"


@pytest.mark.parametrize(("minutes", "lam"), [(20, 6), (30, 9), (90, 15)])
def test_minutes_are_shared_out(minutes: float, lam: float) -> None:
    made = BASE.within(minutes)
    assert made.lam.minutes == pytest.approx(lam)
    assert made.dynamics.minutes == pytest.approx(minutes - lam)
    genie = preset("genie", "pong", 104, 80, "tiny").within(minutes)
    assert genie.tokenizer.minutes + genie.lam.minutes + genie.dynamics.minutes == pytest.approx(minutes)
