"""The table under pytest-benchmark: the libraries of a row stand side by side.

Usage: pytest benchmarks [-k PATTERN]. The libraries share a process here; compare.py parts them.
"""

from types import ModuleType

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rows import ROWS, Row


@pytest.mark.benchmark(max_time=0.1, min_rounds=3, warmup=False)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(benchmark: BenchmarkFixture, library: ModuleType, row: Row) -> None:
    """Time the row's statement on one library."""
    words = row.words(library.__name__)
    if words is None:
        pytest.skip(f"{library.__name__} has no words for it")
    benchmark.group = row.name
    namespace = row.namespace(library)
    row.first_answer(library, namespace)
    exec(f"def statement():\n    {words}", namespace)
    benchmark(namespace["statement"])
