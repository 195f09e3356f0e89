"""Libraries that the benchmarks measure."""

from types import ModuleType

import pytest


@pytest.fixture(params=["numtorch", "numpy", "torch"], scope="session")
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Return each library in turn: PyTorch last, as its threads compete once they are started."""
    return pytest.importorskip(request.param)
