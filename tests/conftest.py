"""PyTorch as the oracle, and the same random numbers in every test."""

import importlib
import os
import warnings
from types import ModuleType

import hypothesis
import numpy as np
import pytest

# Kernels compile on first use, which no deadline should count.
hypothesis.settings.register_profile("numtorch", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("numtorch")


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """PyTorch itself; where it is missing, a skip, or an error if NUMTORCH_REQUIRE_TORCH=1.

    It runs on one thread: two OpenMP runtimes in a process fight for cores.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch = importlib.import_module("torch")
    except ImportError:
        if os.environ.get("NUMTORCH_REQUIRE_TORCH") == "1":
            raise
        pytest.skip("PyTorch is not installed: nothing to compare with")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start NumPy's global generator from the same seed; tests that draw from ours seed it."""
    np.random.seed(0)
