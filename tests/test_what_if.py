"""What if shows what would come: each dream is the one that playing its action gives."""

from __future__ import annotations

import numpy as np
import pytest
from test_app_doubles import CountingWorld, clips

from app.session import Session
from app.what_if import WhatIf


def test_every_dream_is_what_playing_it_gives():
    session = Session(CountingWorld(), clips(), seed=3)
    for action in (2, 3, 3):
        session.step(action)
    before = session.frame.copy()
    dreams = WhatIf(session, horizon=6)
    for _ in range(6):
        dreams.accept(dreams.think())
    assert dreams.over
    assert np.array_equal(session.frame, before)
    assert session.steps == 3
    for action in (0, 2, 6):
        for step in dreams.path(action):
            session.step(step)
        assert np.array_equal(session.frame, dreams.frames[action])
        session.branch(3)


def test_they_begin_again_from_the_present():
    session = Session(CountingWorld(), clips())
    dreams = WhatIf(session, horizon=2)
    dreams.accept(dreams.think())
    assert dreams.ahead == 1
    dreams.begin_again()
    assert (dreams.ahead, dreams.path(3)) == (0, [])
    assert all(np.array_equal(frame, session.frame) for frame in dreams.frames)


def test_bad_numbers_are_named():
    session = Session(CountingWorld(), clips())
    with pytest.raises(ValueError, match="horizon must be 1 or more, found 0"):
        WhatIf(session, horizon=0)
    with pytest.raises(ValueError, match=r"action 8 is outside \[0, 8\)"):
        WhatIf(session).path(8)
