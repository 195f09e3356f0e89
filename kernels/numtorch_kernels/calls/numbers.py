"""Python numbers as operands of compiled code."""

from __future__ import annotations

from ..intrinsics import address_of, float32_at, float64_at, helper, int64_at, offset
from .holders import FLOAT, HEAD, TYPE, integer_of

_FLOAT32, FLOAT64, _INT64, FIXED = range(4)
NUMBER_KINDS = {"float32": _FLOAT32, "float64": FLOAT64, "int64": _INT64}
"""The dtypes that numbers are read as, and what stands for them in plans."""


@helper
def read_number(t, x, kind, place):
    """Writes a Python number as one of a loop's dtype; says whether it is one of those."""
    value = 0.0
    if int64_at(x)[TYPE] == t[FLOAT]:
        value = float64_at(x)[HEAD]
        if kind == _INT64:
            return False
    else:
        spot = offset(place, 1)
        whole = integer_of(x, address_of(spot))
        if spot[0] & 0xFFFFFFFF != 0 or abs(whole) > 1 << 53:
            return False
        if kind == _INT64:
            place[0] = whole
            return True
        value = float(whole)
    if kind == _FLOAT32:
        if not abs(value) <= 3.4e38:
            return False
        float32_at(address_of(place))[0] = value
    else:
        float64_at(address_of(place))[0] = value
    return True
