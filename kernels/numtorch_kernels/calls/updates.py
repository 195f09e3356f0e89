"""Calls of functions that change the memory of an array: that of their first argument, or a copy's.

What is done is what :mod:`.forward` does, but for the result, which is the first argument itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..intrinsics import address_of, helper, int64_at, words
from ..objects import FLAGS, SHAPE, STRIDES, WRITEABLE, rank_of
from .callables import INPLACE
from .forward import FIRST_FREE, ForwardCalls, is_in_bounds, passes, run_forward, take_arrays
from .holders import (
    FALSE_FLAG,
    MISS,
    RECORDING,
    array_of,
    call_python,
    flag_of_mode,
    hold,
    is_holder,
    note_change,
    release,
)

_CHANGE = FIRST_FREE  # the word of a row with the function that changes an array


@helper
def is_changeable(array):
    """Whether an array may be written to, and none of its elements share memory."""
    able, sizes, strides = array[FLAGS] & WRITEABLE != 0, array[SHAPE], array[STRIDES]
    for axis in range(rank_of(array)):
        able &= int64_at(strides)[axis] != 0 or int64_at(sizes)[axis] < 2
    return able


@helper
def change(row, t, arguments, count):
    """The first argument, changed: a new reference; 0 after an error; MISS, and nothing is done."""
    x, frame = arguments[0], words()
    if not is_holder(t, x) or not is_changeable(array_of(t, x)):
        return MISS
    if not passes(row, arguments, count):
        return 0
    needs = take_arrays(row, t, arguments, count, frame)
    if needs < 0:
        return MISS if needs == -2 else 0
    result = x
    if needs > 0 and flag_of_mode(t, RECORDING) != FALSE_FLAG:
        result = MISS
    else:
        done = call_python(row[_CHANGE], address_of(frame), count, 0)
        if done == 0:
            result = 0
        else:
            release(done)
    for i in range(count):
        release(frame[i])
    if result <= MISS:
        return result
    if not note_change(t, x):
        return 0
    hold(x)
    return x


@helper
def run_update(own, row, t, arguments, given):
    """The answer to a call."""
    if own[INPLACE] == 0:
        return run_forward(own, row, t, arguments, given)
    return change(row, t, arguments, given) if is_in_bounds(row, given) else MISS


class UpdateCalls(ForwardCalls):
    """Calls of a function that changes an array, ``change``; others get what it makes of a copy."""

    compute = run_update
    changes = True

    def __init__(self, *arguments: Any, change: Callable[..., Any], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.words[_CHANGE] = id(change)
        self.keep(change)
