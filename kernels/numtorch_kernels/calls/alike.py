"""Calls of pointwise operations of any operands that are alike: of one shape, or numbers.

Plans of :mod:`.pointwise` are for one or two operands, which they broadcast; these are for more,
and for calls that give parameters. Large ones are left to Python, whose way is short beside them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import objects
from ..build import Loop
from ..costs import WORTH, element_cost
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..objects import DATA, FLAGS, WRITEABLE, are_apart, rank_of
from .callables import FORM, INPLACE, PLANS, RECORD, SWAPPED, Calls
from .holders import (
    AT,
    COUNT,
    HEAD,
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
)
from .numbers import NUMBER_KINDS, read_number
from .recording import record_call

ALIKE = PLANS + 1  # the word of a row with its plans

# Words of a plan: the next one; how many arguments there are at least, and at most; the loop;
# description, kind and bytes of an element of the result; from how many elements on Python has to
# say; places for recipes, by which of the first three arguments need gradients;
(_NEXT, _LEAST, _MOST, _LOOP, _DESCRIPTION, _RESULT, _RESULT_ITEM, _LIMIT,
 _RECIPES) = range(9)  # fmt: skip
_PLACES = 8
_WHAT = _RECIPES + _PLACES
# then of each argument what it is, of which kind or class, and the bytes of an element or what
# number it becomes.
_TENSOR, _SCALAR, _NUMBER, _STATIC = range(4)
MOST_ARGUMENTS = 6


@helper
def is_as_planned(t, what, x):
    """Whether an argument is what a plan is for."""
    if what[0] == _STATIC:
        return x == what[1]
    if what[0] == _NUMBER:
        return int64_at(x)[TYPE] == what[1]
    if not is_holder(t, x) or int64_at(x)[t[KIND]] != what[1]:
        return False
    return (rank_of(array_of(t, x)) == 0) == (what[0] == _SCALAR)


@helper
def find_plan(row, t, arguments, given):
    """The plan for such arguments; 0 where there is none."""
    place = row[ALIKE]
    while place != 0:
        plan = int64_at(place)
        fits = plan[_LEAST] <= given <= plan[_MOST]
        for k in range(given if fits else 0):
            fits &= is_as_planned(t, offset(plan, _WHAT + 3 * k), arguments[k])
        if fits:
            break
        place = plan[_NEXT]
    return place


@helper
def is_of_shape(operand, shape):
    """Whether an operand has the sizes of another."""
    own, other, same = int64_at(operand[SIZES]), int64_at(shape[SIZES]), True
    for axis in range(shape[RANK]):
        same &= own[axis] == other[axis]
    return same & (operand[RANK] == shape[RANK])


@helper
def read_operands(t, plan, arguments, pointers, steps, shape, spots):
    """Reads the operands of a loop; gives how many there are, or -1 if they are not alike.

    The shape is that of the first tensor that has dimensions, or of the first.
    """
    operand, count = words(), 0
    shape[RANK] = -1
    for k in range(plan[_MOST]):
        what, x = offset(plan, _WHAT + 3 * k), arguments[k]
        if what[0] == _NUMBER:
            spot = offset(spots, 2 * k)
            if not read_number(t, x, what[2], spot):
                return -1
            pointers[count], steps[count] = address_of(spot), 0
        elif what[0] != _STATIC:
            if not read_array(array_of(t, x), operand):
                return -1
            if shape[RANK] <= 0 and (what[0] == _TENSOR or shape[RANK] < 0):
                for word in range(OPERAND):
                    shape[word] = operand[word]
            if what[0] == _TENSOR and not is_of_shape(operand, shape):
                return -1
            pointers[count] = operand[AT]
            steps[count] = what[2] if what[0] == _TENSOR else 0
        count += what[0] != _STATIC
    return count


@helper
def may_be_changed(t, plan, x, pointers, steps, count, shape):
    """Whether the first operand may be written to: others are elsewhere, or just where it is."""
    size = shape[COUNT] * plan[_RESULT_ITEM]
    able = plan[_RESULT] == plan[_WHAT + 1] and array_of(t, x)[FLAGS] & WRITEABLE != 0
    able &= plan[_WHAT] == _TENSOR or shape[RANK] == 0
    for k in range(1, count):
        if pointers[k] != pointers[0] or steps[k] != steps[0]:
            able &= are_apart(pointers[0], size, pointers[k], max(shape[COUNT] * steps[k], 8))
    return able


@helper
def compute_alike(t, plan, inplace, arguments):
    """The result of a call, a new reference; 0 after an error; or MISS, and nothing is done."""
    frame, shape = words(), words()
    pointers, steps, dims = frame, offset(frame, 8), offset(frame, 16)
    count = read_operands(t, plan, arguments, pointers, steps, shape, offset(frame, 24))
    if count < 0 or shape[COUNT] >= plan[_LIMIT]:
        return MISS
    steps[count], dims[0] = plan[_RESULT_ITEM], shape[COUNT]
    if inplace:
        x = arguments[0]
        if not may_be_changed(t, plan, x, pointers, steps, count, shape):
            return MISS
        pointers[count] = pointers[0]
        call_loop(plan[_LOOP], pointers, dims, steps)
        if not note_change(t, x):
            return 0
        hold(x)
        return x
    array = new_array(t, plan[_DESCRIPTION], shape[RANK], shape[SIZES])
    if array == 0:
        return 0
    pointers[count] = offset(int64_at(array), HEAD)[DATA]
    if shape[COUNT] > 0:
        call_loop(plan[_LOOP], pointers, dims, steps)
    return new_holder(t, array, plan[_RESULT])


@helper
def run_alike(own, row, t, arguments, given):
    """The answer to a call."""
    if row[ALIKE] == 0 or given < 1 or given > MOST_ARGUMENTS:
        return MISS
    values = arguments
    if own[FORM] == SWAPPED:
        values = words()
        for k in range(given):
            values[k] = arguments[k]
        values[0], values[1] = arguments[1], arguments[0]
    place = find_plan(row, t, values, given)
    if place == 0:
        return MISS
    plan, bits = int64_at(place), 0
    for k in range(given):
        if plan[_WHAT + 3 * k] <= _SCALAR and needs_gradients(t, values[k]):
            bits |= 1 << k
    if bits != 0 and (own[INPLACE] != 0 or row[RECORD] == 0):
        return MISS
    result = compute_alike(t, plan, own[INPLACE] != 0, values)
    if bits == 0 or result <= MISS:
        return result
    recipe = address_of(offset(plan, _RECIPES + bits)) if bits < _PLACES else 0
    return record_call(row[RECORD], t, recipe, values, given, bits, result, words())


class Argument(NamedTuple):
    """What an argument has to be for a plan.

    A "tensor" or a "scalar" of a kind, a "number" of a class that becomes one of the dtype; or
    "static", and that very object.
    """

    what: str
    kind: Any
    dtype: np.dtype[Any] | None = None


_CODES = {"tensor": _TENSOR, "scalar": _SCALAR, "number": _NUMBER, "static": _STATIC}


class AlikeCalls(Calls):
    """Calls of a pointwise row whose operands are alike, for which plans are known."""

    compute = run_alike
    changes = True

    def add_alike(self, arguments: list[Argument], least: int, loop: Loop, kind: Any) -> None:
        """Adds what to do for such arguments, of which so many are given; the result is of a kind.

        What need not be given is static.
        """
        if len(arguments) > MOST_ARGUMENTS or not objects.are_as_expected():
            return
        described = []
        for what, given, dtype in arguments:
            size = 0 if dtype is None else dtype.itemsize
            if what == "number":
                if dtype is None or dtype.name not in NUMBER_KINDS or given not in (int, float):
                    return
                size = NUMBER_KINDS[dtype.name]
            described += [_CODES[what], id(given), size]
        result = loop.dtypes[-1]
        limit = int(WORTH / element_cost(loop))
        first = [int(self.words[ALIKE]), least, len(arguments), loop.address, id(result)]
        first += [id(kind), result.itemsize, limit, *[0] * _PLACES]
        plan = np.array(first + described, np.int64)
        self.keep(plan, arguments, loop, kind)
        self.words[ALIKE] = plan.ctypes.data
