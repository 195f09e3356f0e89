"""Calls of products of two stacks of matrices that broadcast."""

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
# multiply-add costs, in femtoseconds; whether matrices are in three dimensions and stacks equal.
_OF, _LOOP, _TEMPLATE, _COST, _STRICT = range(FIRST_FREE, FIRST_FREE + 5)

_MOST_DIMENSIONS = 8

# Words of each dimension of a layout, of which there are two, the inner one first: how many
# matrices it has, and how far apart they are in both operands and, in matrices, in the result.
_SIZE, _LEFT, _RIGHT, _TARGET, _DIMENSION = range(5)


@helper
def dimension_of(array, axis):
    """The size of a dimension, and its stride, 0 where one matrix is for all."""
    if axis < 0:
        return 1, 0
    size = int64_at(array[SHAPE])[axis]
    return size, int64_at(array[STRIDES])[axis] if size != 1 else 0


@helper
def lay_out(a, b, rank, shape, layout):
    """Writes the sizes of the result's stack, and the layout; says if two dimensions are enough."""
    ours, theirs = a[NDIM] & 0xFFFFFFFF, b[NDIM] & 0xFFFFFFFF
    for i in range(2 * _DIMENSION):
        layout[i] = 0
    layout[_SIZE], layout[_DIMENSION + _SIZE] = 1, 1
    place, used, count = layout, 0, 1
    for k in range(3, rank + 1):
        size, left = dimension_of(a, ours - k)
        other, right = dimension_of(b, theirs - k)
        if size != other and min(size, other) != 1:
            return False
        size = max(size, other)
        shape[rank - k] = size
        if size == 1:
            continue
        within = place[_SIZE]
        if used > 0 and left == within * place[_LEFT] and right == within * place[_RIGHT]:
            place[_SIZE] = within * size
        else:
            if used == 2:
                return False
            place = offset(layout, used * _DIMENSION)
            place[_SIZE], place[_LEFT], place[_RIGHT], place[_TARGET] = size, left, right, count
            used += 1
        count *= size
    return True


@helper
def write_steps(a, b, n, item, steps):
    """Writes the steps within the matrices."""
    left = offset(int64_at(a[STRIDES]), (a[NDIM] & 0xFFFFFFFF) - 2)
    right = offset(int64_at(b[STRIDES]), (b[NDIM] & 0xFFFFFFFF) - 2)
    steps[0], steps[1], steps[2], steps[3] = left[0], left[1], right[0], right[1]
    steps[4], steps[5] = n * item, item


@helper
def multiply_alone(row, a, b, layout, m, k, n, item, target, frame):
    """Writes the products on this thread."""
    pointers, dims, steps = frame, offset(frame, 3), offset(frame, 7)
    outer, each = offset(layout, _DIMENSION), m * n * item
    dims[0], dims[1], dims[2], dims[3] = layout[_SIZE], m, k, n
    steps[0], steps[1], steps[2] = layout[_LEFT], layout[_RIGHT], layout[_TARGET] * each
    write_steps(a, b, n, item, offset(steps, 3))
    for i in range(outer[_SIZE]):
        pointers[0], pointers[1] = a[DATA] + i * outer[_LEFT], b[DATA] + i * outer[_RIGHT]
        pointers[2] = target + i * outer[_TARGET] * each
        call_loop(row[_LOOP], pointers, dims, steps)


@helper
def multiply_together(row, t, x, y, layout, m, k, n, item, target, tasks, frame):
    """Writes the products by so many threads; says if all went well."""
    a, b, each, outer = array_of(t, x), array_of(t, y), m * n * item, offset(layout, _DIMENSION)
    count, rows = layout[_SIZE], outer[_SIZE]
    frame[HEADER], frame[HEADER + 1], frame[HEADER + 2] = m, k, n
    write_steps(a, b, n, item, offset(frame, HEADER + 3))
    depth, frame[HEADER + 9] = min(rows - 1, 1), rows
    table = offset(frame, HEADER + 9 + depth)
    table[0], table[1], table[1 + depth] = a[DATA], outer[_LEFT], layout[_LEFT]
    table = offset(table, depth + 2)
    table[0], table[1], table[1 + depth] = b[DATA], outer[_RIGHT], layout[_RIGHT]
    table = offset(table, depth + 2)
    table[0], table[1] = target, outer[_TARGET] * each
    table[1 + depth] = layout[_TARGET] * each
    one, other = int64_at(x)[t[ARRAY]], int64_at(y)[t[ARRAY]]
    hold(one)
    hold(other)
    expected = row[_COST] * (count * rows * m * k * n) // 1_000_000
    done = share(t, int64_at(row[_TEMPLATE]), frame, count, rows, tasks, 1, expected)
    release(one)
    release(other)
    return done


@helper
def stack_fits(row, a, b, rank, shape, layout):
    """Whether the row multiplies such stacks here; writes their layout and the result's sizes."""
    if rank < 3 or rank > _MOST_DIMENSIONS or min(a[NDIM], b[NDIM]) & 0xFFFFFFFF < 2:
        return False
    if not lay_out(a, b, rank, shape, layout):
        return False
    same = int64_at(a[SHAPE])[0] == int64_at(b[SHAPE])[0]
    return row[_STRICT] == 0 or (rank == 3 and a[NDIM] == b[NDIM] and same)


@helper
def threads_for(row, t, work, batch):
    """How many threads are to share the products; 0 if they are small; or -MISS or -UNKNOWN."""
    if work * batch < SERIAL:
        return 0
    if row[_TEMPLATE] == 0:
        return -UNKNOWN
    tasks = tasks_for(t, row[_COST] * (work * batch) // 1_000_000)
    return -MISS if tasks == 0 or (tasks > 1 and batch < 4 * tasks) else tasks


@helper
def product(row, t, arguments):
    """The result of a call, a new reference; 0 after an error; or MISS or UNKNOWN."""
    x, y = arguments[0], arguments[1]
    if not is_holder(t, x) or not is_holder(t, y):
        return MISS
    kind, a, b = row[_OF], array_of(t, x), array_of(t, y)
    rank = max(a[NDIM] & 0xFFFFFFFF, b[NDIM] & 0xFFFFFFFF)
    frame, layout = words(), words()
    if not stack_fits(row, a, b, rank, frame, layout):
        return MISS
    if kind == 0 or int64_at(x)[t[KIND]] != kind or int64_at(y)[t[KIND]] != kind:
        return UNKNOWN
    left = offset(int64_at(a[SHAPE]), (a[NDIM] & 0xFFFFFFFF) - 2)
    right = offset(int64_at(b[SHAPE]), (b[NDIM] & 0xFFFFFFFF) - 2)
    m, k, n = left[0], left[1], right[1]
    frame[rank - 2], frame[rank - 1] = m, n
    work, batch = m * k * n, layout[_SIZE] * layout[_DIMENSION + _SIZE]
    if right[0] != k or m < 2 or n < 2 or work * batch == 0 or work >= PACKED:
        return MISS
    if a[FLAGS] & b[FLAGS] & ALIGNED == 0:
        return MISS
    tasks = threads_for(row, t, work, batch)
    if tasks < 0:
        return -tasks
    item = item_size(t, kind)
    array = large_array(t, a[DESCRIPTION], rank, address_of(frame), batch * m * n * item)
    if array <= MISS:
        return array
    result = new_holder(t, array, kind)
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    if tasks == 0:
        multiply_alone(row, a, b, layout, m, k, n, item, target, frame)
    elif not multiply_together(row, t, x, y, layout, m, k, n, item, target, tasks, frame):
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
    """Calls of products of stacks of matrices, in the dtype that was last met.

    Where they are strict, both operands have three dimensions, of which the first are equal.
    """

    compute = multiply_stacks

    def __init__(self, *arguments: Any, strict: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.words[_STRICT] = strict
        self._known: list[int] = []

    def learn(self, loop: Loop, kind: Any) -> None:
        """Notes the loop for the matrices of a kind, if it is compiled, and how it is launched."""
        if loop.is_compiled():
            cost = int(1e6 * expected_cost(loop.dtypes[0], 1))
            known = [id(kind), loop.address, template_of(loop) if cost else 0, cost]
            if known != self._known:
                self.words[_OF : _COST + 1] = self._known = known
                self.keep(kind, loop)
