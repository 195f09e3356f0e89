"""Calls of argmax and argmin of small arrays without gaps, over all dimensions or one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import objects
from ..argreduce import FEW, LARGE
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
from .reduction import MOST_DIMENSIONS, is_along, read_call, split_sizes

# Words of a plan: the loop over columns; description and kind of the result; size of an element.
_NEXT, _OF, _LOOP, _DESCRIPTION, _RESULT, _ITEM = range(6)

_WINNERS, _MOST_WINNERS = 64, 300  # words of the frame for the winners themselves
_POSITION = 8  # bytes
_MOST_ALONG = 2048  # elements in several rows; for more Python's quicker way pays


@helper
def write_positions(plan, operand, axis, target, frame):
    """Writes where the winners along an axis are, or of all elements; says if that can be done."""
    split_sizes(operand, axis, frame)
    before, n, after = frame[0], frame[1], frame[2]
    if n >= FEW or (before > 1 and is_along(operand, axis, n, after) and before * n >= _MOST_ALONG):
        return False
    pointers, dims, steps = frame, offset(frame, 3), offset(frame, 5)
    item, times = plan[_ITEM], before
    dims[0], dims[1] = after, n
    steps[0], steps[3] = item, after * item
    if after == 1:  # one loop over what is before
        times = 1
        dims[0], steps[0] = before, n * item
    if dims[0] > _MOST_WINNERS:
        return False
    steps[1], steps[2] = item, _POSITION
    for k in range(times):
        pointers[0] = operand[AT] + k * n * after * item
        pointers[1] = address_of(offset(frame, _WINNERS))
        pointers[2] = target + k * after * _POSITION
        call_loop(plan[_LOOP], pointers, dims, steps)
    return True


@helper
def find_positions(own, row, t, arguments, given):
    """The answer to a call."""
    operand = words()
    place, axis, rank = read_call(row, t, arguments, given, operand)
    if place == 0 or operand[COUNT] >= LARGE:
        return MISS
    plan = int64_at(place)
    sizes, frame = offset(operand, OPERAND), offset(operand, OPERAND + MOST_DIMENSIONS)
    array = new_array(t, plan[_DESCRIPTION], rank, address_of(sizes))
    if array == 0:
        return 0
    result = new_holder(t, array, plan[_RESULT])
    target = offset(int64_at(array), HEAD)[DATA]
    if result != 0 and not write_positions(plan, operand, axis, target, frame):
        release(result)
        return MISS
    return result


class PositionCalls(Calls):
    """Calls that find extremes: of x, the dimension or None, and whether that is kept."""

    compute = find_positions

    def __init__(self) -> None:
        super().__init__(3, None)
        self._known: set[Any] = set()

    def learn(self, loop: Loop, kind: Any, result: Any) -> None:
        """Notes the loop for arrays of a kind, and the kind of the result."""
        if loop in self._known or not loop.is_compiled() or not objects.are_as_expected():
            return
        words = [int(self.words[PLANS]), id(kind), loop.address, id(result.numpy), id(result)]
        plan = np.array([*words, loop.dtypes[0].itemsize], np.int64)
        self.words[PLANS] = plan.ctypes.data
        self.keep(plan, kind, result, loop)
        self._known.add(loop)
