"""Calls of reductions of small arrays without gaps, over all dimensions or one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects
from ..costs import SHARED, WORTH
from ..drive import HEADER, template_of, templates
from ..intrinsics import (
    BLOCK,
    address_of,
    call_loop,
    float32_at,
    float64_at,
    helper,
    int64_at,
    levels,
    offset,
    words,
)
from ..objects import DATA
from ..reduction import (
    LIMIT,
    SHORT,
    Reduction,
    chunk_of_columns,
    chunk_of_row,
    columns,
    rows,
    unused,
)
from .callables import ARITY, PLANS, RECORD, Calls, plan_of
from .holders import (
    ARRAY,
    AT,
    COUNT,
    FALSE,
    HEAD,
    INTEGER,
    KIND,
    MISS,
    NONE,
    OPERAND,
    RANK,
    SIZES,
    TRUE,
    TYPE,
    array_of,
    hold,
    integer_of,
    is_holder,
    needs_gradients,
    new_holder,
    read_array,
    release,
)
from .large import large_array, share, tasks_for
from .recording import record_call

# Words of a plan: the loops, of which 0 is not known; the item sizes of x and of the result; what
# is divided by how many elements were combined: nothing, float32 or float64; the operand of who
# needs none; the places for recipes of calls over all and over one dimension; what launches need to
# know of the two loops, of those for chunks, and of those for what these gave.
(_NEXT, _OF, _ROWS, _COLUMNS, _DESCRIPTION, _RESULT, _ITEM, _RESULT_ITEM, _SCALE,
 _UNUSED, _RECIPES) = range(11)  # fmt: skip
(_SHARED_ROWS, _SHARED_COLUMNS, _ROW_CHUNKS, _COLUMN_CHUNKS, _ROW_ENDS, _COLUMN_ENDS,
 _WORDS) = range(_RECIPES + 2, _RECIPES + 9)  # fmt: skip
_NO_SCALE, _FLOAT32, _FLOAT64 = range(3)
_SCALES = {"float32": _FLOAT32, "float64": _FLOAT64}

MOST_DIMENSIONS = 16
_MOST_IN_PARTS = 8 * BLOCK * LIMIT  # elements whose parts fit the stack


@helper
def read_axis(x, rank):
    """The axis that an integer names; -1 if it names none, of a scalar always."""
    overflow = words()
    axis = integer_of(x, address_of(overflow))
    if axis < 0:
        axis += rank
    return axis if axis >= 0 and axis < rank else -1


@helper
def read_dimension(t, arguments, given, rank):
    """The dimension that a call names, -1 if none and -2 if Python has to say; if it is kept."""
    axis, keep = -1, False
    if given > 1 and arguments[1] != t[NONE]:
        axis = -2
        if int64_at(arguments[1])[TYPE] == t[INTEGER]:
            named = read_axis(arguments[1], rank)
            if named >= 0:
                axis = named
    if given > 2:
        keep = arguments[2] == t[TRUE]
        if not keep and arguments[2] != t[FALSE]:
            axis = -2
    return axis, keep


@helper
def split_sizes(operand, axis, parts):
    """Writes how many elements are before, along and after an axis; all are along none."""
    sizes = int64_at(operand[SIZES])
    parts[0], parts[1], parts[2] = 1, operand[COUNT], 1
    if axis >= 0:
        parts[1] = sizes[axis]
        for k in range(operand[RANK]):
            if k < axis:
                parts[0] *= sizes[k]
            elif k > axis:
                parts[2] *= sizes[k]


@helper
def write_scale(plan, n, place):
    """The address of what totals of n elements are divided by, or of what is not used."""
    if plan[_SCALE] == _NO_SCALE:
        return plan[_UNUSED]
    if plan[_SCALE] == _FLOAT32:
        float32_at(address_of(place))[0] = n
    else:
        float64_at(address_of(place))[0] = n
    return address_of(place)


@helper
def is_along(operand, axis, n, after):
    """Whether the loop along rows is used, not that over columns."""
    return operand[RANK] == 1 or axis < 0 or (after == 1 and n >= SHORT)


@helper
def reduce_axis(plan, operand, axis, target, frame):
    """Reduces along an axis, or all elements where that is -1; says whether that can be done."""
    split_sizes(operand, axis, frame)
    before, n, after = frame[0], frame[1], frame[2]
    along = is_along(operand, axis, n, after)
    loop = plan[_ROWS] if along else plan[_COLUMNS]
    chunk = chunk_of_row(n, before == 1) if along else chunk_of_columns(n, before * after, False)
    if loop == 0 or chunk < n:
        return False
    pointers, dims, steps, number = frame, offset(frame, 4), offset(frame, 6), offset(frame, 12)
    pointers[1], pointers[2] = plan[_UNUSED], write_scale(plan, n, number)
    item, times = plan[_ITEM], before
    dims[0], dims[1] = after, n
    steps[0], steps[4] = item, after * item
    if after == 1:  # one loop over what is before
        times = 1
        dims[0], steps[0] = before, n * item
    steps[1], steps[2], steps[3] = 0, 0, plan[_RESULT_ITEM]
    for k in range(times):
        pointers[0] = operand[AT] + k * n * after * item
        pointers[3] = target + k * after * plan[_RESULT_ITEM]
        call_loop(loop, pointers, dims, steps)
    return True


@helper
def share_rows(t, template, x, step, inner, n, count, scale, unused, target, item, frame, tasks):
    """Reduces ``count`` rows of n elements on several threads."""
    frame[HEADER], frame[HEADER + 1] = n, inner
    table = offset(frame, HEADER + 2)
    table[0], table[1], table[2], table[3] = x, step, unused, 0
    table[4], table[5], table[6], table[7] = scale, 0, target, item
    return share(t, int64_at(template), frame, count, 1, tasks, 1, n * count // 4)


@helper
def share_middle(
    t, template, x, item, before, n, after, scale, unused, target, result_item, frame, tasks
):
    """Reduces the second of three dimensions on several threads."""
    frame[HEADER], frame[HEADER + 1], frame[HEADER + 2] = n, after * item, before
    table = offset(frame, HEADER + 3)
    table[0], table[1], table[2] = x, n * after * item, item
    table[3], table[4], table[5] = unused, 0, 0
    table[6], table[7], table[8] = scale, 0, 0
    table[9], table[10], table[11] = target, after * result_item, result_item
    return share(t, int64_at(template), frame, after, before, tasks, 1, before * n * after // 4)


@helper
def reduce_long_row(t, plan, x, n, scale, target, frame, tasks):
    """Reduces the only row by chunks."""
    chunks, ends = plan[_ROW_CHUNKS], plan[_ROW_ENDS]
    if chunks == 0 or ends == 0 or n >= _MOST_IN_PARTS:
        return False
    parts = levels(frame)
    item, size, unused = plan[_ITEM], plan[_RESULT_ITEM], plan[_UNUSED]
    whole, rest, to = n // LIMIT, n % LIMIT, address_of(parts)
    done = share_rows(
        t, chunks, x, LIMIT * item, item, LIMIT, whole, unused, unused, to, size, frame, tasks
    )
    if rest > 0:
        done &= share_rows(
            t, chunks, x + whole * LIMIT * item, 0, item, rest, 1, unused, unused,
            to + whole * size, 0, frame, 1,
        )  # fmt: skip
        whole += 1
    return done and share_rows(t, ends, to, 0, size, whole, 1, scale, unused, target, 0, frame, 1)


@helper
def reduce_long_columns(t, plan, x, n, count, chunk, scale, target, frame, tasks):
    """Reduces rows of ``count`` elements, chunk by chunk, to one."""
    chunks, ends = plan[_COLUMN_CHUNKS], plan[_COLUMN_ENDS]
    whole, rest = n // chunk, n % chunk
    total = whole + (rest > 0)
    if chunks == 0 or ends == 0 or chunk_of_columns(total, count, True) < total:
        return False
    item, size, unused = plan[_ITEM], plan[_RESULT_ITEM], plan[_UNUSED]
    frame[0] = total * count
    array = large_array(t, plan[_DESCRIPTION], 1, address_of(frame), total * count * size)
    if array <= MISS:
        return False
    parts = offset(int64_at(array), HEAD)[DATA]
    done = share_middle(
        t, chunks, x, item, whole, chunk, count, unused, unused, parts, size, frame, tasks
    )
    if rest > 0:
        done &= share_rows(
            t, chunks, x + whole * chunk * count * item, item, count * item, rest, count, unused,
            unused, parts + whole * count * size, size, frame, 1,
        )  # fmt: skip
    if done:
        tasks = max(1, tasks_for(t, total * count * WORTH // SHARED))
        done = share_rows(
            t, ends, parts, size, count * size, total, count, scale, unused, target, size, frame,
            tasks,
        )  # fmt: skip
    release(array)
    return done


@helper
def reduce_large(t, plan, operand, axis, target, frame):
    """As :func:`reduce_axis`, on several threads: what :meth:`Reduction._staged` does."""
    number, work = frame, offset(frame, 2)
    split_sizes(operand, axis, work)
    before, n, after = work[0], work[1], work[2]
    tasks = tasks_for(t, operand[COUNT] * WORTH // SHARED)
    if tasks == 0:
        return False
    x, item, size = operand[AT], plan[_ITEM], plan[_RESULT_ITEM]
    scale, unused = write_scale(plan, n, number), plan[_UNUSED]
    if is_along(operand, axis, n, after):
        template, chunk = plan[_SHARED_ROWS], chunk_of_row(n, before == 1)
        if chunk < n:
            return before == 1 and reduce_long_row(t, plan, x, n, scale, target, work, tasks)
    else:
        template, chunk = plan[_SHARED_COLUMNS], chunk_of_columns(n, before * after, before == 1)
        if chunk < n:
            return before == 1 and reduce_long_columns(
                t, plan, x, n, after, chunk, scale, target, work, tasks
            )
    if template == 0:
        return False
    if before > 1 and after > 1:
        return share_middle(
            t, template, x, item, before, n, after, scale, unused, target, size, work, tasks
        )
    count, step, inner = after, item, after * item
    if after == 1:
        count, step, inner = before, n * item, item
    return share_rows(
        t, template, x, step, inner, n, count, scale, unused, target, size, work, tasks
    )


@helper
def reduced_size(operand, axis):
    """How many elements are combined to one."""
    return int64_at(operand[SIZES])[axis] if axis >= 0 else operand[COUNT]


@helper
def result_sizes(operand, axis, keep, sizes):
    """Writes the sizes of the result; gives how many there are."""
    own, rank = int64_at(operand[SIZES]), 0
    for k in range(operand[RANK]):
        reduced = axis < 0 or k == axis
        if not reduced or keep:
            sizes[rank] = 1 if reduced else own[k]
            rank += 1
    return rank


@helper
def read_call(row, t, arguments, given, operand):
    """The place of a plan, the axis, and the rank of the result; 0 where Python has to say.

    The words of the operand are written, and after them the result's sizes.
    """
    if given < 1 or given > row[ARITY] or not is_holder(t, arguments[0]):
        return 0, 0, 0
    x = arguments[0]
    place = plan_of(row, int64_at(x)[t[KIND]])
    if place == 0 or not read_array(array_of(t, x), operand):
        return 0, 0, 0
    if operand[COUNT] == 0 or operand[RANK] > MOST_DIMENSIONS:
        return 0, 0, 0
    axis, keep = read_dimension(t, arguments, given, operand[RANK])
    if axis < -1:
        return 0, 0, 0
    return place, axis, result_sizes(operand, axis, keep, offset(operand, OPERAND))


@helper
def reduce_call(own, row, t, arguments, given):
    """The answer to a call."""
    operand = words()
    place, axis, rank = read_call(row, t, arguments, given, operand)
    if place == 0:
        return MISS
    x, plan = arguments[0], int64_at(place)
    sizes, frame = offset(operand, OPERAND), offset(operand, OPERAND + MOST_DIMENSIONS)
    needed = operand[COUNT] // reduced_size(operand, axis) * plan[_RESULT_ITEM]
    array = large_array(t, plan[_DESCRIPTION], rank, address_of(sizes), needed)
    if array <= MISS:
        return array
    result = new_holder(t, array, plan[_RESULT])
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    done = operand[COUNT] < SHARED and reduce_axis(plan, operand, axis, target, frame)
    if not done:
        kept = int64_at(x)[t[ARRAY]]  # others may run meanwhile
        hold(kept)
        done = reduce_large(t, plan, operand, axis, target, frame)
        release(kept)
    if not done:
        release(result)
        return MISS
    if row[RECORD] != 0 and needs_gradients(t, x):
        recipe = address_of(offset(plan, _RECIPES + (axis >= 0)))
        return record_call(row[RECORD], t, recipe, arguments, given, 1, result, frame)
    return result


class ReductionCalls(Calls):
    """Calls of a reduction: of x, the dimension or None, and whether that is kept, as size 1."""

    compute = reduce_call

    def __init__(self, reduction: Reduction, is_mean: bool, arity: int, record: Any) -> None:
        super().__init__(arity, record)
        self._reduction = reduction
        self._is_mean = is_mean
        self._plans: dict[Any, Any] = {}
        self._templates: dict[Any, int] = {}  # the number of when a plan was last looked at

    def learn(self, source: np.dtype[Any], kind: Any, target: np.dtype[Any], result: Any) -> None:
        """Notes the loops from a dtype to another, as far as they are compiled, and the kinds."""
        plan = self._plans.get(source)
        if plan is None:
            scale = _SCALES[target.name] if self._is_mean else _NO_SCALE
            nothing = unused[target]
            plan = self._plans[source] = np.zeros(_WORDS, np.int64)
            plan[:_RECIPES] = (
                int(self.words[PLANS]), id(kind), 0, 0, id(target), id(result), source.itemsize,
                target.itemsize, scale, nothing.ctypes.data,
            )  # fmt: skip
            if objects.are_as_expected():
                self.words[PLANS] = plan.ctypes.data
            self.keep(kind, target, result, nothing)
        if self._templates.get(source) == templates():
            return
        loop_of = self._reduction.loop
        stages = (
            (_SHARED_ROWS, loop_of(source, target)),
            (_SHARED_COLUMNS, loop_of(source, target, columns)),
            (_ROW_CHUNKS, loop_of(source, target, last=False)),
            (_COLUMN_CHUNKS, loop_of(source, target, columns, last=False)),
            (_ROW_ENDS, loop_of(target, target, first=False)),
            (_COLUMN_ENDS, loop_of(target, target, columns, first=False)),
        )
        for place, loop in stages:
            plan[place] = template_of(loop)
        for place, kernel in ((_ROWS, rows), (_COLUMNS, columns)):
            loop = loop_of(source, target, kernel)
            if loop.is_compiled():
                plan[place] = loop.address
        self._templates[source] = templates()
