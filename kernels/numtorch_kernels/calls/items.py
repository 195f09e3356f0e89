"""Calls that give the only element of an array as a Python number."""

from __future__ import annotations

import numpy as np
from numba import types

from .. import objects
from ..intrinsics import float32_at, float64_at, helper, int64_at, uint8_at, words
from ..objects import kind_in
from .callables import Calls
from .holders import (
    AT,
    COUNT,
    FALSE,
    MISS,
    TRUE,
    array_of,
    c_function,
    hold,
    is_holder,
    new_integer,
    read_array,
)

_FLOAT32, _FLOAT64, _INT64, _BOOL = (
    objects.kind_of(np.dtype(name)) for name in ("float32", "float64", "int64", "bool")
)

new_float = c_function("PyFloat_FromDouble", 1, types.float64)


@helper
def number_at(t, kind, address):
    """A new reference to the number of a kind at an address; MISS of other kinds."""
    if kind == _FLOAT32:
        return new_float(float32_at(address)[0])
    if kind == _FLOAT64:
        return new_float(float64_at(address)[0])
    if kind == _INT64:
        return new_integer(int64_at(address)[0])
    if kind == _BOOL:
        truth = t[TRUE] if uint8_at(address)[0] != 0 else t[FALSE]
        hold(truth)
        return truth
    return MISS


@helper
def read_item(own, row, t, arguments, given):
    """The answer to a call."""
    if given != 1 or not is_holder(t, arguments[0]):
        return MISS
    array, operand = array_of(t, arguments[0]), words()
    if not read_array(array, operand) or operand[COUNT] != 1:
        return MISS
    return number_at(t, kind_in(array), operand[AT])


class ItemCalls(Calls):
    """Calls of a holder."""

    compute = read_item

    def __init__(self) -> None:
        super().__init__(1, None)
