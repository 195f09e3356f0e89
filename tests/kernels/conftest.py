"""What the tests of kernels share."""

from collections.abc import Callable, Iterator

import pytest

from numtorch_kernels import get_num_threads, set_num_threads


@pytest.fixture
def thread_counts() -> Iterator[Callable[[], Iterator[int]]]:
    """Sets one thread, then two, for the body of a loop; afterwards as many as before."""

    def each() -> Iterator[int]:
        for count in (1, 2):
            set_num_threads(count)
            yield count

    before = get_num_threads()
    yield each
    set_num_threads(before)
