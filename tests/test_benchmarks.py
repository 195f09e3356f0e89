"""Every row of the benchmarks computes the same on all libraries, and the runner runs."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import numtorch
from report import markdown
from rows import ROWS, Row

COMPARE = Path(__file__).parents[1] / "benchmarks" / "compare.py"
LARGE = ("16M", "2048 x 2048", "batch 256")
SMALLER = [row for row in ROWS if not any(size in row.group for size in LARGE)]


def test_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", SMALLER, ids=lambda row: row.name)
def test_numtorch_computes_what_pytorch_computes(row: Row, oracle: ModuleType) -> None:
    ours = row.first_answer(numtorch, row.namespace(numtorch))
    theirs = row.first_answer(oracle, row.namespace(oracle))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_numpys_words_mean_the_same(oracle: ModuleType) -> None:
    for row in SMALLER:
        if row.numpy is not None:
            numpys = row.first_answer(np, row.namespace(np))
            theirs = row.first_answer(oracle, row.namespace(oracle))
            tolerance = 1e-4 * np.abs(theirs).max()
            np.testing.assert_allclose(numpys, theirs, rtol=1e-4, atol=tolerance, err_msg=row.name)


def test_tables_are_aligned() -> None:
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


@pytest.mark.slow
def test_the_runner_measures_in_turns() -> None:
    options = ["--rows", r"elements: a \+ b$", "--turns", "2", "--seconds", "0.001"]
    finished = subprocess.run(
        [sys.executable, COMPARE, *options], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "small, 4 to 64 elements: a + b" in finished.stdout
    assert "ANSWERS DIFFER" not in finished.stdout
    assert "| all | 1 |" in finished.stdout
