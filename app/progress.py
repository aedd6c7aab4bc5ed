"""A progress bar on the error stream, where somebody watches it; elsewhere nothing is shown."""

from __future__ import annotations


class Bar:
    """A bar for the length of a `with` block. title: what is done; unit: what is counted."""

    def __init__(self, title: str, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=title, unit=f" {unit}s", disable=None, dynamic_ncols=True, leave=False)

    def show(self, done: int, total: int) -> None:
        """So many of so many."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def more(self, count: int) -> None:
        """So many more; nobody knows of how many."""
        self._bar.update(count)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.close()
