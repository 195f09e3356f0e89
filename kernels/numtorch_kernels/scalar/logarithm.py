"""log and what follows from it: log2, log10, log1p, asinh, acosh, atanh.

x is split as m * 2**k with m in [sqrt(1/2), sqrt(2)). log m is f + t, where f = m - 1 is exact and
t is small; k ln 2 is added in two parts (Cody and Waite; float64 follows the scheme of fdlibm).
"""

from __future__ import annotations

import numpy as np

from ..bits import bits, copysign, fabs, fma, from_bits32, from_bits64, polynomial, select, sqrt
from .exponential import LN2_F32, LN2_F64
from .vectorise import ONE, ONE_BITS_F32, ONE_BITS_F64, vectorisable

LN2 = 0.6931471805599453
SQRT_HALF_BITS_F32 = 0x3F3504F3
SQRT_HALF_BITS_F64 = 0x3FE6A09E667F3BCD
EXPONENT_F64 = 0x7FF0000000000000
TWO_52_BITS = 0x4330000000000000  # of 2**52, whose lowest bits count ones

# log10(2), log2(2), log2(e), log10(e), each in two parts. The first part of the constants that k
# multiplies has so few bits that the product is exact.
LOG10_2_F32 = (np.float32(0.3010254), np.float32(4.605039e-06))
LOG10_2_F64 = (3.01029995663611771306e-01, 3.69423907715893078616e-13)
LOG2_2_F32 = (np.float32(1.0), np.float32(0.0))
LOG2_2_F64 = (1.0, 0.0)
LOG2_E_F32 = (np.float32(1.442695), np.float32(1.925963e-08))
LOG2_E_F64 = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E_F32 = (np.float32(0.4342945), np.float32(-1.010305e-08))
LOG10_E_F64 = (0.4342944819032518, 1.098319650216765e-17)

# (log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1, relative to log(1 + f):
# 2**-27.7
LOG_F32 = (
    0.33333313,
    -0.25000012,
    0.20002022,
    -0.16667946,
    0.14222595,
    -0.12404937,
    0.11853353,
    -0.116859615,
    0.06877016,
)

# (2 atanh(s) - 2 s) / s**3 in s**2 on |s| <= 0.1716, relative to 2 atanh(s): 2**-59.5, and for
# results that are rounded to float32 2**-44.9
ATANH_F64 = (
    0.6666666666666735,
    0.3999999999940918,
    0.2857142874376638,
    0.2222219841649669,
    0.1818357322116332,
    0.1531380459257783,
    0.14798587147931877,
)
ATANH_SHORT = (
    0.6666666667581616,
    0.3999999561491528,
    0.28572110076677865,
    0.22176142932019907,
    0.19584911417619813,
)


@vectorisable
def split_f32(x):
    """K and f, where x = (1 + f) * 2**k with 1 + f in [sqrt(1/2), sqrt(2)); x positive."""
    subnormal = x < 2.0**-126
    x = select(subnormal, x * np.float32(2.0**24), x)
    k = np.int32(bits(x) - SQRT_HALF_BITS_F32) >> 23  # cut before it is made a float
    f = from_bits32(bits(x) - (k << 23)) - ONE
    return np.float32(k) - select(subnormal, np.float32(24.0), np.float32(0.0)), f


@vectorisable
def exponent_f64(x):
    """k as a float64, and what it is in a bit pattern, where x is in [sqrt(1/2), sqrt(2)) 2**k.

    AVX2 can neither shift 64-bit integers to the right with their sign nor convert them.
    """
    biased = bits(x) - (SQRT_HALF_BITS_F64 - ONE_BITS_F64)
    k = from_bits64(((biased >> 52) & 0x7FF) | TWO_52_BITS) - (2.0**52 + 1023.0)
    return k, (biased & EXPONENT_F64) - ONE_BITS_F64


@vectorisable
def split_f64(x):
    """K and f, where x = (1 + f) * 2**k with 1 + f in [sqrt(1/2), sqrt(2)); x positive."""
    subnormal = x < 2.0**-1022
    x = select(subnormal, x * 2.0**54, x)
    k, power = exponent_f64(x)
    f = from_bits64(bits(x) - power) - 1.0
    return k - select(subnormal, 54.0, 0.0), f


@vectorisable
def tail_f32(f):
    """log(1 + f) - f."""
    return f * f * fma(f, polynomial(f, LOG_F32), -0.5)


@vectorisable
def tail_f64(f):
    """log(1 + f) - f, from s = f / (2 + f) where log(1 + f) = 2 atanh(s)."""
    s = f / (2.0 + f)
    square = s * s
    half_square = 0.5 * f * f
    return fma(s, fma(square, polynomial(square, ATANH_F64), half_square), -half_square)


@vectorisable
def _log_domain(x, y):
    """Y for positive finite x; infinity, NaN and 0 and below have their own logarithms."""
    y = select(x < np.inf, y, x)
    return select(x > 0.0, y, select(x == 0.0, -np.inf, np.nan))


@vectorisable
def _assemble(k, f, tail, ln2):
    """K ln 2 + f + tail, smallest terms first."""
    return fma(k, ln2[0], f + fma(k, ln2[1], tail))


@vectorisable
def _assemble_base(k, f, tail, log_2, log_e):
    """K log_2 + (f + tail) log_e, where the rounding error of f + tail is kept."""
    total = f + tail
    lost = (f - total) + tail
    low = fma(total, log_e[1], fma(k, log_2[1], lost * log_e[0]))
    return fma(k, log_2[0], fma(total, log_e[0], low))


@vectorisable
def log_f32(x):
    """The natural logarithm; 0.94 ULP."""
    k, f = split_f32(x)
    return _log_domain(x, _assemble(k, f, tail_f32(f), LN2_F32))


@vectorisable
def log_f64(x):
    """The natural logarithm; 0.83 ULP."""
    k, f = split_f64(x)
    return _log_domain(x, _assemble(k, f, tail_f64(f), LN2_F64))


@vectorisable
def log2_f32(x):
    """The logarithm to base 2; 0.99 ULP."""
    k, f = split_f32(x)
    return _log_domain(x, _assemble_base(k, f, tail_f32(f), LOG2_2_F32, LOG2_E_F32))


@vectorisable
def log2_f64(x):
    """The logarithm to base 2; 0.90 ULP."""
    k, f = split_f64(x)
    return _log_domain(x, _assemble_base(k, f, tail_f64(f), LOG2_2_F64, LOG2_E_F64))


@vectorisable
def log10_f32(x):
    """The logarithm to base 10; 0.89 ULP."""
    k, f = split_f32(x)
    return _log_domain(x, _assemble_base(k, f, tail_f32(f), LOG10_2_F32, LOG10_E_F32))


@vectorisable
def log10_f64(x):
    """The logarithm to base 10; 0.86 ULP."""
    k, f = split_f64(x)
    return _log_domain(x, _assemble_base(k, f, tail_f64(f), LOG10_2_F64, LOG10_E_F64))


@vectorisable
def _log1p_domain(x, y):
    """Y for finite x above -1; copysign makes log1p(-0) = -0."""
    y = select(x < np.inf, y, x)
    return copysign(select(x > -1.0, y, select(x == -1.0, -np.inf, np.nan)), x)


@vectorisable
def log1p_f32(x):
    """log(1 + x): with k from 1 + x, f = x 2**-k + (2**-k - 1) is rounded only once; 1.49 ULP."""
    u = ONE + x
    k = np.int32(bits(u) - SQRT_HALF_BITS_F32) >> 23
    scale = from_bits32(ONE_BITS_F32 - (k << 23))
    f = select(x < 2.0**26, fma(scale, x, scale - ONE), from_bits32(bits(u) - (k << 23)) - ONE)
    return _log1p_domain(x, _assemble(np.float32(k), f, tail_f32(f), LN2_F32))


@vectorisable
def log1p_f64(x):
    """log(1 + x): with k from 1 + x, f = x 2**-k + (2**-k - 1) is rounded only once; 1.33 ULP."""
    u = 1.0 + x
    k, power = exponent_f64(u)
    scale = from_bits64(ONE_BITS_F64 - power)
    f = select(x < 2.0**55, fma(scale, x, scale - 1.0), from_bits64(bits(u) - power) - 1.0)
    return _log1p_domain(x, _assemble(k, f, tail_f64(f), LN2_F64))


@vectorisable
def joined_short(k, f):
    """log((1 + f) * 2**k) of float64 parts to 2**-40, for float32 results."""
    s = f / (2.0 + f)
    square = s * s
    return fma(k, LN2, fma(s * square, polynomial(square, ATANH_SHORT), s + s))


@vectorisable
def log_short(x):
    """The natural logarithm of a positive finite float64 to 2**-40, for float32 results."""
    k, f = split_f64(x)
    return joined_short(k, f)


@vectorisable
def asinh_f32(x):
    """The inverse hyperbolic sine, in float64: log(|x| + sqrt(x**2 + 1)) or a series; 0.51 ULP."""
    a = np.float64(fabs(x))
    y = select(a < 1e-3, fma(a * a * a, -1.0 / 6.0, a), log_short(a + sqrt(fma(a, a, 1.0))))
    return copysign(np.float32(select(a < np.inf, y, a)), x)


@vectorisable
def acosh_f32(x):
    """The inverse hyperbolic cosine, in float64: log(x + sqrt(x**2 - 1)); 0.51 ULP."""
    a = np.float64(x)
    y = select(a < np.inf, log_short(a + sqrt(fma(a, a, -1.0))), a)
    return np.float32(select(a < 1.0, np.nan, y))


@vectorisable
def atanh_f32(x):
    """The inverse hyperbolic tangent, in float64: a logarithm, or near 0 a series; 0.51 ULP."""
    a = np.float64(fabs(x))
    y = select(a < 1e-3, fma(a * a * a, 1.0 / 3.0, a), 0.5 * log_short((1.0 + a) / (1.0 - a)))
    return copysign(np.float32(select(a < 1.0, y, select(a == 1.0, np.inf, np.nan))), x)


@vectorisable
def _log1p_huge(x, z):
    """log1p(z), or log(2 x) where x is so large that its square may overflow."""
    huge = x > 2.0**60
    return log1p_f64(select(huge, x, z)) + select(huge, LN2, 0.0)


@vectorisable
def asinh_f64(x):
    """The inverse hyperbolic sine: log1p(|x| + x**2 / (1 + sqrt(x**2 + 1))); 1.68 ULP."""
    a = fabs(x)
    square = a * a
    return copysign(_log1p_huge(a, a + square / (1.0 + sqrt(square + 1.0))), x)


@vectorisable
def acosh_f64(x):
    """The inverse hyperbolic cosine: log1p(t + sqrt(t**2 + 2 t)) with t = x - 1; 2.11 ULP."""
    t = x - 1.0
    return select(x < 1.0, np.nan, _log1p_huge(x, t + sqrt(fma(t, t, t + t))))


@vectorisable
def atanh_f64(x):
    """The inverse hyperbolic tangent: log1p(2 |x| / (1 - |x|)) / 2; 1.92 ULP."""
    a = fabs(x)
    return copysign(0.5 * log1p_f64((a + a) / (1.0 - a)), x)
