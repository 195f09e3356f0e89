"""Compiled calls whose operands are broadcast, and reductions of a dimension in the middle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch import Tensor
from numtorch.ops.table import TABLE
from numtorch_kernels import threads
from numtorch_kernels.calls import callables
from numtorch_kernels.pointwise import rows_of
from python_calls import are_answered, in_python, python_calls

Shapes = tuple[tuple[int, ...], tuple[int, ...]]

SHAPES: list[Shapes] = [
    ((4, 3), (3,)),
    ((3,), (4, 3)),
    ((64, 512), (512,)),
    ((1000, 3), (3,)),
    ((1000, 7), (1, 7)),
    ((16, 3), (1, 3)),
    ((5, 4, 3), (4, 3)),
    ((5, 4, 3), (1, 4, 3)),
    ((5, 4, 3), (4, 1)),
    ((9, 1, 1), (1, 1, 1)),
    ((5, 1, 3), (4, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((2, 5000), (5000,)),
    ((0, 3), (3,)),
    ((3, 0), (1, 0)),
    ((1,), (5,)),
    ((40,), (1,)),
]
LARGE: list[Shapes] = [
    ((100_001, 3), (3,)),
    ((300, 7, 50), (7, 50)),
    ((300, 7, 50), (7, 1)),
    ((3, 200_000), (200_000,)),
    ((2000, 300), (300,)),
    ((512,), (2000, 512)),
    ((70_000, 1, 3), (1, 3)),
    ((900, 1), (1, 900)),
    ((2000, 300), (2000, 1)),
]


needs_threads = pytest.mark.skipif(
    sys.platform != "linux", reason="compiled calls use threads on Linux only"
)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    callables.begin()


def operands(shapes: Shapes, dtype: str) -> Iterator[Tensor]:
    random = np.random.default_rng(0)
    for shape in shapes:
        yield numtorch.tensor((random.random(shape) * 100).astype(dtype))


def check(a: Tensor, b: Tensor) -> None:
    np.testing.assert_array_equal((a + b).numpy(), a.numpy() + b.numpy())
    np.testing.assert_array_equal((b * a).numpy(), b.numpy() * a.numpy())
    np.testing.assert_array_equal((b > a).numpy(), b.numpy() > a.numpy())
    if np.broadcast_shapes(a.shape, b.shape) == a.shape:
        changed = a.clone()
        assert changed.mul_(b) is changed
        np.testing.assert_array_equal(changed.numpy(), a.numpy() * b.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_operands_of_other_shapes(
    shapes: Shapes, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = operands(shapes, dtype)
    check(a, b)  # makes the plans
    seen = python_calls(monkeypatch)
    check(a, b)
    assert set(seen) <= {"clone"} or not a.numel() * b.numel()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("shapes", LARGE, ids=str)
def test_large_operands_of_other_shapes(
    shapes: Shapes, dtype: str, thread_counts: Callable[[], Iterator[int]]
) -> None:
    a, b = operands(shapes, dtype)
    for _ in thread_counts():
        for _ in range(3):  # the loops are compiled, then launched, then known
            check(a, b)


@needs_threads
def test_a_bias_meets_large_matrices_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(2)
    x, bias = numtorch.rand(3000, 17, 40), numtorch.rand(17, 40)
    expected, changed = x.numpy() + bias.numpy(), numtorch.zeros(3000, 17, 40)
    assert are_answered(lambda: x + bias, monkeypatch)
    assert are_answered(lambda: changed.add_(bias), monkeypatch)
    np.testing.assert_array_equal((x + bias).numpy(), expected)


def test_a_column_changes_a_large_matrix_before_its_loop_was_launched() -> None:
    threads.set_num_threads(2)
    x, column = numtorch.rand(2000, 300), numtorch.rand(2000, 1)
    for _ in range(3):
        x.atan2(x)  # launches the loop over all elements, not that over rows
    expected = np.arctan2(x.numpy().astype(np.float64), column.numpy().astype(np.float64))
    for _ in range(3):
        changed = x.clone()
        assert changed.atan2_(column) is changed
        np.testing.assert_allclose(changed.numpy(), expected, rtol=1e-6)


@needs_threads
def test_rows_get_their_loop_after_columns_had_theirs() -> None:
    threads.set_num_threads(2)
    x, row, column = numtorch.rand(900, 700), numtorch.rand(700), numtorch.rand(900, 1)
    of_rows, *_ = rows_of(TABLE["copysign"]._plan((x, row)).loop)
    for _ in range(3):
        x.copysign(column)  # after which compiled calls answer large operands
    assert not of_rows.is_compiled()
    x.copysign(row)
    assert of_rows.is_compiled()


@needs_threads
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_do_not_enter_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line, matrix = numtorch.rand(200_001), numtorch.rand(300, 700)
    method = getattr(Tensor, name)
    calls = [
        (line,),
        (line[:5000],),
        (matrix,),
        (matrix, 0),
        (matrix, 1),
        (numtorch.rand(300, 1), 0),
    ]
    for call in calls:
        expected = in_python(name)(*call).numpy()
        assert are_answered(partial(method, *call), monkeypatch)
        np.testing.assert_array_equal(method(*call).numpy(), expected)


def test_an_operand_that_overlaps_what_is_changed() -> None:
    x = numtorch.arange(12.0).reshape(3, 4).clone()
    expected = x.numpy() + x.numpy()[1]
    np.testing.assert_array_equal(x.add_(x[1]).numpy(), expected)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "prod"])
@pytest.mark.parametrize("shape", [(8, 21, 400, 10), (2, 9, 40_000), (1, 300, 1000), (900, 40, 11)])
def test_large_reductions_of_the_middle(
    name: str, shape: tuple[int, ...], thread_counts: Callable[[], Iterator[int]]
) -> None:
    x = numtorch.rand(shape) + 0.5
    python: Any = in_python(name)
    method = getattr(Tensor, name)
    for _ in thread_counts():
        for arguments in ((1,), (1, True)):
            expected = python(x, *arguments)
            for _ in range(3):
                result = method(x, *arguments)
                assert result.shape == expected.shape
                np.testing.assert_array_equal(result.numpy(), expected.numpy())


@needs_threads
def test_large_reductions_of_the_middle_do_not_enter_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads.set_num_threads(2)
    x = numtorch.rand(8, 21, 4000)
    assert are_answered(lambda: (x.sum(1), x.mean(1), x.amax(1)), monkeypatch)
