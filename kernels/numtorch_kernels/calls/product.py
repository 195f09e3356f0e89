"""Calls of products of two matrices, or of two vectors, with whatever strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects, threads
from ..build import Loop
from ..costs import SHARED
from ..gemm import TAKEN, piece_of
from ..intrinsics import BLOCK, address_of, call_loop, helper, int64_at, offset, words
from ..matmul import (
    PACKED,
    SERIAL,
    STREAM,
    block_shape,
    dot_task,
    expected_cost,
    reading_cost,
    shared_task,
)
from ..objects import ALIGNED, DATA, FLAGS, NDIM, SHAPE, STRIDES
from .callables import PLANS, RECORD, Calls, plan_of
from .holders import (
    ARRAY,
    HEAD,
    KIND,
    MISS,
    array_of,
    gradient_bits,
    hold,
    is_holder,
    new_holder,
    release,
)
from .large import enter, large_array, tasks_for
from .recording import record_call

# Words of a plan: the loops for matrices, for a matrix and a vector along rows and along columns,
# of which 0 is not known; below how many multiply-adds they are to be used on one thread,
# and the first on several; what a multiply-add costs, in femtoseconds; the places for recipes where
# the first, the second, or both need gradients; how threads share a product, or 0; dimensions.
(_NEXT, _OF, _MATRICES, _ROWS, _COLUMNS, _MOST, _MOST_OF_VECTOR, _DESCRIPTION,
 _ITEM, _COST, _RECIPES) = range(11)  # fmt: skip
_TASK, _RANK = range(_RECIPES + 3, _RECIPES + 5)
_WORDS = _RANK + 1

_DOT_WORDS, _PARTS = 12, 400  # of the frame of a dot product: its descriptor, and after it parts


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
    if plan[_RANK] == 1:
        return run_vector(plan, 1, k, a[DATA], 0, left[0], b[DATA], right[0], target, frame)
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
def multiply_together(t, plan, x, y, a, b, bias, step, m, k, n, target, frame, tasks):
    """Writes the product of the holders' matrices a and b by so many threads.

    They add a bias, if its address is not 0, with steps in elements: :func:`gemm.multiply_shared`.
    """
    left, right, item = int64_at(a[STRIDES]), int64_at(b[STRIDES]), plan[_ITEM]
    frame[0], frame[1], frame[2], frame[3] = tasks, m, n, k
    frame[4], frame[5] = block_shape(m, n, tasks)
    frame[6], frame[7], frame[8] = a[DATA], left[0] // item, left[1] // item
    frame[9], frame[10], frame[11] = b[DATA], right[0] // item, right[1] // item
    frame[12], frame[13], frame[14] = target, n, 1
    frame[15], frame[16], frame[17], frame[18] = plan[_MATRICES], item, 0, 0
    frame[19], frame[20] = bias, step
    for worker in range(tasks):
        frame[TAKEN + worker] = 0
    return enter_holding(t, plan, x, y, frame, tasks, plan[_COST] * (m * k * n) // 1_000_000)


@helper
def dot_together(t, plan, x, y, k, target, frame, tasks):
    """Writes the product of two vectors by so many threads, by :func:`gemm.dot_shared`."""
    a, b, item = array_of(t, x), array_of(t, y), plan[_ITEM]
    step, other_step = int64_at(a[STRIDES])[0], int64_at(b[STRIDES])[0]
    frame[0], frame[1], frame[2] = tasks, 0, k
    frame[3] = piece_of(k, step == item and other_step == item)
    frame[4], frame[5], frame[6], frame[7] = a[DATA], step, b[DATA], other_step
    frame[8], frame[9] = address_of(offset(frame, _DOT_WORDS)), target
    frame[10], frame[11] = plan[_ROWS], item
    return enter_holding(t, plan, x, y, frame, tasks, plan[_COST] * k // 1_000_000)


@helper
def enter_holding(t, plan, x, y, descriptor, tasks, expected):
    """Runs the plan's task as :func:`enter` does; others may let go of the operands meanwhile."""
    one, other = int64_at(x)[t[ARRAY]], int64_at(y)[t[ARRAY]]
    hold(one)
    hold(other)
    done = enter(t, plan[_TASK], descriptor, tasks, expected)
    release(one)
    release(other)
    return done


@helper
def fits(plan, a, b, k):
    """Whether a product is one that threads can share here."""
    if plan[_TASK] == 0:
        return False
    if plan[_RANK] == 2:
        return True
    step, other_step, item = int64_at(a[STRIDES])[0], int64_at(b[STRIDES])[0], plan[_ITEM]
    piece = piece_of(k, step == item and other_step == item)
    return plan[_ROWS] != 0 and k <= piece * _PARTS


@helper
def threads_for(t, plan, a, b, m, k, n):
    """How many threads are to share a product; 0 if it is small, -1 if Python has to say."""
    work = m * k * n
    vector = m == 1 or n == 1
    if work < (plan[_MOST_OF_VECTOR] if vector else plan[_MOST]):
        return 0
    if not fits(plan, a, b, k):
        return -1
    if plan[_RANK] == 2 and (vector or work >= PACKED):
        return -1
    tasks = tasks_for(t, plan[_COST] * work // 1_000_000)
    return min(tasks, BLOCK - TAKEN) if tasks > 0 else -1


@helper
def product(own, row, t, arguments, given):
    """The answer to a call."""
    if given != 2:
        return MISS
    x, y = arguments[0], arguments[1]
    if not is_holder(t, x) or not is_holder(t, y):
        return MISS
    kind = int64_at(x)[t[KIND]]
    place = plan_of(row, kind)
    a, b = array_of(t, x), array_of(t, y)
    if place == 0 or int64_at(y)[t[KIND]] != kind or a[FLAGS] & b[FLAGS] & ALIGNED == 0:
        return MISS
    plan = int64_at(place)
    rank = plan[_RANK]
    if a[NDIM] & 0xFFFFFFFF != rank or b[NDIM] & 0xFFFFFFFF != rank:
        return MISS
    m, k, n = 1, int64_at(a[SHAPE])[rank - 1], 1
    if rank == 2:
        m, n = int64_at(a[SHAPE])[0], int64_at(b[SHAPE])[1]
    if int64_at(b[SHAPE])[0] != k or m * k * n == 0:
        return MISS
    tasks = threads_for(t, plan, a, b, m, k, n)
    if tasks < 0:
        return MISS
    frame = words()
    frame[0], frame[1] = m, n
    size, shape = m * n * plan[_ITEM], 2 * (rank - 1)
    array = large_array(t, plan[_DESCRIPTION], shape, address_of(frame), size)
    if array <= MISS:
        return array
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    if tasks == 0:
        done = multiply(plan, a, b, m, k, n, target, frame)
    elif rank == 1:
        done = dot_together(t, plan, x, y, k, target, frame, tasks)
    else:
        done = multiply_together(t, plan, x, y, a, b, 0, 0, m, k, n, target, frame, tasks)
    if not done:
        release(result)
        return MISS if tasks == 0 else 0
    bits = gradient_bits(t, arguments, 2)
    if bits == 0:
        return result
    recipe = address_of(offset(plan, _RECIPES + bits - 1))
    return record_call(row[RECORD], t, recipe, arguments, 2, bits, result, frame)


class ProductPlans:
    """What is known of products, dtype by dtype, for a row of calls."""

    def __init__(self, calls: Calls, rank: int) -> None:
        self._calls = calls
        self._rank = rank
        self._plans: dict[Any, Any] = {}

    def learn(self, dtype: np.dtype[Any], kind: Any, loops: tuple[Loop, ...]) -> None:
        """Notes the loops of a dtype, as far as they are compiled."""
        plan = self._plans.get(dtype)
        if plan is None:
            cost = (expected_cost if self._rank == 2 else reading_cost)(dtype, 1)
            plan = self._plans[dtype] = np.zeros(_WORDS, np.int64)
            plan[_NEXT : _OF + 1] = int(self._calls.words[PLANS]), id(kind)
            least = STREAM if self._rank == 2 else SHARED
            plan[_MOST : _COST + 1] = SERIAL, least, id(dtype), dtype.itemsize, int(1e6 * cost)
            plan[_RANK] = self._rank
            if objects.are_as_expected():
                self._calls.words[PLANS] = plan.ctypes.data
            self._calls.keep(dtype, kind)
        for place, loop in enumerate(loops, _MATRICES):
            if loop.is_compiled():
                plan[place] = loop.address
        shared = plan[_MATRICES if self._rank == 2 else _ROWS]
        if threads.state[threads.WORKERS] and shared and plan[_COST]:
            plan[_TASK] = shared_task(dtype) if self._rank == 2 else dot_task(dtype)


class ProductCalls(Calls):
    """Calls of the product of two matrices, of rank 2, or of two vectors, of rank 1."""

    compute = product

    def __init__(self, rank: int, record: Any) -> None:
        super().__init__(2, record)
        self.plans = ProductPlans(self, rank)
