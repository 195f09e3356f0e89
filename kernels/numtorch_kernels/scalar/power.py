"""pow and the reciprocal square root."""

from __future__ import annotations

import math

import numpy as np

from ..bits import bits, copysign, fabs, fma, from_bits64, polynomial, rint, select, sqrt
from .exponential import EXP_F32, EXP_F64, LN2_F64, SHIFT_F64, clamp, reduce_by_ln2, scale_f64
from .logarithm import joined_short, split_f32, split_f64
from .vectorise import HALF, ONE, ONE_BITS_F64, vectorisable

TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)

# (2 atanh(s) - 2 s - 2/3 s**3) / s**5 in s**2 on |s| <= 0.1716, relative to 2 atanh(s): 2**-66.2
POW_LOG = (
    0.4000000000000226,
    0.2857142857009614,
    0.2222222252065233,
    0.18181784294682127,
    0.15386761015483802,
    0.13256724725275054,
    0.13197252984391544,
)


@vectorisable
def rsqrt_f32(x):
    """1 / sqrt(x); 1.50 ULP."""
    return ONE / sqrt(x)


@vectorisable
def rsqrt_f64(x):
    """1 / sqrt(x); 1.50 ULP."""
    return 1.0 / sqrt(x)


@vectorisable
def _log_limits(a, y):
    """Y for positive finite a; the logarithm of 0, infinity and NaN."""
    return select(a == 0.0, -np.inf, select(a < np.inf, y, a))


@vectorisable
def _is_one(x, y):
    """Where |x|**y is 1 whatever the other argument: |x| = 1 or y = 0."""
    return select(fabs(x) == ONE, True, y == 0.0)


@vectorisable
def _signed_power(x, y, magnitude):
    """x**y, given |x|**y: its sign for negative x, NaN where it is not real."""
    whole = rint(y) == y
    odd = select(whole, rint(HALF * y) != HALF * y, False)
    power = copysign(magnitude, select(odd, x, 1.0))
    real = select(whole, True, select(x < 0.0, x == -np.inf, True))
    power = select(real, power, np.nan)
    return select(math.isnan(y), select(x == 1.0, 1.0, y), power)


@vectorisable
def pow_f32(x, y):
    """x**y with C99's special cases, as exp(y log |x|) in float64; 0.55 ULP.

    What needs no more digits is done in float32, of which a vector has twice as many.
    """
    a = fabs(x)
    k, f = split_f32(a)
    k = _log_limits(a, k)
    product = np.float64(y) * joined_short(np.float64(k), np.float64(f))
    product = clamp(product, -200.0, 200.0)
    shifted, r = reduce_by_ln2(product, SHIFT_F64, LN2_F64)
    p = fma(r * r, polynomial(r, EXP_F32), r) + 1.0
    power = np.float32(p * from_bits64((bits(shifted) << 52) + ONE_BITS_F64))
    return _signed_power(x, y, select(_is_one(x, y), ONE, power))


@vectorisable
def log_extended(x):
    """The logarithm of positive finite x as an unevaluated sum, to 2**-65.

    k ln 2 + 2 atanh(s) with s = f / (2 + f), of whose series the first two terms are computed in
    twice the precision (Dekker, "A floating-point technique for extending the available precision",
    1971).
    """
    k, f = split_f64(x)
    divisor = 2.0 + f
    inverse = 1.0 / divisor
    s = f * inverse
    s_low = fma(-s, (2.0 - divisor) + f, fma(-s, divisor, f)) * inverse
    square = s * s
    square_low = fma(s, s, -square) + 2.0 * s * s_low
    rest = square * polynomial(square, POW_LOG)
    factor = TWO_THIRDS[0] + rest
    factor_low = (TWO_THIRDS[0] - factor) + rest + TWO_THIRDS[1]
    cube = square * s
    cube_low = fma(square, s, -cube) + square * s_low + square_low * s
    term = cube * factor
    term_low = fma(cube, factor, -term) + cube * factor_low + cube_low * factor
    start = k * LN2_F64[0]
    partial = start + 2.0 * s
    partial_low = (start - partial) + 2.0 * s
    total = partial + term
    total_low = (partial - total) + term
    return total, total_low + partial_low + (term_low + fma(k, LN2_F64[1], 2.0 * s_low))


@vectorisable
def pow_f64(x, y):
    """x**y with C99's special cases, as exp(y log |x|) with log in two parts; 1.17 ULP."""
    a = fabs(x)
    log, log_low = log_extended(a)
    log = _log_limits(a, log)
    product = select(_is_one(x, y), 0.0, y * log)
    product_low = select(fabs(product) < 800.0, fma(y, log, -product) + y * log_low, 0.0)
    product_low = select(_is_one(x, y), 0.0, product_low)
    shifted, r = reduce_by_ln2(clamp(product, -746.0, 712.0), SHIFT_F64, LN2_F64)
    r = r + product_low
    p = fma(r * r, polynomial(r, EXP_F64), r) + 1.0
    return _signed_power(x, y, scale_f64(p, shifted))
