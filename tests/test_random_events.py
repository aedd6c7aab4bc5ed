"""Whatever a person does with keys and mouse, in any order: no exception, a state that makes sense, flat memory."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import pygame
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_app_game import Table

from app.keymap import BINDINGS, Does
from app.scenes.paint import BINDINGS as PAINT_BINDINGS

SEQUENCES = int(os.environ.get("DREAMCADE_SEQUENCES", "60"))
SLOW = (Does.QUIT, Does.FULLSCREEN, Does.SCREENSHOT, Does.VIDEO)  # the end, and what waits for a codec
KEYS = sorted(
    {key.code for binding in BINDINGS if binding.does not in SLOW for key in binding.keys}
    | {key.code for binding in PAINT_BINDINGS for key in binding.keys if key.code != pygame.K_q}
)
places = st.tuples(st.integers(0, 700), st.integers(0, 900))
events = st.one_of(
    st.tuples(st.just("key"), st.sampled_from(KEYS), st.booleans()),
    st.tuples(st.just("key"), st.sampled_from(KEYS), st.just(True)),
    st.tuples(st.just("mouse"), places, st.sampled_from([1, 3])),
    st.tuples(st.just("drag"), places, places),
    st.tuples(st.just("focus"), st.none(), st.none()),
    st.tuples(st.just("turns"), st.integers(1, 12), st.none()),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("events")


def post(kind: str, first, second) -> int:
    """Post an event; how many turns to make."""
    if kind == "key":
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN if second else pygame.KEYUP, key=first))
    elif kind == "mouse":
        for what in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
            pygame.event.post(pygame.event.Event(what, pos=first, button=second))
    elif kind == "drag":
        pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=first, button=1))
        pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, pos=second, rel=(0, 0), buttons=(1, 0, 0)))
        pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONUP, pos=second, button=1))
    elif kind == "focus":
        pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    return first if kind == "turns" else 1


@settings(max_examples=SEQUENCES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(events, min_size=1, max_size=25))
def test_any_sequence_of_events(folder, sequence) -> None:
    table = Table(folder)
    try:
        for kind, first, second in sequence:
            for _ in range(post(kind, first, second)):
                table.game.turn()
                if not table.game.stack:  # Escape quits
                    return
        session = table.session
        assert session.take in session.takes
        assert session.steps == session.take.end
        assert session.oldest <= session.steps
        assert table.engine.cursor is None or session.oldest <= table.engine.cursor <= session.steps
        assert (session.peek(session.steps) == session.frame).all()
    finally:
        table.scene.close()
        table.screen.close()


@pytest.mark.skipif("DREAMCADE_SEQUENCES" not in os.environ, reason="a minute; set DREAMCADE_SEQUENCES=500")
def test_ten_thousand_frames_need_no_more_memory(folder) -> None:
    """Below 5 % of growth of the process, once the past that is kept has its full size."""
    table = Table(folder)
    table.turns(2000)
    gc.collect()
    before = resident()
    table.turns(10_000)
    gc.collect()
    assert resident() < 1.05 * before
    table.screen.close()


def resident() -> int:
    """Bytes of memory in use by this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
