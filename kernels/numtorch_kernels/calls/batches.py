"""Calls of products of two batches of matrices, of the same sizes, in which they lie evenly."""

from __future__ import annotations

from typing import Any

from ..build import Loop
from ..drive import HEADER, template_of
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..matmul import PACKED, SERIAL, expected_cost
from ..objects import ALIGNED, DATA, DESCRIPTION, FLAGS, NDIM, SHAPE, STRIDES
from .forward import FIRST_FREE, ForwardCalls, or_compute, recorded
from .holders import (
    ARRAY,
    HEAD,
    KIND,
    MISS,
    UNKNOWN,
    array_of,
    gradient_bits,
    hold,
    is_holder,
    item_size,
    new_holder,
    release,
)
from .large import large_array, share, tasks_for

# A row's words: the kind whose loop is known; the loop; what launches need to know of it; what a
# multiply-add costs, in femtoseconds.
_OF, _LOOP, _TEMPLATE, _COST = range(FIRST_FREE, FIRST_FREE + 4)

_MOST_DIMENSIONS = 8


@helper
def is_evenly_stacked(array, rank):
    """Whether matrices stand at equal distances, which are then the last outer stride."""
    shape, strides = int64_at(array[SHAPE]), int64_at(array[STRIDES])
    even = True
    for axis in range(rank - 3):
        even &= strides[axis] == shape[axis + 1] * strides[axis + 1]
    return even


@helper
def write_steps(x, y, rank, m, k, n, item, dims, steps, outer):
    """Writes sizes and steps within the matrices, and between those of a batch."""
    left = offset(int64_at(x[STRIDES]), rank - 3)
    right = offset(int64_at(y[STRIDES]), rank - 3)
    dims[0], dims[1], dims[2] = m, k, n
    steps[0], steps[1], steps[2], steps[3] = left[1], left[2], right[1], right[2]
    steps[4], steps[5] = n * item, item
    outer[0], outer[1], outer[2] = left[0], right[0], m * n * item


@helper
def multiply_batches(row, t, x, y, rank, batch, m, k, n, target, tasks):
    """Writes the products, on one thread if that is all that is wanted; says if all went well."""
    a, b, frame, outer = array_of(t, x), array_of(t, y), words(), words()
    item = item_size(t, row[_OF])
    if tasks == 0:
        pointers, dims, steps = frame, offset(frame, 3), offset(frame, 7)
        write_steps(a, b, rank, m, k, n, item, offset(dims, 1), offset(steps, 3), steps)
        pointers[0], pointers[1], pointers[2], dims[0] = a[DATA], b[DATA], target, batch
        call_loop(row[_LOOP], pointers, dims, steps)
        return True
    table = offset(frame, HEADER + 9)
    write_steps(a, b, rank, m, k, n, item, offset(frame, HEADER), offset(frame, HEADER + 3), outer)
    table[0], table[2], table[4] = a[DATA], b[DATA], target
    table[1], table[3], table[5] = outer[0], outer[1], outer[2]
    one, other = int64_at(x)[t[ARRAY]], int64_at(y)[t[ARRAY]]
    hold(one)
    hold(other)
    expected = row[_COST] * (batch * m * k * n) // 1_000_000
    done = share(t, int64_at(row[_TEMPLATE]), frame, batch, 1, tasks, 1, expected)
    release(one)
    release(other)
    return done


@helper
def product(row, t, arguments):
    """The result of a call, a new reference; 0 after an error; or MISS or UNKNOWN."""
    x, y = arguments[0], arguments[1]
    if not is_holder(t, x) or not is_holder(t, y):
        return MISS
    kind, a, b = row[_OF], array_of(t, x), array_of(t, y)
    rank = a[NDIM] & 0xFFFFFFFF
    if rank < 3 or rank > _MOST_DIMENSIONS or b[NDIM] & 0xFFFFFFFF != rank:
        return MISS
    if kind == 0 or int64_at(x)[t[KIND]] != kind or int64_at(y)[t[KIND]] != kind:
        return UNKNOWN
    frame = words()
    left, right = int64_at(a[SHAPE]), int64_at(b[SHAPE])
    batch, m, k, n = 1, left[rank - 2], left[rank - 1], right[rank - 1]
    for axis in range(rank - 2):
        if left[axis] != right[axis]:
            return MISS
        frame[axis] = left[axis]
        batch *= left[axis]
    frame[rank - 2], frame[rank - 1] = m, n
    work = m * k * n
    if right[rank - 2] != k or m < 2 or n < 2 or work * batch == 0 or work >= PACKED:
        return MISS
    if a[FLAGS] & b[FLAGS] & ALIGNED == 0:
        return MISS
    if not (is_evenly_stacked(a, rank) and is_evenly_stacked(b, rank)):
        return MISS
    tasks = 0
    if work * batch >= SERIAL:
        tasks = tasks_for(t, row[_COST] * (work * batch) // 1_000_000)
        if tasks == 0 or batch < 4 * tasks or row[_TEMPLATE] == 0:
            return UNKNOWN if row[_TEMPLATE] == 0 else MISS
    size = batch * m * n * item_size(t, row[_OF])
    array = large_array(t, a[DESCRIPTION], rank, address_of(frame), size)
    if array <= MISS:
        return array
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    if not multiply_batches(row, t, x, y, rank, batch, m, k, n, target, tasks):
        release(result)
        return 0
    return recorded(row, t, arguments, 2, gradient_bits(t, arguments, 2), result, frame)


@helper
def multiply_stacks(own, row, t, arguments, given):
    """The answer to a call."""
    if given != 2:
        return MISS
    return or_compute(product(row, t, arguments), row, t, arguments, given)


class BatchCalls(ForwardCalls):
    """Calls of products of batches of matrices, in the dtype that was last met."""

    compute = multiply_stacks

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: list[int] = []

    def learn(self, loop: Loop, kind: Any) -> None:
        """Notes the loop for the matrices of a kind, if it is compiled, and how it is launched."""
        if loop.is_compiled():
            cost = int(1e6 * expected_cost(loop.dtypes[0], 1))
            known = [id(kind), loop.address, template_of(loop) if cost else 0, cost]
            if known != self._known:
                self.words[_OF : _COST + 1] = self._known = known
                self.keep(kind, loop)
