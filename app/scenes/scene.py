"""What the main loop expects of a scene, and nothing more."""

from __future__ import annotations

from typing import Any, Protocol

from app.screen import Screen


class Scene(Protocol):
    """One thing to look at. Scenes lie on a stack: only the top one hears keys and moves on, all are drawn."""

    done: bool  # true: the loop takes the scene away

    @property
    def waiting(self) -> bool:
        """Nothing moves by itself now."""
        ...

    def handle(self, event: Any) -> Scene | None:
        """React to a pygame event. A returned scene is put on top."""
        ...

    def update(self) -> None:
        """Go one frame ahead."""
        ...

    def draw(self, screen: Screen) -> None:
        """Draw the scene over what lies below."""
        ...
