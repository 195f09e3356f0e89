"""Calls of linear maps of a last dimension: x @ weight.T + bias."""

from __future__ import annotations

from typing import Any

from ..intrinsics import address_of, float32_at, float64_at, helper, int64_at, offset, words
from ..objects import ALIGNED, CONTIGUOUS, DATA, DESCRIPTION, FLAGS, NDIM, SHAPE, STRIDES
from .callables import plan_of
from .forward import ForwardCalls, or_compute, recorded
from .holders import (
    HEAD,
    KIND,
    MISS,
    NONE,
    UNKNOWN,
    array_of,
    gradient_bits,
    is_holder,
    item_size,
    new_holder,
    release,
)
from .large import large_array
from .product import ProductPlans, multiply, multiply_together, threads_for

_MOST_DIMENSIONS = 8


@helper
def add_to_rows(target, bias, m, n, item):
    """Adds a vector to each row of a matrix of floats."""
    if item == 4:
        rows, numbers = float32_at(target), float32_at(bias)
        for i in range(m):
            for j in range(n):
                rows[i * n + j] += numbers[j]
    else:
        rows_, numbers_ = float64_at(target), float64_at(bias)
        for i in range(m):
            for j in range(n):
                rows_[i * n + j] += numbers_[j]


@helper
def is_usable(t, x, kind, rank):
    """Whether an operand holds an array of a kind and rank that can be read in place."""
    if not is_holder(t, x) or int64_at(x)[t[KIND]] != kind:
        return False
    array = array_of(t, x)
    return array[NDIM] & 0xFFFFFFFF == rank and array[FLAGS] & ALIGNED != 0


@helper
def read_rows(t, x, kind, sizes, rows):
    """Describes the last dimension of an operand as rows of a matrix; how many, -1 if it cannot.

    Writes the sizes of the dimensions before it, and behind them that of the rows.
    """
    if not is_holder(t, x) or int64_at(x)[t[KIND]] != kind:
        return -1
    array = array_of(t, x)
    rank, needed = array[NDIM] & 0xFFFFFFFF, ALIGNED
    if rank != 2:
        needed |= CONTIGUOUS
    if rank == 0 or rank > _MOST_DIMENSIONS or array[FLAGS] & needed != needed:
        return -1
    own, steps, count = int64_at(array[SHAPE]), offset(rows, 16), 1
    for axis in range(rank - 1):
        sizes[axis] = own[axis]
        count *= own[axis]
    sizes[rank - 1] = own[rank - 1]
    rows[DATA], rows[STRIDES] = array[DATA], address_of(steps)
    steps[1] = int64_at(array[STRIDES])[rank - 1]
    steps[0] = int64_at(array[STRIDES])[0] if rank == 2 else steps[1] * own[rank - 1]
    return count


@helper
def bias_address(t, bias, kind, n):
    """Where the elements of a bias are, 0 if there is none; MISS if it is not a plain vector."""
    if bias == t[NONE]:
        return 0
    if not is_usable(t, bias, kind, 1):
        return MISS
    array = array_of(t, bias)
    plain = array[FLAGS] & CONTIGUOUS != 0 and int64_at(array[SHAPE])[0] == n
    return array[DATA] if plain else MISS


@helper
def linear(row, t, arguments, given):
    """The result of a call, a new reference; 0 after an error; or MISS or UNKNOWN."""
    x, weight = arguments[0], arguments[1]
    bias = arguments[2] if given == 3 else t[NONE]
    if not is_holder(t, x):
        return MISS
    kind, sizes, a, b, frame = int64_at(x)[t[KIND]], words(), words(), words(), words()
    m = read_rows(t, x, kind, sizes, a)
    if m < 0 or not is_usable(t, weight, kind, 2):
        return MISS
    rank, own, place = array_of(t, x)[NDIM] & 0xFFFFFFFF, array_of(t, weight), plan_of(row, kind)
    k, n, steps = sizes[rank - 1], int64_at(own[SHAPE])[0], offset(b, 16)
    b[DATA], b[STRIDES] = own[DATA], address_of(steps)  # of the transpose
    steps[0], steps[1] = int64_at(own[STRIDES])[1], int64_at(own[STRIDES])[0]
    added = bias_address(t, bias, kind, n)
    if place == 0:
        return UNKNOWN
    if added == MISS or int64_at(own[SHAPE])[1] != k or m * k * n == 0:
        return MISS
    description = array_of(t, x)[DESCRIPTION]
    plan, item = int64_at(place), item_size(t, kind)
    tasks = threads_for(t, plan, a, b, m, k, n)
    if tasks < 0:
        return UNKNOWN
    sizes[rank - 1] = n
    array = large_array(t, description, rank, address_of(sizes), m * n * item)
    if array <= MISS:
        return array
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    if tasks > 0:
        done = multiply_together(t, plan, x, weight, a, b, added, 1, m, k, n, target, frame, tasks)
    else:
        done = multiply(plan, a, b, m, k, n, target, frame)
        if done and added != 0:
            add_to_rows(target, added, m, n, item)
    if not done:
        release(result)
        return 0 if tasks > 0 else UNKNOWN
    return recorded(row, t, arguments, given, gradient_bits(t, arguments, given), result, frame)


@helper
def map_or_compute(own, row, t, arguments, given):
    """The answer to a call."""
    if given < 2 or given > 3:
        return MISS
    return or_compute(linear(row, t, arguments, given), row, t, arguments, given)


class LinearCalls(ForwardCalls):
    """Calls of linear maps; of float32 and float64 matrices without the function of arrays."""

    compute = map_or_compute

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.plans = ProductPlans(self, 2)
