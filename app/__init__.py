"""The arcade: the only place that knows pygame and click."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # before anyone imports pygame
