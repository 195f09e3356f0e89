"""Calls of pointwise operations that never enter Python's interpreter.

A Python call takes 0.1 us, an operation's way through Python a dozen of them; a loop over a few
elements takes 5 ns. So whatever is known of a row of operations by its first calls is written into
*plans*: for which kinds of operands, which loop, which kind of result. Compiled code finds the plan
of a call, reads the operands, makes the result and runs the loop. Where there is no plan, or the
call is not a small and simple one, it calls the Python function instead, which can do everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import objects
from ..build import Loop
from ..costs import WORTH, element_cost
from ..drive import HEADER, LANES, expected_cost, template_of, templates
from ..intrinsics import (
    address_of,
    float32_at,
    helper,
    int64_at,
    levels,
    offset,
    words,
)
from ..layout import SHORT
from ..objects import DATA, FLAGS, WRITEABLE, are_apart
from ..pointwise import of_numbers, rows_of
from .alike import ALIKE, AlikeCalls, run_alike
from .broadcasting import (
    MOST_DIMENSIONS,
    broadcast,
    run_rows,
    run_spans,
    span_of,
    strides_of,
)
from .callables import (
    ARITY,
    FORM,
    INPLACE,
    PLANS,
    RECORD,
)
from .holders import (
    ARRAY,
    AT,
    COUNT,
    FLOAT,
    HEAD,
    INTEGER,
    KIND,
    MISS,
    OPERAND,
    RANK,
    SIZES,
    TYPE,
    array_of,
    hold,
    is_holder,
    needs_gradients,
    new_array,
    new_holder,
    note_change,
    read_array,
    release,
)
from .large import large_array, share, tasks_for
from .numbers import FIXED, FLOAT64, NUMBER_KINDS, read_number
from .recording import record_call

# Words of a plan. ``_NUMBER`` is the place of the operand that is a number, or -1, and its type is
# ``_NUMBER_KIND``; one that is compiled into the loop is FIXED, to the float at ``_VALUE``.
# ``_ITEMS`` are the bytes of an element of each operand and of the result; then come the places for
# recipes where the first, the second, or both need gradients; what an element costs, in cache and
# from memory, in 1024ths of a nanosecond; and what launches on several threads need to know of the
# loop; of those for rows: in which no operand is a number, or the first, or the second; and of
# those for all elements, where the first or the second operand is a number; or 0.
(_NEXT, _FIRST, _SECOND, _LOOP, _DESCRIPTION, _KIND, _LIMIT, _NUMBER, _NUMBER_KIND,
 _VALUE, _ITEMS) = range(11)  # fmt: skip
_CONSTANTS = ALIKE + 1  # the word of a row with the numbers that have loops of their own, or 0
_RECIPES = _ITEMS + 3
_COST, _EXPECTED, _TEMPLATE = range(_RECIPES + 3, _RECIPES + 6)
_ROW_TEMPLATES = _TEMPLATE + 1
_NUMBER_TEMPLATES = _ROW_TEMPLATES + 3
_PLAN_WORDS = _NUMBER_TEMPLATES + 2


@helper
def kind_of(t, x):
    """What an operand is to a plan: a holder's kind of array, the type of a number, or 0."""
    kind = int64_at(x)[TYPE]
    if kind == t[FLOAT] or kind == t[INTEGER]:
        return kind
    return int64_at(x)[t[KIND]] if is_holder(t, x) else 0


@helper
def is_for_number(row, t, plan, y, place):
    """Whether a plan is for the second operand: a number may have a loop of its own."""
    if plan[_NUMBER_KIND] != FIXED and (plan[_NUMBER] != 1 or row[_CONSTANTS] == 0):
        return True
    if not read_number(t, y, FLOAT64, place):
        return False
    if plan[_NUMBER_KIND] == FIXED:
        return place[0] == plan[_VALUE]
    constants, found = int64_at(row[_CONSTANTS]), False
    for k in range(constants[0]):
        found |= place[0] == constants[1 + k]
    return not found


@helper
def find_plan(row, t, first, second, y, frame):
    """The plan for kinds of operands; 0 where there is none."""
    place = row[PLANS]
    while place != 0:
        plan = int64_at(place)
        if (
            plan[_FIRST] == first
            and plan[_SECOND] == second
            and is_for_number(row, t, plan, y, frame)
        ):
            break
        place = plan[_NEXT]
    return place


@helper
def run_loop(plan, operands, first, second, target, span, sizes, rank, total, frame):
    """Runs a loop on this thread."""
    loop, items = plan[_LOOP], offset(plan, _ITEMS)
    if span > 0:
        run_spans(loop, items, operands, first, second, target, 0, total, span, frame)
    elif total > 0:
        run_rows(loop, items, first, second, target, sizes, rank, frame)


@helper
def is_writable_beside(t, x, plan, first, second, rank, total):
    """Whether the result may be written to the first operand: no part of the second is there.

    Or each of its elements where the one is that it meets.
    """
    if first[RANK] != rank or first[COUNT] != total or array_of(t, x)[FLAGS] & WRITEABLE == 0:
        return False
    item, other = plan[_ITEMS], plan[_ITEMS + 1]
    if first[AT] == second[AT] and item == other and second[COUNT] == total:
        return True
    return are_apart(first[AT], total * item, second[AT], second[COUNT] * other)


@helper
def place_rows(plan, operands, first, second, target, sizes, span, total, rows, size, descriptor):
    """Describes a loop over rows; gives what it needs of operands, 0 if that is not known."""
    descriptor[HEADER] = rows
    template = plan[_ROW_TEMPLATES]
    for k in range(operands):
        entry = offset(descriptor, HEADER + 1 + 3 * k)
        operand, item = second if k == 1 else first, plan[_ITEMS + k]
        entry[0] = operand[AT]
        strides_of(operand, sizes, span, total, item, offset(entry, 1))
        if entry[2] == 0:
            template = plan[_ROW_TEMPLATES + 1 + k]
    entry, item = offset(descriptor, HEADER + 1 + 3 * operands), plan[_ITEMS + operands]
    entry[0], entry[1], entry[2] = target, size * item, item
    return template


@helper
def place_flat(plan, operands, first, second, target, total, descriptor):
    """Describes a loop over all elements; gives what it needs of operands, 0 if not known."""
    template = plan[_TEMPLATE]
    for k in range(operands):
        operand = second if k == 1 else first
        entry = offset(descriptor, HEADER + 2 * k)
        entry[0], entry[1] = operand[AT], plan[_ITEMS + k]
        if operand[COUNT] != total:
            entry[1], template = 0, plan[_NUMBER_TEMPLATES + k]
    entry = offset(descriptor, HEADER + 2 * operands)
    entry[0], entry[1] = target, plan[_ITEMS + operands]
    return template


@helper
def array_held(t, x, is_number):
    """The array of an operand, or a number itself; held, as others may run meanwhile."""
    kept = x
    if not is_number:
        kept = int64_at(x)[t[ARRAY]]
    hold(kept)
    return kept


@helper
def compute_large(
    t, plan, operands, inplace, x, y, first, second, span, rank, sizes, total, descriptor
):
    """As :func:`compute`, for so many elements that threads may pay."""
    tasks = tasks_for(t, plan[_COST] * total >> 10)
    size, rows = span, 1
    if span > 0:
        rows = total // span
    else:
        if rank != 2:
            return MISS
        rows, size = sizes[0], sizes[1]
        if rows < 4 * tasks or size < SHORT:
            return MISS
    if tasks == 0 or plan[_TEMPLATE] == 0:
        return MISS
    target, array = first[AT], 0
    if not inplace:
        needed = total * plan[_ITEMS + operands]
        array = large_array(t, plan[_DESCRIPTION], rank, address_of(sizes), needed)
        if array <= MISS:
            return array
        target = offset(int64_at(array), HEAD)[DATA]
    if span == total:
        template = place_flat(plan, operands, first, second, target, total, descriptor)
    else:
        template = place_rows(
            plan, operands, first, second, target, sizes, span, total, rows, size, descriptor
        )
    if template == 0:
        if not inplace:
            release(array)
        return MISS
    held, other = array_held(t, x, plan[_NUMBER] == 0), array_held(t, y, plan[_NUMBER] == 1)
    expected = plan[_EXPECTED] * total >> 10
    done = share(t, int64_at(template), descriptor, size, rows, tasks, LANES, expected)
    if rows * size < total:
        run_spans(
            plan[_LOOP], offset(plan, _ITEMS), operands, first, second, target, rows * size,
            total, span, descriptor,
        )  # fmt: skip
    release(held)
    release(other)
    if inplace:
        if not done or not note_change(t, x):
            return 0
        hold(x)
        return x
    if not done:
        release(array)
        return 0
    return new_holder(t, array, plan[_KIND])


@helper
def compute(t, plan, arity, inplace, x, y, frame, memory):
    """The result for two operands (or one, given twice), a new reference; 0 after an error."""
    first, second = frame, offset(frame, OPERAND)
    spot, sizes = offset(frame, 2 * OPERAND), offset(frame, 2 * OPERAND + 4)
    work = offset(sizes, MOST_DIMENSIONS)
    operands = 1 if plan[_NUMBER_KIND] == FIXED else arity
    for k in range(operands):
        operand = second if k == 1 else first
        if plan[_NUMBER] == k:
            if not read_number(t, y if k == 1 else x, plan[_NUMBER_KIND], spot):
                return MISS
            operand[AT], operand[RANK], operand[SIZES] = address_of(spot), 0, address_of(spot)
            operand[COUNT] = 1
        elif not read_array(array_of(t, y if k == 1 else x), operand):
            return MISS
    if operands == 1:
        second = first
    rank = broadcast(first, second, sizes)
    if rank < 0:
        return MISS
    total = 1
    for axis in range(rank):
        total *= sizes[axis]
    if inplace and (
        plan[_KIND] != plan[_FIRST]
        or not is_writable_beside(t, x, plan, first, second, rank, total)
    ):
        return MISS
    span = span_of(first, second, sizes, rank, total, offset(plan, _ITEMS), memory)
    if total >= plan[_LIMIT]:
        return compute_large(
            t, plan, operands, inplace, x, y, first, second, span, rank, sizes, total, work
        )
    if inplace:
        run_loop(plan, operands, first, second, first[AT], span, sizes, rank, total, work)
        if not note_change(t, x):
            return 0
        hold(x)
        return x
    array = new_array(t, plan[_DESCRIPTION], rank, address_of(sizes))
    if array == 0:
        return 0
    target = offset(int64_at(array), HEAD)[DATA]
    run_loop(plan, operands, first, second, target, span, sizes, rank, total, work)
    return new_holder(t, array, plan[_KIND])


@helper
def attempt(own, row, t, arguments, given):
    """The answer to a call with one or two operands; MISS where there is no plan for them."""
    frame, arity, swapped = words(), row[ARITY], own[FORM]
    if given != arity:
        return MISS
    x = y = arguments[swapped]
    first = second = kind_of(t, x)
    bits = 0
    if arity == 2:
        y = arguments[1 - swapped]
        second = kind_of(t, y)
    place = find_plan(row, t, first, second, y, frame)
    if place == 0:
        return MISS
    plan = int64_at(place)
    if row[RECORD] != 0 or own[INPLACE] != 0:
        if plan[_NUMBER] != 0 and needs_gradients(t, x):
            bits = 1
        if arity == 2 and plan[_NUMBER] != 1 and needs_gradients(t, y):
            bits |= 2
        if bits != 0 and own[INPLACE] != 0:
            return MISS
    memory = address_of(levels(float32_at(address_of(frame))))
    result = compute(t, plan, arity, own[INPLACE], x, y, frame, memory)
    if bits != 0 and result > MISS:
        frame[0], frame[1] = x, y
        recipe = address_of(offset(plan, _RECIPES + bits - 1))
        return record_call(row[RECORD], t, recipe, frame, arity, bits, result, offset(frame, 2))
    return result


@helper
def run_pointwise(own, row, t, arguments, given):
    """The answer to a call: as for one or two operands, or as for some that are alike."""
    result = attempt(own, row, t, arguments, given)
    return run_alike(own, row, t, arguments, given) if result == MISS else result


class PointwiseCalls(AlikeCalls):
    """Calls of a pointwise row, for which plans are known."""

    compute = run_pointwise

    def __init__(
        self, arity: int, record: Callable[..., None] | None, constants: tuple[float, ...] = ()
    ) -> None:
        super().__init__(arity, record)
        if constants:
            table = np.array([0, *constants], np.float64)
            table[:1].view(np.int64)[0] = len(constants)
            self.words[_CONSTANTS] = table.ctypes.data
            self.keep(table)
        self._loops: list[tuple[Any, Loop]] = []
        self._templates = 0

    def add_plan(self, operands: tuple[Any, ...], loop: Loop, kind: Any, fixed: Any = None) -> None:
        """Adds what to do for kinds of operands: kinds of arrays, ``float`` or ``int``.

        The result is of a ``kind``. ``fixed`` is the second operand where that is a number that is
        compiled into the loop.
        """
        numbers = [k for k, operand in enumerate(operands) if operand in (float, int)]
        number = numbers[0] if numbers else -1
        number_kind = NUMBER_KINDS.get(loop.dtypes[number].name) if numbers else 0
        if fixed is not None:
            number_kind = FIXED
        if number_kind is None or not objects.are_as_expected():
            return
        serial = int(WORTH / element_cost(loop))
        plan = np.zeros(_PLAN_WORDS, np.int64)
        plan[_NEXT : _LOOP + 1] = [
            int(self.words[PLANS]), id(operands[0]), id(operands[-1]), loop.address
        ]  # fmt: skip
        plan[_DESCRIPTION : _LIMIT + 1] = [id(loop.dtypes[-1]), id(kind), serial]
        plan[_NUMBER], plan[_NUMBER_KIND] = number, number_kind
        if fixed is not None:
            plan[_VALUE : _VALUE + 1].view(np.float64)[0] = fixed
        plan[_ITEMS : _ITEMS + len(loop.dtypes)] = [dtype.itemsize for dtype in loop.dtypes]
        plan[_COST], plan[_EXPECTED] = 1024 * element_cost(loop), 1024 * expected_cost(loop)
        self.words[PLANS] = plan.ctypes.data
        self.keep(plan, operands, loop, kind)
        self._loops.append((plan, loop))
        self._templates = 0  # the loop may have been compiled before there was this plan

    def learn_launches(self) -> None:
        """Notes what launches on several threads need to know, of loops that are compiled."""
        now = templates()
        if now < 0 or now == self._templates:
            return
        for plan, loop in self._loops:
            of_number = [of_numbers(loop, k) for k in range(loop.inputs)]
            for place, own in (
                (_TEMPLATE, [loop]),
                (_ROW_TEMPLATES, rows_of(loop)),
                (_NUMBER_TEMPLATES, of_number),
            ):
                plan[place : place + len(own)] = [template_of(each) for each in own]
        self._templates = now
