"""sin, cos and tan.

The argument becomes y in [-pi/4, pi/4] and a quadrant. Up to a bound, pi/2 is subtracted in three
parts (Cody and Waite). Above it the product of the integer significand with the bits of 2/pi that
matter is taken in fixed point, modulo 4 (Payne and Hanek, "Radian reduction for trigonometric
functions", 1983). Vectorised code has no branches, so it computes both; the `_bounded` functions
leave the second out, for callers who know that |x| < TRIG_BOUND_F32 or TRIG_BOUND_F64.
"""

from __future__ import annotations

import numpy as np

from ..bits import (
    bits,
    fabs,
    fma,
    from_bits32,
    from_bits64,
    funnel_shift,
    polynomial,
    select,
    window,
)
from .exponential import SHIFT_F32, SHIFT_F64
from .vectorise import odd_series, vectorisable

TRIG_BOUND_F32 = 2.0**16
TRIG_BOUND_F64 = 2.0**30

TWO_OVER_PI = 0.6366197723675814

# pi / 2 in three parts
HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
HALF_PI_F64 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)

# A fraction of a quadrant is an integer multiple of 2**-62.
QUADRANT = 1 << 62
SIGN_BIT = -(1 << 63)
RADIANS = 1.5707963267948966 * 2.0**-62
RADIANS_LOW = 6.123233995736766e-17 * 2.0**-62

# The bits of 2/pi in words of 64, after so many zeros that the four words from the first are those
# of the smallest argument: |x| >= 2**16 in float32, |x| >= 2**30 in float64.
# fmt: off
_TWO_OVER_PI_F32 = (
    0x00517CC1B727220A, 0x94FE13ABE8FA9A6E, 0xE06DB14ACC9E21C8, 0x20FF28B1D5EF5DE2, 0,
)
_TWO_OVER_PI_F64 = (
    0x000000A2F9836E4E, 0x441529FC2757D1F5, 0x34DDC0DB6295993C, 0x439041FE5163ABDE,
    0xBBC561B7246E3A42, 0x4DD2E006492EEA09, 0xD1921CFE1DEB1CB1, 0x29A73EE88235F52E,
    0xBB4484E99C7026B4, 0x5F7E413991D63983, 0x5339F49C845F8BBD, 0xF9283B1FF897FFDE,
    0x05980FEF2F118B5A, 0x0A6D1F6D367ECF27, 0xCB09B74F463F669E, 0x5FEA2D7527BAC7EB,
    0xE5F17B3D0739F78A, 0x5292EA6BFB5FB11F, 0x8D5D0856033046FC,
)
# fmt: on
TWO_OVER_PI_F32 = tuple(np.array(_TWO_OVER_PI_F32, np.uint64).view(np.int64).tolist())
TWO_OVER_PI_F64 = tuple(np.array(_TWO_OVER_PI_F64, np.uint64).view(np.int64).tolist())

LOW_HALF = 0xFFFFFFFF

# (sin y - y) / y**3 in y**2 on |y| <= 0.789, relative to sin y: 2**-27.8 and 2**-57.8
SIN_F32 = (-0.16666654, 0.008332106, -0.00019507881)
SIN_F64 = (
    -0.1666666666666663,
    0.008333333333321747,
    -0.00019841269829240746,
    2.7557313487687094e-06,
    -2.5050725277751297e-08,
    1.5894852570004078e-10,
)

# (cos y - 1 + y**2 / 2) / y**4 in y**2 on |y| <= 0.789, relative to cos y: 2**-32.9 and 2**-63.8
COS_F32 = (0.041666646, -0.0013887305, 2.4431425e-05)
COS_F64 = (
    0.04166666666666659,
    -0.0013888888888872186,
    2.4801587288295308e-05,
    -2.75573140150705e-07,
    2.0875678074036943e-09,
    -1.1357335987296526e-11,
)


@vectorisable
def reduce_bounded(a, shift, half_pi):
    """The quadrant (its low bits) and y, for 0 <= a below the bound."""
    shifted = fma(a, TWO_OVER_PI, shift)
    n = shifted - shift
    y = fma(n, -half_pi[2], fma(n, -half_pi[1], fma(n, -half_pi[0], a)))
    return bits(shifted), y


@vectorisable
def reduce_far_f32(a):
    """The quadrant (its low bits) and y as a float64, for finite a at or above the bound."""
    pattern = np.int64(bits(a))
    position = (pattern >> 23) - 143
    first, second, third, _ = window(TWO_OVER_PI_F32, position >> 6)
    shift = position & 63
    significand = (pattern & 0x7FFFFF) | 0x800000
    high = significand * funnel_shift(first, second, shift)
    low = significand * ((funnel_shift(second, third, shift) >> 32) & LOW_HALF)
    turns = high + (low >> 32)
    quadrant = (turns + QUADRANT // 2) >> 62
    return quadrant, np.float64(turns - (quadrant << 62)) * RADIANS


@vectorisable
def reduce_f32(a):
    """The quadrant (its low bits) and y, for any finite a >= 0."""
    near_quadrant, near = reduce_bounded(a, SHIFT_F32, HALF_PI_F32)
    far_quadrant, far = reduce_far_f32(a)
    is_near = a < TRIG_BOUND_F32
    return select(is_near, near_quadrant, far_quadrant), select(is_near, near, np.float32(far))


@vectorisable
def multiply_high(a, b):
    """The upper 64 bits of the product of a < 2**63 and b, both unsigned."""
    a_low, a_high = a & LOW_HALF, a >> 32
    b_low, b_high = b & LOW_HALF, (b >> 32) & LOW_HALF
    middle = a_high * b_low + (((a_low * b_low) >> 32) & LOW_HALF)
    carry = ((a_low * b_high + (middle & LOW_HALF)) >> 32) & LOW_HALF
    return a_high * b_high + (middle >> 32) + carry


@vectorisable
def reduce_f64(a):
    """The quadrant (its low bits) and y, for any a >= 0; meaningless for infinity."""
    near_quadrant, near = reduce_bounded(a, SHIFT_F64, HALF_PI_F64)
    is_near = a < TRIG_BOUND_F64
    pattern = bits(select(a < np.inf, a, 1.0))
    position = select(is_near, 0, (pattern >> 52) - 1053)
    w0, w1, w2, w3 = window(TWO_OVER_PI_F64, position >> 6)
    shift = position & 63
    window0 = funnel_shift(w0, w1, shift)
    window1 = funnel_shift(w1, w2, shift)
    window2 = funnel_shift(w2, w3, shift)
    significand = (pattern & 0xFFFFFFFFFFFFF) | 0x10000000000000
    low = significand * window1
    turns = significand * window0 + multiply_high(significand, window1) - (low >> 63)
    quadrant = (turns + QUADRANT // 2) >> 62
    fraction = turns - (quadrant << 62)
    lead = np.float64(fraction)
    rest = np.float64(low) + np.float64(multiply_high(significand, window2))
    rest = fma(rest, 2.0**-64, np.float64(fraction - np.int64(lead)))
    far = fma(lead, RADIANS, fma(lead, RADIANS_LOW, rest * RADIANS))
    return select(is_near, near_quadrant, quadrant), select(is_near, near, far)


@vectorisable
def _cos_series(square, coefficients):
    """Cos y on [-pi/4, pi/4]."""
    return fma(square * square, polynomial(square, coefficients), fma(square, -0.5, 1.0))


@vectorisable
def _wave_f32(x, quadrant, y):
    """sin(y + quadrant pi/2), negated where x has its sign bit; NaN where x is not finite."""
    square = y * y
    sine, cosine = odd_series(y, square, SIN_F32), _cos_series(square, COS_F32)
    wave = select((quadrant & 1) == 0, sine, cosine)
    wave = from_bits32(bits(wave) ^ ((quadrant & 2) << 30) ^ (bits(x) & 0x80000000))
    return select(fabs(x) < np.inf, wave, np.nan)


@vectorisable
def _wave_f64(x, quadrant, y):
    """sin(y + quadrant pi/2), negated where x has its sign bit; NaN where x is not finite."""
    square = y * y
    sine, cosine = odd_series(y, square, SIN_F64), _cos_series(square, COS_F64)
    wave = select((quadrant & 1) == 0, sine, cosine)
    wave = from_bits64(bits(wave) ^ ((quadrant & 2) << 62) ^ (bits(x) & SIGN_BIT))
    return select(fabs(x) < np.inf, wave, np.nan)


@vectorisable
def sin_f32(x):
    """The sine; 1.58 ULP."""
    quadrant, y = reduce_f32(fabs(x))
    return _wave_f32(x, quadrant, y)


@vectorisable
def cos_f32(x):
    """The cosine; 1.58 ULP."""
    quadrant, y = reduce_f32(fabs(x))
    return _wave_f32(fabs(x), quadrant + 1, y)


@vectorisable
def sin_f64(x):
    """The sine; 1.56 ULP."""
    quadrant, y = reduce_f64(fabs(x))
    return _wave_f64(x, quadrant, y)


@vectorisable
def cos_f64(x):
    """The cosine; 1.56 ULP."""
    quadrant, y = reduce_f64(fabs(x))
    return _wave_f64(fabs(x), quadrant + 1, y)


@vectorisable
def sin_bounded_f32(x):
    """The sine for |x| < 2**16; elsewhere the result means nothing."""
    quadrant, y = reduce_bounded(fabs(x), SHIFT_F32, HALF_PI_F32)
    return _wave_f32(x, quadrant, y)


@vectorisable
def sin_bounded_f64(x):
    """The sine for |x| < 2**30; elsewhere the result means nothing."""
    quadrant, y = reduce_bounded(fabs(x), SHIFT_F64, HALF_PI_F64)
    return _wave_f64(x, quadrant, y)


@vectorisable
def cos_bounded_f32(x):
    """The cosine for |x| < 2**16; elsewhere the result means nothing."""
    quadrant, y = reduce_bounded(fabs(x), SHIFT_F32, HALF_PI_F32)
    return _wave_f32(fabs(x), quadrant + 1, y)


@vectorisable
def cos_bounded_f64(x):
    """The cosine for |x| < 2**30; elsewhere the result means nothing."""
    quadrant, y = reduce_bounded(fabs(x), SHIFT_F64, HALF_PI_F64)
    return _wave_f64(fabs(x), quadrant + 1, y)


@vectorisable
def _tangent(x, quadrant, y, sin_coefficients, cos_coefficients):
    """tan(y + quadrant pi/2), negated where x has its sign bit; NaN where x is not finite."""
    square = y * y
    sine, cosine = odd_series(y, square, sin_coefficients), _cos_series(square, cos_coefficients)
    even = (quadrant & 1) == 0
    ratio = select(even, sine, -cosine) / select(even, cosine, sine)
    ratio = from_bits64(bits(ratio) ^ (bits(x) & SIGN_BIT))
    return select(fabs(x) < np.inf, ratio, np.nan)


@vectorisable
def tan_f32(x):
    """The tangent, in float64; 0.57 ULP."""
    a = np.float64(fabs(x))
    near_quadrant, near = reduce_bounded(a, SHIFT_F64, HALF_PI_F64)
    far_quadrant, far = reduce_far_f32(fabs(x))
    is_near = a < TRIG_BOUND_F32
    quadrant, y = select(is_near, near_quadrant, far_quadrant), select(is_near, near, far)
    return np.float32(_tangent(np.float64(x), quadrant, y, SIN_F32, COS_F32))


@vectorisable
def tan_f64(x):
    """The tangent; 3.45 ULP."""
    quadrant, y = reduce_f64(fabs(x))
    return _tangent(x, quadrant, y, SIN_F64, COS_F64)
