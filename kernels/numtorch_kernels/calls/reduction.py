"""Calls of reductions of arrays without gaps, over all dimensions, one, or several side by side."""

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
    rows_side_by_side,
    unused,
)
from .callables import ARITY, PLANS, RECORD, Calls, plan_of
from .forward import items_of
from .holders import (
    ARRAY,
    AT,
    COUNT,
    FALSE,
    HEAD,
    INTEGER,
    KIND,
    LIST,
    MISS,
    NONE,
    OPERAND,
    RANK,
    SIZES,
    TRUE,
    TUPLE,
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
_TAKES_SEVERAL = PLANS + 1  # the word of a row that says if a call may name several dimensions
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
def read_axes(t, x, rank, axes):
    """Writes the first and the last axis that a list or tuple names; says if all between them are.

    A range of all axes begins with -1.
    """
    named, least, most = 0, rank, -1
    count, items = int64_at(x)[HEAD], items_of(t, x)
    for k in range(count):
        axis = read_axis(items[k], rank) if int64_at(items[k])[TYPE] == t[INTEGER] else -1
        if axis < 0 or named >> axis & 1 != 0:
            return False
        named |= 1 << axis
        least, most = min(least, axis), max(most, axis)
    axes[0], axes[1] = -1 if count == rank else least, most
    return count > 0 and most - least + 1 == count


@helper
def read_dimensions(t, arguments, given, rank, axes):
    """Writes the first and last of the axes that a call names, -1 first for all.

    Says whether they are kept; -1 if Python has to say.
    """
    axes[0], axes[1], keep = -1, -1, 0
    if given > 1 and arguments[1] != t[NONE]:
        kind = int64_at(arguments[1])[TYPE]
        if kind == t[INTEGER]:
            axes[0] = read_axis(arguments[1], rank)
            axes[1] = axes[0]
            if axes[0] < 0:
                keep = -1
        elif (kind != t[LIST] and kind != t[TUPLE]) or not read_axes(t, arguments[1], rank, axes):
            keep = -1
    if given > 2 and keep == 0:
        keep = arguments[2] == t[TRUE]
        if keep == 0 and arguments[2] != t[FALSE]:
            keep = -1
    return keep


@helper
def split_sizes(operand, axes, parts):
    """Writes how many elements are before, along and after a range of axes, or 1, all and 1."""
    sizes = int64_at(operand[SIZES])
    parts[0], parts[1], parts[2] = 1, 1, 1
    for k in range(operand[RANK]):
        place = 1
        if axes[0] >= 0:
            place = (k >= axes[0]) + (k > axes[1])
        parts[place] *= sizes[k]


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
def is_along(operand, axes, n, after):
    """Whether the loop along rows is used, not that over columns."""
    return operand[RANK] == 1 or axes[0] < 0 or (after == 1 and n >= SHORT)


@helper
def reduce_axes(plan, operand, axes, target, frame):
    """Reduces along a range of axes, or all elements; says whether that can be done."""
    split_sizes(operand, axes, frame)
    before, n, after = frame[0], frame[1], frame[2]
    along = is_along(operand, axes, n, after)
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
    if before == 1:
        return share_rows(
            t, template, x, item, after * item, n, after, scale, unused, target, result_item, frame,
            tasks,
        )  # fmt: skip
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
    whole, rest, k = n // chunk, n % chunk, rows_side_by_side(count)
    total = whole * k + (rest > 0)
    if chunks == 0 or ends == 0 or chunk_of_columns(total, count, True) < total:
        return False
    item, size, unused = plan[_ITEM], plan[_RESULT_ITEM], plan[_UNUSED]
    frame[0] = total * count
    array = large_array(t, plan[_DESCRIPTION], 1, address_of(frame), total * count * size)
    if array <= MISS:
        return False
    parts = offset(int64_at(array), HEAD)[DATA]
    done = share_middle(
        t, chunks, x, item, whole, chunk // k, count * k, unused, unused, parts, size, frame, tasks
    )
    if rest > 0:
        done &= share_rows(
            t, chunks, x + whole * chunk * count * item, item, count * item, rest, count, unused,
            unused, parts + whole * k * count * size, size, frame, 1,
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
def reduce_large(t, plan, operand, axes, target, frame):
    """As :func:`reduce_axes`, on several threads: what :meth:`Reduction._staged` does."""
    number, work = frame, offset(frame, 2)
    split_sizes(operand, axes, work)
    before, n, after = work[0], work[1], work[2]
    tasks = tasks_for(t, operand[COUNT] * WORTH // SHARED)
    if tasks == 0:
        return False
    x, item, size = operand[AT], plan[_ITEM], plan[_RESULT_ITEM]
    scale, unused = write_scale(plan, n, number), plan[_UNUSED]
    if is_along(operand, axes, n, after):
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
    if after > 1:
        return share_middle(
            t, template, x, item, before, n, after, scale, unused, target, size, work, tasks
        )
    return share_rows(
        t, template, x, n * item, item, n, before, scale, unused, target, size, work, tasks
    )


@helper
def result_sizes(operand, axes, keep, sizes):
    """Writes the sizes of the result; gives how many there are, and how many elements."""
    own, rank, count = int64_at(operand[SIZES]), 0, 1
    for k in range(operand[RANK]):
        reduced = axes[0] < 0 or (k >= axes[0] and k <= axes[1])
        if not reduced:
            count *= own[k]
        if not reduced or keep:
            sizes[rank] = 1 if reduced else own[k]
            rank += 1
    return rank, count


@helper
def read_call(row, t, arguments, given, operand, axes):
    """The place of a plan, the rank and the size of the result; 0 where Python has to say.

    The words of the operand are written, after them the result's sizes, and the range of axes.
    """
    if given < 1 or given > row[ARITY] or not is_holder(t, arguments[0]):
        return 0, 0, 0
    x = arguments[0]
    place = plan_of(row, int64_at(x)[t[KIND]])
    if place == 0 or not read_array(array_of(t, x), operand):
        return 0, 0, 0
    if operand[COUNT] == 0 or operand[RANK] > MOST_DIMENSIONS:
        return 0, 0, 0
    keep = read_dimensions(t, arguments, given, operand[RANK], axes)
    if keep < 0:
        return 0, 0, 0
    rank, count = result_sizes(operand, axes, keep != 0, offset(operand, OPERAND))
    return place, rank, count


@helper
def names_several(t, arguments, given):
    """Whether a call names dimensions by a list or tuple, if of one only."""
    if given < 2 or arguments[1] == t[NONE]:
        return False
    return int64_at(arguments[1])[TYPE] != t[INTEGER]


@helper
def reduce_call(own, row, t, arguments, given):
    """The answer to a call."""
    operand, axes = words(), words()
    place, rank, count = read_call(row, t, arguments, given, operand, axes)
    if place == 0:
        return MISS
    several = names_several(t, arguments, given)
    needs = row[RECORD] != 0 and needs_gradients(t, arguments[0])
    if several and (needs or row[_TAKES_SEVERAL] == 0):
        return MISS
    x, plan = arguments[0], int64_at(place)
    sizes, frame = offset(operand, OPERAND), offset(operand, OPERAND + MOST_DIMENSIONS)
    needed = count * plan[_RESULT_ITEM]
    array = large_array(t, plan[_DESCRIPTION], rank, address_of(sizes), needed)
    if array <= MISS:
        return array
    result = new_holder(t, array, plan[_RESULT])
    if result == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    done = operand[COUNT] < SHARED and reduce_axes(plan, operand, axes, target, frame)
    if not done:
        kept = int64_at(x)[t[ARRAY]]  # others may run meanwhile
        hold(kept)
        done = reduce_large(t, plan, operand, axes, target, frame)
        release(kept)
    if not done:
        release(result)
        return MISS
    if needs:
        recipe = address_of(offset(plan, _RECIPES + (axes[0] >= 0)))
        return record_call(row[RECORD], t, recipe, arguments, given, 1, result, frame)
    return result


class ReductionCalls(Calls):
    """Calls of a reduction: of x, the dimension or None, and whether that is kept, as size 1.

    ``takes_several`` says that a list or tuple may name dimensions.
    """

    compute = reduce_call

    def __init__(
        self, reduction: Reduction, is_mean: bool, arity: int, record: Any, takes_several: bool
    ) -> None:
        super().__init__(arity, record)
        self.words[_TAKES_SEVERAL] = takes_several
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
