"""Calls of argmax and argmin of small arrays without gaps, over all dimensions or one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects
from ..argreduce import LARGE
from ..build import Loop
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..objects import DATA
from .callables import PLANS, Calls
from .holders import (
    AT,
    COUNT,
    HEAD,
    MISS,
    OPERAND,
    new_array,
    new_holder,
    release,
)
from .reduction import MOST_DIMENSIONS, is_along, names_several, read_call, split_sizes

# Words of a plan: the loops, of which 0 is not known; description and kind of the result; size of
# an element.
_NEXT, _OF, _ROWS, _COLUMNS, _DESCRIPTION, _RESULT, _ITEM = range(7)

_WINNERS, _MOST_WINNERS = 64, 256  # words of the frame for the winners themselves
_POSITION = 8  # bytes


@helper
def write_positions(plan, operand, axes, target, frame):
    """Writes where the winners along an axis are, or of all elements; says if that can be done."""
    split_sizes(operand, axes, frame)
    before, n, after = frame[0], frame[1], frame[2]
    loop = plan[_ROWS] if is_along(operand, axes, n, after) else plan[_COLUMNS]
    if loop == 0:
        return False
    pointers, dims, steps = frame, offset(frame, 3), offset(frame, 5)
    item, times, count = plan[_ITEM], before, after
    steps[0], steps[3] = item, after * item
    if after == 1:  # one loop over what is before
        times, count, steps[0] = 1, before, n * item
    dims[1], steps[1], steps[2] = n, item, _POSITION
    pointers[1] = address_of(offset(frame, _WINNERS))
    for k in range(times):
        for start in range(0, count, _MOST_WINNERS):
            dims[0] = min(_MOST_WINNERS, count - start)
            pointers[0] = operand[AT] + k * n * after * item + start * steps[0]
            pointers[2] = target + (k * count + start) * _POSITION
            call_loop(loop, pointers, dims, steps)
    return True


@helper
def find_positions(own, row, t, arguments, given):
    """The answer to a call."""
    operand, axes = words(), words()
    place, rank, _ = read_call(row, t, arguments, given, operand, axes)
    if place == 0 or operand[COUNT] >= LARGE or names_several(t, arguments, given):
        return MISS
    plan = int64_at(place)
    sizes, frame = offset(operand, OPERAND), offset(operand, OPERAND + MOST_DIMENSIONS)
    array = new_array(t, plan[_DESCRIPTION], rank, address_of(sizes))
    if array == 0:
        return 0
    result = new_holder(t, array, plan[_RESULT])
    target = offset(int64_at(array), HEAD)[DATA]
    if result != 0 and not write_positions(plan, operand, axes, target, frame):
        release(result)
        return MISS
    return result


class PositionCalls(Calls):
    """Calls that find extremes: of x, the dimension or None, and whether that is kept."""

    compute = find_positions

    def __init__(self) -> None:
        super().__init__(3, None)
        self._plans: dict[Any, Any] = {}

    def learn(self, rows: Loop, columns: Loop, kind: Any, result: Any) -> None:
        """Notes the loops for arrays of a kind, if compiled, and the kind of the result."""
        plan = self._plans.get(kind)
        if plan is None:
            first = [int(self.words[PLANS]), id(kind), 0, 0, id(result.numpy), id(result)]
            plan = self._plans[kind] = np.array([*first, kind.itemsize], np.int64)
            if objects.are_as_expected():
                self.words[PLANS] = plan.ctypes.data
            self.keep(kind, result, rows, columns)
        for place, loop in ((_ROWS, rows), (_COLUMNS, columns)):
            if loop.is_compiled():
                plan[place] = loop.address
