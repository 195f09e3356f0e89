"""Calls of products of small matrices, with whatever strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects, threads
from ..build import Loop
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..matmul import block_shape, expected_cost, shared_task
from ..objects import ALIGNED, DATA, FLAGS, NDIM, SHAPE, STRIDES
from .callables import FUNCTION, GIVEN, OWN, PLANS, RECORD, ROW, TABLE, Calls, plan_of
from .holders import (
    ARRAY,
    BUSY,
    HEAD,
    KIND,
    MISS,
    array_of,
    call_python,
    hold,
    is_holder,
    needs_gradients,
    new_holder,
    release,
)
from .large import enter, large_array, tasks_for
from .recording import record_call

# Words of a plan: the loops for matrices, for a matrix and a vector along rows and along columns,
# of which 0 is not known; below how many multiply-adds they are to be used on one thread,
# and the first on several; what a multiply-add costs, in femtoseconds; the places for recipes where
# the first, the second, or both need gradients; how threads share a product, or 0.
(_NEXT, _OF, _MATRICES, _ROWS, _COLUMNS, _MOST, _MOST_OF_VECTOR, _MOST_SHARED, _DESCRIPTION,
 _ITEM, _COST, _RECIPES) = range(12)  # fmt: skip
_REGION, _TASK = range(_RECIPES + 3, _RECIPES + 5)


@helper
def run_vector(plan, m, k, matrix, down, across, vector, step, target, frame):
    """The product of an m x k matrix and a vector; says whether the loop is known."""
    pointers, dims, steps = frame, offset(frame, 3), offset(frame, 6)
    loop = plan[_ROWS]
    if m > 1 and abs(down) < abs(across):
        loop = plan[_COLUMNS]
    if loop == 0:
        return False
    pointers[0], pointers[1], pointers[2] = matrix, vector, target
    dims[0], dims[1], dims[2] = 1, m, k
    steps[0], steps[1], steps[2] = 0, 0, 0
    steps[3], steps[4], steps[5], steps[6] = down, across, step, plan[_ITEM]
    call_loop(loop, pointers, dims, steps)
    return True


@helper
def multiply(plan, a, b, m, k, n, target, frame):
    """Writes the product of two matrices; says whether the loop is known."""
    left, right, item = int64_at(a[STRIDES]), int64_at(b[STRIDES]), plan[_ITEM]
    if n == 1:
        return run_vector(plan, m, k, a[DATA], left[0], left[1], b[DATA], right[0], target, frame)
    if m == 1:
        return run_vector(plan, n, k, b[DATA], right[1], right[0], a[DATA], left[1], target, frame)
    if plan[_MATRICES] == 0:
        return False
    pointers, dims, steps = frame, offset(frame, 3), offset(frame, 7)
    pointers[0], pointers[1], pointers[2] = a[DATA], b[DATA], target
    dims[0], dims[1], dims[2], dims[3] = 1, m, k, n
    steps[0], steps[1], steps[2] = 0, 0, 0
    steps[3], steps[4], steps[5], steps[6] = left[0], left[1], right[0], right[1]
    steps[7], steps[8] = n * item, item
    call_loop(plan[_MATRICES], pointers, dims, steps)
    return True


@helper
def multiply_together(t, plan, x, y, m, k, n, target, frame, tasks):
    """Writes the product of two matrices by all threads, by :func:`gemm.multiply_shared`."""
    a, b, item = array_of(t, x), array_of(t, y), plan[_ITEM]
    left, right = int64_at(a[STRIDES]), int64_at(b[STRIDES])
    frame[0], frame[1], frame[2], frame[3] = 0, m, n, k
    frame[4], frame[5] = block_shape(m, n, tasks, m)
    frame[6], frame[7], frame[8] = a[DATA], left[0] // item, left[1] // item
    frame[9], frame[10], frame[11] = b[DATA], right[0] // item, right[1] // item
    frame[12], frame[13], frame[14] = target, n, 1
    frame[15], frame[16], frame[17], frame[18] = plan[_MATRICES], item, 0, 0
    one, other = int64_at(x)[t[ARRAY]], int64_at(y)[t[ARRAY]]
    hold(one)
    hold(other)
    expected = plan[_COST] * (m * k * n) // 1_000_000
    done = enter(t, plan[_REGION], plan[_TASK], frame, tasks, expected)
    release(one)
    release(other)
    return done


@helper
def product(row, t, arguments):
    """The result of a call, a new reference; 0 after an error; or MISS, and nothing is done."""
    x, y = arguments[0], arguments[1]
    if not is_holder(t, x) or not is_holder(t, y):
        return MISS
    kind = int64_at(x)[t[KIND]]
    place = plan_of(row, kind)
    a, b = array_of(t, x), array_of(t, y)
    if place == 0 or int64_at(y)[t[KIND]] != kind or a[FLAGS] & b[FLAGS] & ALIGNED == 0:
        return MISS
    if a[NDIM] & 0xFFFFFFFF != 2 or b[NDIM] & 0xFFFFFFFF != 2:
        return MISS
    plan = int64_at(place)
    m, k, n = int64_at(a[SHAPE])[0], int64_at(a[SHAPE])[1], int64_at(b[SHAPE])[1]
    work = m * k * n
    most = plan[_MOST_OF_VECTOR] if m == 1 or n == 1 else plan[_MOST]
    if int64_at(b[SHAPE])[0] != k or work == 0:
        return MISS
    tasks = 1
    if work >= most:
        tasks = tasks_for(t, plan[_COST] * work // 1_000_000)
        if plan[_TASK] == 0 or tasks < 2 or m == 1 or n == 1 or work >= plan[_MOST_SHARED]:
            return MISS
    frame = words()
    frame[0], frame[1] = m, n
    array = large_array(t, plan[_DESCRIPTION], 2, address_of(frame), m * n * plan[_ITEM])
    if array <= MISS:
        return array
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    if tasks > 1:
        done = multiply_together(t, plan, x, y, m, k, n, target, frame, tasks)
    else:
        done = multiply(plan, a, b, m, k, n, target, frame)
    if not done:
        release(result)
        return MISS if tasks == 1 else 0
    bits = 0
    if needs_gradients(t, x):
        bits = 1
    if needs_gradients(t, y):
        bits |= 2
    if bits == 0:
        return result
    recipe = address_of(offset(plan, _RECIPES + bits - 1))
    return record_call(row[RECORD], t, recipe, arguments, 2, bits, result, frame)


def product_call(entry: int, arguments: int, count: int, names: int) -> int:
    """What CPython calls: the vectorcall function of a callable object."""
    row = int64_at(offset(int64_at(entry), OWN)[ROW])
    t = int64_at(row[TABLE])
    if names == 0 and t[BUSY] == 0 and count & GIVEN == 2:
        result = product(row, t, int64_at(arguments))
        if result != MISS:
            return result
    return call_python(int64_at(entry)[FUNCTION], arguments, count, names)


class ProductCalls(Calls):
    """Calls of the product of two matrices."""

    code = product_call

    def __init__(self, record: Any) -> None:
        super().__init__(2, record)
        self._plans: dict[Any, Any] = {}

    def learn(self, dtype: np.dtype[Any], kind: Any, loops: tuple[Loop, ...], limits: Any) -> None:
        """Notes the loops of a dtype, as far as they are compiled, and below what they are used."""
        plan = self._plans.get(dtype)
        if plan is None:
            cost = int(1e6 * expected_cost(dtype, 1))
            words = [int(self.words[PLANS]), id(kind), 0, 0, 0, *limits, id(dtype)]
            words += [dtype.itemsize, cost]
            plan = self._plans[dtype] = np.array([*words, *[0] * 5], np.int64)
            if objects.are_as_expected():
                self.words[PLANS] = plan.ctypes.data
            self.keep(dtype, kind)
        for place, loop in enumerate(loops, _MATRICES):
            if loop.is_compiled():
                plan[place] = loop.address
        if threads.state[threads.WORKERS] and plan[_MATRICES] and plan[_COST]:
            plan[_REGION], plan[_TASK] = threads.region_address(), shared_task()
