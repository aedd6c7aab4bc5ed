"""How the next frame comes about: one file a family."""
