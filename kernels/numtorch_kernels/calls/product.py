"""Calls of products of small matrices, with whatever strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects
from ..build import Loop
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..objects import ALIGNED, DATA, FLAGS, NDIM, SHAPE, STRIDES
from .callables import FUNCTION, GIVEN, OWN, PLANS, RECORD, ROW, TABLE, Calls
from .holders import (
    BUSY,
    HEAD,
    KIND,
    MISS,
    array_of,
    call_python,
    is_holder,
    needs_gradients,
    new_array,
    new_holder,
    release,
)
from .recording import record_call

# Words of a plan: the loops for matrices, for a matrix and a vector along rows and along columns,
# of which 0 is not known; below how many multiply-adds they are to be used; the places for
# recipes where the first, the second, or both need gradients.
(_NEXT, _OF, _MATRICES, _ROWS, _COLUMNS, _MOST, _MOST_OF_VECTOR, _DESCRIPTION,
 _ITEM, _RECIPES) = range(10)  # fmt: skip


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
def product(row, t, arguments):
    """The result of a call, a new reference; 0 after an error; or MISS, and nothing is done."""
    x, y = arguments[0], arguments[1]
    if not is_holder(t, x) or not is_holder(t, y):
        return MISS
    kind = int64_at(x)[t[KIND]]
    place = row[PLANS]
    while place != 0 and int64_at(place)[_OF] != kind:
        place = int64_at(place)[_NEXT]
    a, b = array_of(t, x), array_of(t, y)
    if place == 0 or int64_at(y)[t[KIND]] != kind or a[FLAGS] & b[FLAGS] & ALIGNED == 0:
        return MISS
    if a[NDIM] & 0xFFFFFFFF != 2 or b[NDIM] & 0xFFFFFFFF != 2:
        return MISS
    plan = int64_at(place)
    m, k, n = int64_at(a[SHAPE])[0], int64_at(a[SHAPE])[1], int64_at(b[SHAPE])[1]
    most = plan[_MOST_OF_VECTOR] if m == 1 or n == 1 else plan[_MOST]
    if int64_at(b[SHAPE])[0] != k or m * k * n == 0 or m * k * n >= most:
        return MISS
    frame = words()
    frame[0], frame[1] = m, n
    array = new_array(t, plan[_DESCRIPTION], 2, address_of(frame))
    if array == 0:
        return 0
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    if not multiply(plan, a, b, m, k, n, offset(int64_at(array), HEAD)[DATA], frame):
        release(result)
        return MISS
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
            words = [int(self.words[PLANS]), id(kind), 0, 0, 0, *limits, id(dtype), dtype.itemsize]
            plan = self._plans[dtype] = np.array([*words, 0, 0, 0], np.int64)
            if objects.are_as_expected():
                self.words[PLANS] = plan.ctypes.data
            self.keep(dtype, kind)
        for place, loop in enumerate(loops, _MATRICES):
            if loop.is_compiled():
                plan[place] = loop.address
