"""The training loop, once: draw, loss, step, report, keep; the same for every part of every family."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.balance import Balance
from training.optim import Average, OptimConfig, Optimiser
from training.runs import Run, random_state, set_random_state, write_state

Logs = dict[str, Tensor]

MOST_SKIPPED = 10
"""Steps in a row whose gradient is not finite, after which training stops."""

ROUNDS = 7
"""How often each kind of matrix product is timed, before it is settled which one pays."""

FEW, PATIENCE = 0.2, 3
"""Share of the codes in use, and reports in a row below it, after which a part is said to collapse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """steps: optimiser steps; minutes: 0, or how long to train instead, with a schedule that follows the clock; batch:
    windows a step; length: frames a window, T; report_every and keep_every: steps between reports and between resume
    checkpoints; balance: which windows, see balance.py."""

    steps: int = 1000
    batch: int = 32
    length: int = 8
    report_every: int = 25
    keep_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    balance: Balance = "none"
    minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "length", "report_every", "keep_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.minutes < 0:
            raise ValueError(f"minutes must be 0 or more, found {self.minutes}")
        if self.balance not in get_args(Balance):
            raise ValueError(f"balance must be one of {', '.join(get_args(Balance))}, found {self.balance!r}")


@dataclass(frozen=True, slots=True)
class Part:
    """Something trainable. `loss(rng, progress)` draws a batch with rng and returns the loss and logs;
    `preview(module)` draws a picture uint8 [C, H, W] of what was learned, or None; codes: how many there are of
    those whose perplexity it logs; `kept(module, step, done)` is called after each checkpoint and at the end.
    Preview and kept get the averaged weights and may not touch torch's global luck, or a resumed run would differ."""

    name: str
    module: nn.Module
    loss: Callable[[np.random.Generator, float], tuple[Tensor, Logs]]
    preview: Callable[[nn.Module], Tensor | None] | None = None
    codes: int | None = None
    kept: Callable[[nn.Module, int, bool], None] | None = None


class NotFinite(FloatingPointError):
    """The loss or the gradients became infinite or no number; nothing that follows would mean anything."""

    exit_code = 3


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; everything up to here is kept."""


def train_part(part: Part, config: LoopConfig, run: Run, seed: int, autocast: bool = False) -> nn.Module:
    """Train one part to the end and return it with its averaged weights.

    Picks up where the run's resume checkpoint stands, bit for bit on the CPU unless the clock decides. Raises
    NotFinite at the first loss that is not finite, or when gradients stay so, leaving the last good checkpoint.
    """
    optimiser, average = Optimiser(part.module, config.optim), Average(part.module, config.optim.average)
    meter, use = _Meter(), _Use(part)
    rng, first, spent = _begin(part, optimiser, average, meter, run, seed)
    clock, step = _Clock(config, spent), first
    part.module.train()
    total = None if config.minutes else config.steps
    bar = tqdm(total=total, initial=first, desc=part.name, unit="step", smoothing=0.05, mininterval=1.0)
    try:
        progress = clock.progress(step)
        while progress < 1:
            logs = _one_step(part, optimiser, config, rng, step, progress, autocast, run, meter)
            average.follow(part.module, step)
            meter.add(logs)
            if meter.skipped == MOST_SKIPPED:
                raise _not_finite("gradient", part, config, run, meter, step, logs["gradient"])
            bar.update()
            step, progress = step + 1, clock.progress(step + 1)
            if step % config.report_every == 0 or progress >= 1:
                values = meter.take()
                run.report(part.name, step, values)
                use.saw(values)
                bar.set_postfix({key: f"{value:.3g}" for key, value in list(values.items())[:4]})
            if step % config.keep_every == 0 and progress < 1:
                _keep(part, optimiser, average, meter, run, rng, step, clock.spent())
                _picture(part, average, run, step)
                if part.kept is not None:
                    part.kept(average.module, step, False)
    except KeyboardInterrupt as error:
        _keep_interrupted(part, run)
        raise Interrupted(f"stopped; go on with --resume --run {run.folder}") from error
    finally:
        bar.close()
    _picture(part, average, run, step)
    part.module.load_state_dict(average.module.state_dict())
    part.module.eval()
    if part.kept is not None:
        part.kept(part.module, step, True)
    return part.module


def _begin(
    part: Part, optimiser: Optimiser, average: Average, meter: _Meter, run: Run, seed: int
) -> tuple[np.random.Generator, int, float]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    kept = run.load_resume(part.name)
    step, spent = 0, 0.0
    if kept is not None:
        try:
            part.module.load_state_dict(kept["module"])
            average.module.load_state_dict(kept["average"])
            optimiser.load_state_dict(kept["optimiser"])
            set_random_state(rng, kept["random"])
            step, spent = int(kept["step"]), float(kept.get("spent", 0.0))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            path = run.resume_path(part.name)
            raise ValueError(f"{path} does not fit the config of this run; delete it to restart {part.name}") from error
        meter.load(kept.get("meter", {}))
    run.forget_after(part.name, step)
    return rng, step, spent


def _keep(
    part: Part,
    optimiser: Optimiser,
    average: Average,
    meter: _Meter,
    run: Run,
    rng: np.random.Generator,
    step: int,
    spent: float,
) -> None:
    run.save_resume(
        part.name,
        {
            "module": part.module.state_dict(),
            "average": average.module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "random": random_state(rng),
            "meter": meter.state(),
            "step": step,
            "spent": spent,
        },
    )


def _keep_interrupted(part: Part, run: Run) -> None:
    """Ctrl-C may fall into the middle of a step, so the last whole checkpoint is what counts."""
    kept = run.load_resume(part.name)
    run.forget_after(part.name, int(kept["step"]) if kept else 0)


def _one_step(
    part: Part,
    optimiser: Optimiser,
    config: LoopConfig,
    rng: np.random.Generator,
    step: int,
    progress: float,
    autocast: bool,
    run: Run,
    meter: _Meter,
) -> dict[str, float]:
    device = next(part.module.parameters()).device.type
    context: Any = torch.autocast(device, torch.bfloat16) if autocast else contextlib.nullcontext()
    with context:
        loss, logs = part.loss(rng, progress)
    value = loss.item()
    if not math.isfinite(value):
        raise _not_finite("loss", part, config, run, meter, step, value)
    torch.autograd.backward(loss)
    steps = round(step / progress) if config.minutes and progress else config.steps
    norm = optimiser.step(config.optim.rate(step, steps))
    return {"loss": value, **{key: float(log) for key, log in logs.items()}, "gradient": norm}


def _not_finite(
    what: str, part: Part, config: LoopConfig, run: Run, meter: _Meter, step: int, value: float
) -> NotFinite:
    """The error that ends a part, with its weights and last statistics written beside the run if that can be."""
    path = run.folder / "nan_dump.pt"
    state = {"module": part.module.state_dict(), "step": step, what: value, "statistics": list(meter.recent)}
    try:
        write_state(path, state)
        dump = f"the weights lie in {path}"
    except Exception as error:  # whatever it is, it may not hide why training ended
        dump = f"the weights were not written: {error}"
    kept = "the last good checkpoint is kept" if run.resume_path(part.name).is_file() else "nothing is kept yet"
    advice = f"go on with --resume --override --set {part.name}.optim.lr={config.optim.lr / 3:.1g}"
    return NotFinite(f"{what} of {part.name} is {value} at step {step}; {kept}; {advice}; {dump}")


def _picture(part: Part, average: Average, run: Run, step: int) -> None:
    picture = part.preview(average.module) if part.preview else None
    if picture is not None:
        run.preview(f"{part.name}-{step:06d}", picture)


class _Clock:
    """How far training is, by its steps or by the time it has taken, of which `spent` seconds were before."""

    def __init__(self, config: LoopConfig, spent: float) -> None:
        self._config, self._since = config, time.monotonic() - spent

    def spent(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._since

    def progress(self, step: int) -> float:
        """Share of training that is done before `step`; 1 or more: all of it."""
        return self.spent() / (60 * self._config.minutes) if self._config.minutes else step / self._config.steps


class _Meter:
    """Means of what was logged since the last report, and steps a second; beside them the last ten steps."""

    def __init__(self) -> None:
        self.recent: deque[dict[str, float]] = deque(maxlen=10)
        self.skipped = 0  # steps in a row without a finite gradient, which change nothing
        self._values: dict[str, list[float]] = {}
        self._since = time.perf_counter()

    def state(self) -> dict[str, list[float]]:
        """What a resumed run needs to report what an uninterrupted one would."""
        return self._values

    def load(self, values: dict[str, list[float]]) -> None:
        self._values = values

    def add(self, logs: dict[str, float]) -> None:
        self.recent.append(logs)
        self.skipped = 0 if math.isfinite(logs["gradient"]) else self.skipped + 1
        for key, value in logs.items():
            if not math.isnan(value):
                self._values.setdefault(key, []).append(value)

    def take(self) -> dict[str, float]:
        count = len(self._values.get("loss", []))
        means = {key: sum(values) / len(values) for key, values in self._values.items()}
        now = time.perf_counter()
        means["steps_per_second"] = count / max(1e-9, now - self._since)
        self._values, self._since = {}, now
        return means


class _Use:
    """Warns once when few of the codes of a part are in use, several reports in a row."""

    def __init__(self, part: Part) -> None:
        self._name, self._codes, self._low = part.name, part.codes, 0

    def saw(self, values: dict[str, float]) -> None:
        used = values.get("perplexity")
        if self._codes is None or used is None:
            return
        self._low = self._low + 1 if used < FEW * self._codes else 0
        if self._low == PATIENCE:
            cure = f"lower {self._name}.optim.lr or start again with another --seed"
            tqdm.write(f"warning: {self._name}: {used:.0f} of {self._codes} codes in use; {cure}", file=sys.stderr)
            self._codes = None


def bf16_pays(device: str = "cpu") -> bool:
    """True where a bf16 matrix product takes less than 0.8 of the time of a float32 one, the best of ROUNDS rounds
    each, in turns: a machine that was busy for a moment must not decide how a whole run computes."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported()
    times = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    factors = {dtype: (torch.ones(1024, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)) for dtype in times}
    for _ in range(ROUNDS):
        for dtype, (a, b) in factors.items():
            begin = time.perf_counter()
            for _ in range(10):
                a @ b
            times[dtype] = min(times[dtype], time.perf_counter() - begin)
    return times[torch.bfloat16] < 0.8 * times[torch.float32]
