"""Integer and rounding arithmetic with PyTorch's meaning at every edge, for use in kernels."""

from __future__ import annotations

from .bits import copysign, floor, fmod
from .intrinsics import helper


@helper
def maximum(a, b):  # type: ignore[no-untyped-def]
    """The larger; NaN if either is."""
    return a if (a > b) | (a != a) else b


@helper
def minimum(a, b):  # type: ignore[no-untyped-def]
    """The smaller; NaN if either is."""
    return a if (a < b) | (a != a) else b


@helper
def float_remainder(a, b):  # type: ignore[no-untyped-def]
    """The remainder with the divisor's sign."""
    rest = fmod(a, b)
    return rest + b if (rest != 0) & ((rest < 0) != (b < 0)) else rest


@helper
def float_floor_divide(a, b):  # type: ignore[no-untyped-def]
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
def int_floor_divide(a, b):  # type: ignore[no-untyped-def]
    """The floor of the quotient; 0 for a zero divisor (the caller refuses those)."""
    if b == 0:
        return a * 0
    if b == -1:
        return -a  # the one quotient that may overflow, and trap
    return a // b


@helper
def int_trunc_divide(a, b):  # type: ignore[no-untyped-def]
    """The quotient rounded towards zero."""
    if b == 0:
        return a * 0
    if b == -1:
        return -a
    quotient = a // b
    return quotient + 1 if (quotient < 0) & (quotient * b != a) else quotient


@helper
def int_remainder(a, b):  # type: ignore[no-untyped-def]
    """The remainder with the divisor's sign."""
    if (b == 0) | (b == -1):
        return a * 0
    return a % b


@helper
def int_fmod(a, b):  # type: ignore[no-untyped-def]
    """The remainder with the dividend's sign."""
    if (b == 0) | (b == -1):
        return a * 0
    rest = a % b
    return rest - b if (rest != 0) & ((a < 0) != (b < 0)) else rest


@helper
def int_pow(base, exponent):  # type: ignore[no-untyped-def]
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
def shift_left(a, count, width):  # type: ignore[no-untyped-def]
    """a << count; 0 for a count outside 0..width-1."""
    return a << count if (count >= 0) & (count < width) else a * 0


@helper
def shift_right(a, count, width):  # type: ignore[no-untyped-def]
    """a >> count, arithmetic; a count outside 0..width-1 leaves the sign."""
    return a >> count if (count >= 0) & (count < width) else a >> (width - 1)

