"""The training loop: it learns, stops where it must, and goes on as if nothing had happened."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from app.cli import explain
from training import loop
from training.loop import Interrupted, LoopConfig, NotFinite, Part, train_part
from training.optim import Average, OptimConfig, Optimiser
from training.runs import Run

CONFIG = LoopConfig(
    steps=30, batch=8, length=2, report_every=5, keep_every=7, optim=OptimConfig(lr=0.02, warmup=3, average=0.9)
)


class Net(nn.Module):
    """A matrix in a block, as Muon takes them, luck while it trains, and a buffer that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6)])
        self.head = nn.Linear(6, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = nn.functional.dropout(self.blocks[0](x).tanh(), 0.3, self.training)
        return self.head(x)[:, 0]


def part_of(net: Net, stop: Callable[[int], None] | None = None, preview: Any = None) -> Part:
    """Learn a sum, from numbers that numpy draws and noise that torch draws. `stop` may end it at any step."""

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        if stop is not None:
            stop(round(progress * CONFIG.steps))
        x = torch.from_numpy(rng.standard_normal((8, 6), np.float32))
        y = net(x + 0.1 * torch.randn(8, 6))
        error = (y - x.sum(-1)).square().mean()
        return error, {"bias": net.head.bias.detach()[0], "progress": torch.tensor(progress)}

    return Part("net", net, loss, preview)


def fresh() -> Net:
    torch.manual_seed(11)
    return Net()


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "steps_per_second"} for line in lines]


def at(step: int, error: BaseException) -> Callable[[int], None]:
    def stop(now: int) -> None:
        if now == step:
            raise error

    return stop


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return train_part(part_of(fresh()), CONFIG, Run(folder, {}), seed=4), folder


@pytest.mark.parametrize("step", [0, 3, 7, 10, 13, 14, 29])
def test_interrupted_and_resumed_is_the_same_as_never_interrupted(
    tmp_path: Path, whole: tuple[nn.Module, Path], step: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted, match=rf"stopped; go on with --resume --run {folder}"):
        train_part(part_of(fresh(), at(step, KeyboardInterrupt())), CONFIG, Run(folder, {}), seed=4)
    torch.manual_seed(999)
    torch.rand(step + 1)
    net = train_part(part_of(fresh()), CONFIG, Run(folder, {}, resume=True), seed=4)
    assert same_weights(net, whole[0])
    assert metrics(folder) == metrics(whole[1])


def test_interrupted_again_and_again(tmp_path: Path, whole: tuple[nn.Module, Path]) -> None:
    folder = tmp_path / "run"
    for step in (9, 16, 17, 25):
        part = part_of(fresh(), at(step, KeyboardInterrupt()))
        with pytest.raises(Interrupted):
            train_part(part, CONFIG, Run(folder, {}, resume=folder.exists()), seed=4)
    net = train_part(part_of(fresh()), CONFIG, Run(folder, {}, resume=True), seed=4)
    assert same_weights(net, whole[0])
    assert metrics(folder) == metrics(whole[1])


def test_what_is_kept_is_all_there_is(tmp_path: Path, whole: tuple[nn.Module, Path]) -> None:
    """Weights, averages, moments, luck and what was logged: resume from the file alone, in an altered process."""
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_part(part_of(fresh(), at(14, KeyboardInterrupt())), CONFIG, Run(folder, {}), seed=4)
    torch.manual_seed(123)
    other = Net()  # other weights: all must come from the file
    net = train_part(part_of(other), CONFIG, Run(folder, {}, resume=True), seed=77)
    assert same_weights(net, whole[0])


def test_previews_show_the_average_and_change_nothing(tmp_path: Path, whole: tuple[nn.Module, Path]) -> None:
    seen = []

    def preview(module: nn.Module) -> Tensor:
        seen.append(module.training)
        return torch.zeros(3, 4, 4, dtype=torch.uint8)

    folder = tmp_path / "run"
    net = train_part(part_of(fresh(), preview=preview), CONFIG, Run(folder, {}), seed=4)
    assert same_weights(net, whole[0])
    assert seen == [False] * 5
    names = [path.name for path in sorted((folder / "previews").glob("*.png"))]
    assert names == [f"net-{step:06d}.png" for step in (7, 14, 21, 28, 30)]


def test_it_learns_and_the_average_is_what_is_returned(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=300, keep_every=1000, report_every=50)
    net = fresh()
    trained = train_part(part_of(net), config, Run(tmp_path / "run", {}), seed=0)
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [50, 100, 150, 200, 250, 300]
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert trained is net
    assert not net.training
    x = torch.randn(200, 6)
    assert (net(x) - x.sum(-1)).square().mean() < 2.0  # of 6


def test_reports_are_means_over_the_steps_since_the_last(tmp_path: Path, whole: tuple[nn.Module, Path]) -> None:
    lines = metrics(whole[1])
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25, 30]
    for line in lines:
        first = line["step"] - 5
        assert line["progress"] == pytest.approx((first + 2) / 30, abs=1e-5)
        assert set(line) == {"part", "step", "loss", "bias", "progress", "gradient"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, value: float) -> None:
    net, folder = fresh(), tmp_path / "run"
    part = part_of(net)
    steps = iter(range(100))

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        right, logs = part.loss(rng, progress)
        return (right * value if next(steps) == 17 else right), logs

    with pytest.raises(
        NotFinite, match=rf"loss of net is {value} at step 17; the last good checkpoint is kept"
    ) as stop:
        train_part(replace(part, loss=loss), CONFIG, Run(folder, {}), seed=4)
    assert isinstance(stop.value, FloatingPointError)
    assert stop.value.exit_code == 3
    assert all(torch.isfinite(weight).all() for weight in net.parameters())
    kept = torch.load(folder / "resume" / "net.pt", weights_only=True)
    assert kept["step"] == 14
    dump = torch.load(folder / "nan_dump.pt", weights_only=True)
    assert dump["step"] == 17
    assert len(dump["statistics"]) == 10
    assert [set(line) for line in dump["statistics"]] == [{"loss", "bias", "progress", "gradient"}] * 10
    assert dump["statistics"][-1]["progress"] == pytest.approx(16 / 30)


def spoiled(part: Part, first: int, count: int, how: Callable[[Tensor], Tensor]) -> Part:
    """A part whose loss goes wrong from step `first` on, `count` times."""
    steps = iter(range(100))

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        right, logs = part.loss(rng, progress)
        return (how(right) if first <= next(steps) < first + count else right), logs

    return replace(part, loss=loss)


def test_where_nothing_is_kept_yet_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    part = spoiled(part_of(fresh()), 3, 1, lambda loss: loss * math.nan)
    advice = r"go on with --resume --override --set net\.optim\.lr=0\.007; the weights lie in .*nan_dump\.pt"
    with pytest.raises(NotFinite, match=rf"loss of net is nan at step 3; nothing is kept yet; {advice}") as stop:
        train_part(part, CONFIG, Run(tmp_path / "run", {}), seed=4)
    assert explain(stop.value) == (str(stop.value), 3)


def test_a_full_disk_does_not_hide_why_training_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, state: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "write_state", full)
    part = spoiled(part_of(fresh()), 3, 1, lambda loss: loss * math.nan)
    with pytest.raises(NotFinite, match=r"loss of net is nan at step 3; .*the weights were not written: .*No space"):
        train_part(part, CONFIG, Run(tmp_path / "run", {}), seed=4)


@pytest.mark.parametrize("count", [9, 10])
def test_gradients_that_stay_no_numbers_stop_the_run(tmp_path: Path, count: int) -> None:
    net = fresh()
    part = spoiled(part_of(net), 5, count, lambda loss: loss + (0 * net.head.weight).sqrt().sum())
    run = Run(tmp_path / "run", {})
    if count < 10:
        train_part(part, CONFIG, run, seed=4)
    else:
        message = r"gradient of net is nan at step 14; the last good checkpoint is kept; go on with"
        with pytest.raises(NotFinite, match=message):
            train_part(part, CONFIG, run, seed=4)
    assert all(torch.isfinite(weight).all() for weight in net.parameters())


@pytest.mark.parametrize(
    ("use", "warnings"), [([3] * 6, 1), ([3, 3, 40, 3, 3, 40], 0), ([20] * 6, 0), ([3, 3, 3, 40, 3, 3], 1)]
)
def test_codes_that_fall_out_of_use_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], use: list[int], warnings: int
) -> None:
    part = part_of(fresh())

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        right, logs = part.loss(rng, progress)
        return right, {**logs, "perplexity": torch.tensor(use[round(progress * CONFIG.steps) // CONFIG.report_every])}

    train_part(replace(part, loss=loss, codes=100), CONFIG, Run(tmp_path / "run", {}), seed=4)
    told = capsys.readouterr().err
    line = "warning: net: 3 of 100 codes in use; lower net.optim.lr or start again with another --seed"
    assert told.count(line) == told.count("warning") == warnings


def test_after_a_loss_that_was_no_number_the_run_goes_on(tmp_path: Path, whole: tuple[nn.Module, Path]) -> None:
    folder = tmp_path / "run"
    part = part_of(fresh())
    bad = iter([False] * 17 + [True])

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        right, logs = part.loss(rng, progress)
        return (right * math.nan if next(bad) else right), logs

    with pytest.raises(NotFinite):
        train_part(replace(part, loss=loss), CONFIG, Run(folder, {}), seed=4)
    net = train_part(part_of(fresh()), CONFIG, Run(folder, {}, resume=True), seed=4)
    assert same_weights(net, whole[0])
    assert metrics(folder) == metrics(whole[1])


def test_learning_rate_rises_stays_and_falls() -> None:
    config = OptimConfig(warmup=10, decay=0.4, floor=0.1)
    rates = [config.rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(0.5)
    assert rates[10:61] == pytest.approx([1.0] * 51)
    assert rates[80] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert all(one >= two for one, two in pairwise(rates[10:]))


def test_muon_takes_the_matrices_of_blocks_and_adam_the_rest() -> None:
    net = fresh()
    adam, muon = Optimiser(net, OptimConfig()).parts
    assert [weight.data_ptr() for weight in muon.param_groups[0]["params"]] == [net.blocks[0].weight.data_ptr()]
    assert len(adam.param_groups[0]["params"]) == 3
    assert len(Optimiser(net, OptimConfig(muon=False)).parts) == 1


def test_gradients_are_clipped_and_cleared() -> None:
    net = fresh()
    optimiser = Optimiser(net, OptimConfig(clip=1.0))
    (1e6 * net(torch.ones(4, 6)).sum()).backward()
    norm = optimiser.step(1.0)
    assert norm > 1e5
    assert all(weight.grad is None for weight in net.parameters())


def test_the_average_follows_and_copies_counters() -> None:
    net = fresh()
    average = Average(net, 0.9)
    with torch.no_grad():
        net.head.bias.fill_(1.0)
        net.calls.fill_(5.0)
    before = average.module.head.bias.clone()
    average.follow(net, step=1000)
    torch.testing.assert_close(average.module.head.bias, 0.9 * before + 0.1)
    assert average.module.calls == 5
    average.follow(net, step=0)  # early on nothing of the beginning is kept for long
    assert average.module.head.bias > 0.9


@pytest.mark.parametrize("name", ["steps", "batch", "length", "report_every", "keep_every"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, found 0"):
        replace(CONFIG, **{name: 0})


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"decay": 1.5}, {"average": 1.0}])
def test_bad_optimisers_say_why(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        OptimConfig(**wrong)


def test_time_may_decide_how_long_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second each time it is read: a quarter of a minute is fifteen looks at it."""
    now = iter(range(1000, 2000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(now)))
    seen: list[float] = []
    part = part_of(fresh())

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(progress)
        return part.loss(rng, progress)

    run = Run(tmp_path / "run", {"a": 1})
    train_part(replace(part, loss=loss), replace(CONFIG, minutes=0.25, keep_every=5), run, 0)
    assert seen == pytest.approx([step / 15 for step in range(1, 1 + len(seen))], abs=0.2)
    assert all(one < other for one, other in pairwise(seen))
    assert 0.8 < seen[-1] < 1
    reports = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert reports[-1]["step"] == len(seen)
    assert run.load_resume("net") is not None
    before = len(seen)
    train_part(replace(part, loss=loss), replace(CONFIG, minutes=0.25), Run(tmp_path / "run", {"a": 1}, resume=True), 0)
    assert seen[before] > 0.3  # what was spent before counts
    with pytest.raises(ValueError, match="minutes must be 0 or more, found -1"):
        replace(CONFIG, minutes=-1.0)


@pytest.mark.parametrize(
    ("single", "half", "pays"),
    [([1.0] * 7, [0.3] * 7, True), ([1.0] * 7, [0.9] * 7, False), ([1.0] * 7, [0.3] + [9.0] * 6, True)],
    ids=["faster", "hardly-faster", "faster-on-a-busy-machine"],
)
def test_bf16_is_judged_by_its_best_round(
    monkeypatch: pytest.MonkeyPatch, single: list[float], half: list[float], pays: bool
) -> None:
    taken = [seconds for both in zip(single, half, strict=True) for seconds in both]
    clock = iter([when for seconds in taken for when in (0.0, seconds)])
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))
    assert loop.bf16_pays("cpu") is pays
    assert next(clock, None) is None
