"""Integer and rounding arithmetic with PyTorch's meaning at every edge, for use in kernels."""

from __future__ import annotations

import math

import numpy as np

from .bits import copysign, fabs, floor, fmod, select
from .intrinsics import helper


@helper
def maximum(a, b):
    """The larger; NaN if either is."""
    return a if (a > b) | math.isnan(a) else b


@helper
def minimum(a, b):
    """The smaller; NaN if either is."""
    return a if (a < b) | math.isnan(a) else b


@helper
def float_remainder(a, b):
    """The remainder with the divisor's sign."""
    rest = fmod(a, b)
    return rest + b if (rest != 0) & ((rest < 0) != (b < 0)) else rest


@helper
def float_floor_divide(a, b):
    """The floor of the exact quotient, which may differ from that of the rounded one."""
    if b == 0:
        return a / b
    rest = fmod(a, b)
    quotient = (a - rest) / b
    if (rest != 0) & ((rest < 0) != (b < 0)):
        quotient = quotient - 1
    if quotient == 0:
        return copysign(quotient, a / b)
    whole = floor(quotient)
    return whole + 1 if quotient - whole > 0.5 else whole


@helper
def int_floor_divide(a, b):
    """The floor of the quotient; 0 for a zero divisor (the caller refuses those)."""
    if b == 0:
        return a * 0
    if b == -1:
        return -a  # the one quotient that may overflow, and trap
    return a // b


@helper
def int_trunc_divide(a, b):
    """The quotient rounded towards zero."""
    if b == 0:
        return a * 0
    if b == -1:
        return -a
    quotient = a // b
    return quotient + 1 if (quotient < 0) & (quotient * b != a) else quotient


@helper
def int_remainder(a, b):
    """The remainder with the divisor's sign."""
    if (b == 0) | (b == -1):
        return a * 0
    return a % b


@helper
def int_fmod(a, b):
    """The remainder with the dividend's sign."""
    if (b == 0) | (b == -1):
        return a * 0
    rest = a % b
    return rest - b if (rest != 0) & ((a < 0) != (b < 0)) else rest


@helper
def int_pow(base, exponent):
    """The power by squaring, wrapping; of a negative exponent, the truncated quotient 1 / power."""
    if exponent < 0:
        if base == 1:
            return base
        if base == -1:
            return base if exponent % 2 else -base
        return base * 0
    result = base * 0 + 1
    while exponent > 0:
        if exponent & 1:
            result = result * base
        base = base * base
        exponent >>= 1
    return result


@helper
def shift_left(a, count, width):
    """The bits moved up; 0 for a count outside 0..width-1."""
    return a << count if (count >= 0) & (count < width) else a * 0


@helper
def shift_right(a, count, width):
    """The bits moved down, with the sign; a count outside 0..width-1 leaves the sign alone."""
    if (count >= 0) & (count < width):
        return a >> count
    return (a >> (width - 1)) >> 1


@helper
def to_int32(x):
    """The float cut to an integer; the lowest where there is none, as x86 has it."""
    return select(fabs(x) < 2147483648.0, np.int32(x), np.int32(-2147483648))


@helper
def to_int64(x):
    """The same in 64 bits."""
    return select(fabs(x) < 9223372036854775808.0, np.int64(x), np.int64(-9223372036854775808))
