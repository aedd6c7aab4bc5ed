"""Doubt becomes health; healing acts when it is low, says so, and puts the dials back."""

from __future__ import annotations

import numpy as np
from test_app_doubles import CountingWorld, clips

from app.health import LEARN, RECENT, REST, Healer, Health
from app.session import Session
from models.world import Sampling


def doubt(nats: float) -> np.ndarray:
    return np.full((6, 5), nats / 30, np.float32)


def taught(usual: float = 1.0) -> Health:
    health = Health()
    for turn in range(LEARN):
        health.saw(doubt(usual * (0.9 + 0.2 * (turn % 2))))
    return health


def test_health_is_unknown_then_full_then_falls_with_doubt():
    health = Health()
    for _ in range(LEARN // 2 - 1):
        health.saw(doubt(1.0))
    assert health.value is None
    health = taught()
    assert health.value == 1.0
    for _ in range(RECENT):
        health.saw(doubt(1.6))
    assert 0.3 < health.value < 0.95
    for _ in range(RECENT):
        health.saw(doubt(6.0))
    assert health.value == 0.0
    health.forget_recent()
    assert health.value is None


def test_healing_lowers_the_temperature_reads_anew_and_puts_it_back():
    session = Session(CountingWorld(), clips(), sampling=Sampling(temperature=0.8))
    for _ in range(5):
        session.step(1)
    health, healer = taught(), Healer()
    for _ in range(RECENT):
        health.saw(doubt(9.0))
    assert healer.after_step(session, health) is None  # off
    healer.on = True
    done = healer.after_step(session, health)
    assert done is not None
    assert "healing" in done.words
    assert session.sampling.temperature == 0.4
    assert session.take.origin.why == "heal"
    words = [healer.after_step(session, health) for _ in range(REST)]
    assert [one.over for one in words if one is not None] == [True]
    assert session.sampling.temperature == 0.8
    assert not healer.healing
    assert healer.stop(session) is None


def test_a_well_dream_is_left_alone():
    session, health, healer = Session(CountingWorld(), clips()), taught(), Healer()
    healer.on = True
    assert all(healer.after_step(session, health) is None for _ in range(100))
    assert len(session.takes) == 1
