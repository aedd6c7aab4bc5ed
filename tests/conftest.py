"""What all tests share: one CPU thread for each of the two processes that run them."""

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Commands set the number of threads for the whole process, and what they set would stay for the tests after
    them: two processes with two threads each wait for one another."""
    torch.set_num_threads(1)
