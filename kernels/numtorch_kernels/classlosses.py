"""Losses of classes for a few rows: compiled loops one after another, by one call.

The loops are those that :mod:`.norm` and :mod:`.reduce` launch one by one, so the bits are theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import reduce
from .build import Loop
from .deferral import nobody_defers
from .intrinsics import address_of, call_loop, helper, int64_at, offset, words
from .layout import data_address
from .norm import gains
from .objects import DATA, SHAPE, is_plain, kind_in, rank_of
from .picking import FEW, INT64, array_in, elements_at, entry
from .reduction import unused

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

# Words of a plan: the loops for the rows, the sum of the weights and the result; what an operand of
# reductions is that they do not need, the size of an element, and how many results a row has.
_ROWS, _TOTAL, _LAST, _UNUSED, _ITEM, _RESULTS = range(6)


@helper
def reduce_row(plan, loop, x, size, scale, out):
    """Runs the loop of a reduction along one row without gaps."""
    frame = words()
    dims, steps, pointers = frame, offset(frame, 2), offset(frame, 7)
    dims[0], dims[1] = 1, size
    steps[0], steps[1], steps[2], steps[3], steps[4] = 0, 0, 0, 0, plan[_ITEM]
    pointers[0], pointers[1], pointers[2], pointers[3] = x, plan[_UNUSED], scale, out
    call_loop(loop, pointers, dims, steps)


@helper
def lose_rows(plan, x, target, weight, ignored, m, n, results):
    """Runs the loop over the rows of x, whose results go one after another."""
    frame = words()
    dims, steps, pointers = frame, offset(frame, 2), offset(frame, 16)
    count, item = plan[_RESULTS], plan[_ITEM]
    dims[0], dims[1] = m, n
    pointers[0], pointers[1], pointers[2], pointers[3] = x, target, weight, ignored
    steps[0], steps[1], steps[2], steps[3] = n * item, 8, 0, 0
    for k in range(count):
        pointers[4 + k], steps[4 + k] = results + k * m * item, item
    steps[4 + count], steps[5 + count] = item, item
    call_loop(plan[_ROWS], pointers, dims, steps)


def lose(plan: int, ignored: int, arrays: int) -> int:
    """Computes the results of rows, the sum of their weights and the loss.

    Gives 0; or 1 where arrays are unusual, or a target is no class.
    """
    x, target, weight = array_in(arrays, 0), array_in(arrays, 1), array_in(arrays, 2)
    results, total, loss = array_in(arrays, 3), array_in(arrays, 4), array_in(arrays, 5)
    known = int64_at(plan)
    m, n = int64_at(x[SHAPE])[0], int64_at(x[SHAPE])[1]
    if not (is_plain(x) and is_plain(target) and is_plain(weight)) or m == 0:
        return 1
    if rank_of(target) != 1 or kind_in(target) != INT64 or int64_at(target[SHAPE])[0] != m:
        return 1
    if rank_of(weight) != 1 or kind_in(weight) != kind_in(x) or int64_at(weight[SHAPE])[0] != n:
        return 1
    frame = words()
    frame[0] = ignored
    place, last = results[DATA], results[DATA] + (known[_RESULTS] - 1) * m * known[_ITEM]
    lose_rows(known, x[DATA], target[DATA], weight[DATA], address_of(frame), m, n, place)
    reduce_row(known, known[_TOTAL], last, m, known[_UNUSED], total[DATA])
    reduce_row(known, known[_LAST], place, m, total[DATA], loss[DATA])
    sum_of_weights = elements_at(total[DATA])[0]
    return 0 if sum_of_weights == sum_of_weights else 1


class _Plan:
    """What is known of a loss before its operands are."""

    def __init__(self, loop: Loop, reduction: str, dtype: Dtype) -> None:
        last = reduce.MEAN if reduction == "mean" else reduce.SUM
        loops = loop, reduce.SUM.loop(dtype, dtype), last.loop(dtype, dtype)
        self.results = loop.outputs
        addresses = [*(each.address for each in loops), data_address(unused[dtype])]
        self.words = np.array([*addresses, dtype.itemsize, loop.outputs], np.int64)
        self.address = data_address(self.words)
        self.enter = entry(lose, dtype.char)


@cache
def _plan(loop_for: Callable[[Dtype], Loop], reduction: str, kind: str) -> _Plan:
    return _Plan(loop_for(np.dtype(kind)), reduction, np.dtype(kind))


def reduced(
    loop_for: Callable[[Dtype], Loop],
    x: Array,
    target: Array,
    weight: Array | None,
    reduction: str,
    ignore_index: int,
) -> tuple[Array, Array, Array] | None:
    """The "mean" or "sum" of losses, the sum of their weights, and what the loop gives of each row.

    None where there are many rows, a target is no class, or something is unusual.
    """
    if not x.__class__ is target.__class__ is np.ndarray:
        return None
    kind = x.dtype.char
    if (
        not nobody_defers()
        or not (weight is None or weight.__class__ is np.ndarray)
        or x.ndim != 2
        or x.size > FEW
        or kind not in "fd"
        or reduction not in ("mean", "sum")
        or ignore_index.__class__ is not int
        or ignore_index.bit_length() > 62
    ):
        return None
    plan = _plan(loop_for, reduction, kind)
    m = len(x)
    results, total, loss = np.empty((plan.results, m), kind), np.empty((), kind), np.empty((), kind)
    operands = (x, target, gains(weight, x), results, total, loss)
    return None if plan.enter(plan.address, ignore_index, operands) else (loss, total, results)
