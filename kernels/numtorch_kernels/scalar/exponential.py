"""exp and what follows from it: exp2, expm1, sigmoid, sinh, cosh, tanh.

x is split as n ln 2 + r with |r| <= ln(2) / 2 (Cody and Waite, "Software Manual for the Elementary
Functions", 1980), e**r is a minimax polynomial, and the exponent n is put in place by bit patterns.

n comes from adding 1.5 * 2**23 (float32) or 1.5 * 2**52 (float64): the sum is rounded to an integer
which then stands in the lowest bits of the sum. The sum is called `shifted`.
"""

from __future__ import annotations

import numpy as np

from ..bits import bits, copysign, fabs, fma, from_bits32, from_bits64, polynomial, select
from .vectorise import HALF, ONE, ONE_BITS_F32, ONE_BITS_F64, QUARTER, TWO, odd_series, vectorisable

SHIFT_F32 = np.float32(1.5 * 2.0**23)
SHIFT_F64 = np.float64(1.5 * 2.0**52)

LOG2_E = 1.4426950408889634

# Limits that both widths are compared with, as float32: to compare a float32 with a float64 is to
# convert it first.
TANH_LIMIT = np.float32(0.55)
TINY = np.float32(1e-30)

# ln 2 in two parts: the first has so few bits that n times it is exact.
LN2_F32 = (np.float32(0.693359375), np.float32(-2.1219444e-4))
LN2_F64 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

# (e**r - 1 - r) / r**2 on |r| <= ln(2)/2, relative to e**r: 2**-28.2 and 2**-57.9
EXP_F32 = (0.49999994, 0.16666517, 0.041668106, 0.008369137, 0.0013836626)
EXP_F64 = (
    0.5000000000000011,
    0.1666666666666643,
    0.041666666666525666,
    0.008333333333479758,
    0.0013888888944920115,
    0.0001984126954619457,
    2.4801491663509868e-05,
    2.755754413702263e-06,
    2.763079182153603e-07,
    2.5015567957815322e-08,
)

# (2**r - 1) / r on |r| <= 1/2, relative to 2**r: 2**-28.0 and 2**-59.4
EXP2_F32 = (
    0.6931472,
    0.24022651,
    0.055503998,
    0.009618098,
    0.0013346616,
    0.00015446886,
    1.1334946e-05,
)
EXP2_F64 = (
    0.6931471805599453,
    0.2402265069591007,
    0.05550410866482338,
    0.009618129107630227,
    0.0013333558146032488,
    0.0001540353038889763,
    1.5252734167959715e-05,
    1.3215491319014612e-06,
    1.0177931837368827e-07,
    7.052955802539798e-09,
    4.4733806980207844e-10,
    2.8717342267842368e-11,
)

# (e**r - 1 - r) / r**2 on |r| <= ln(2)/2, relative to e**r - 1: 2**-31.0 and 2**-56.8
EXPM1_F32 = (0.5, 0.16666666, 0.041666467, 0.008333644, 0.001393506, 0.00019663556)
EXPM1_F64 = (
    0.5000000000000001,
    0.1666666666666667,
    0.04166666666664852,
    0.008333333333328247,
    0.0013888888897388338,
    0.00019841269866927274,
    2.4801571037175565e-05,
    2.755726414986173e-06,
    2.7570894747818294e-07,
    2.510233453999608e-08,
    1.6785557752684457e-09,
)

# (sinh x - x) / x**3 in x**2 on |x| <= 1, relative to sinh x: 2**-30.9 and 2**-60.2
SINH_F32 = (0.16666667, 0.008333311, 0.00019842839, 2.782568e-06)
SINH_F64 = (
    0.16666666666666669,
    0.008333333333332912,
    0.00019841269841594267,
    2.7557319106328904e-06,
    2.5052131092720048e-08,
    1.6056649781797767e-10,
    7.776947960959742e-13,
)

# (tanh x - x) / x**3 in x**2 on |x| <= 0.55, relative to tanh x: 2**-29.3 and 2**-59.3
TANH_F32 = (-0.33333316, 0.13332544, -0.053847656, 0.02105129, -0.006243811)
TANH_F64 = (
    -0.333333333333333,
    0.1333333333332658,
    -0.05396825396373571,
    0.021869488385120865,
    -0.008863232589050052,
    0.0035920919018160333,
    -0.0014555419955138062,
    0.0005884408976627671,
    -0.00023337220486785513,
    8.330270228903674e-05,
    -1.9485999420623846e-05,
)


@vectorisable
def clamp(x, low, high):
    """X held within [low, high]; NaN passes."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


@vectorisable
def reduce_by_ln2(x, shift, ln2):
    """N + shift and r, where x = n ln 2 + r and |r| <= ln(2) / 2."""
    shifted = fma(x, LOG2_E, shift)
    n = shifted - shift
    return shifted, fma(n, -ln2[1], fma(n, -ln2[0], x))


@vectorisable
def scale_f32(p, shifted):
    """P * 2**n for |n| < 252, in two factors, so that subnormals and infinity come right."""
    n = bits(shifted)
    half = np.int32((n << 22) & -0x800000)  # cut at once: AVX2 has half as many lanes of 64 bits
    return p * from_bits32(half + ONE_BITS_F32) * from_bits32((n << 23) - half + ONE_BITS_F32)


@vectorisable
def scale_f64(p, shifted):
    """P * 2**n for |n| < 2044, in two factors, so that subnormals and infinity come right."""
    n = bits(shifted)
    half = (n << 51) & -0x10000000000000
    return p * from_bits64(half + ONE_BITS_F64) * from_bits64((n << 52) - half + ONE_BITS_F64)


@vectorisable
def _exp_parts_f32(x):
    """e**r and n + shift, where e**x = e**r * 2**n, for x clamped to where the result is finite."""
    shifted, r = reduce_by_ln2(clamp(x, -104.0, 90.0), SHIFT_F32, LN2_F32)
    return fma(r * r, polynomial(r, EXP_F32), r) + ONE, shifted


@vectorisable
def _exp_parts_f64(x):
    """e**r and n + shift, where e**x = e**r * 2**n, for x clamped to where the result is finite."""
    shifted, r = reduce_by_ln2(clamp(x, -746.0, 712.0), SHIFT_F64, LN2_F64)
    return fma(r * r, polynomial(r, EXP_F64), r) + ONE, shifted


@vectorisable
def exp_f32(x):
    """e**x; 1.02 ULP."""
    p, shifted = _exp_parts_f32(x)
    return scale_f32(p, shifted)


@vectorisable
def exp_f64(x):
    """e**x; 0.98 ULP."""
    p, shifted = _exp_parts_f64(x)
    return scale_f64(p, shifted)


@vectorisable
def exp_normal_f32(x):
    """e**x where it is a normal number: the exponent is added to the bits. NaN gives anything."""
    p, shifted = _exp_parts_f32(x)
    return from_bits32(bits(p) + (bits(shifted) << 23))


@vectorisable
def exp_normal_f64(x):
    """e**x where it is a normal number: the exponent is added to the bits. NaN gives anything."""
    p, shifted = _exp_parts_f64(x)
    return from_bits64(bits(p) + (bits(shifted) << 52))


@vectorisable
def _half_exp_f32(x):
    """e**x / 2, which overflows later than e**x."""
    p, shifted = _exp_parts_f32(x)
    return scale_f32(p, shifted - ONE)


@vectorisable
def _half_exp_f64(x):
    """e**x / 2, which overflows later than e**x."""
    p, shifted = _exp_parts_f64(x)
    return scale_f64(p, shifted - ONE)


@vectorisable
def exp2_f32(x):
    """2**x; 0.88 ULP."""
    x = clamp(x, -151.0, 129.0)
    shifted = x + SHIFT_F32
    r = x - (shifted - SHIFT_F32)
    return scale_f32(fma(r, polynomial(r, EXP2_F32), 1.0), shifted)


@vectorisable
def exp2_f64(x):
    """2**x; 0.83 ULP."""
    x = clamp(x, -1076.0, 1025.0)
    shifted = x + SHIFT_F64
    r = x - (shifted - SHIFT_F64)
    return scale_f64(fma(r, polynomial(r, EXP2_F64), 1.0), shifted)


@vectorisable
def _expm1(x, r, half, coefficients):
    """e**x - 1 = 2 (half (e**r - 1) + half - 1/2), where half = 2**(n - 1) cannot overflow."""
    q = fma(r * r, polynomial(r, coefficients), r)
    y = fma(half, q, half - HALF)
    return select(fabs(x) < TINY, x, y + y)


@vectorisable
def expm1_f32(x):
    """e**x - 1; 1.44 ULP."""
    shifted, r = reduce_by_ln2(clamp(x, -20.0, 89.0), SHIFT_F32, LN2_F32)
    half = from_bits32((bits(shifted - ONE) << 23) + ONE_BITS_F32)
    return _expm1(x, r, half, EXPM1_F32)


@vectorisable
def expm1_f64(x):
    """e**x - 1; 1.83 ULP."""
    shifted, r = reduce_by_ln2(clamp(x, -40.0, 710.0), SHIFT_F64, LN2_F64)
    half = from_bits64((bits(shifted - ONE) << 52) + ONE_BITS_F64)
    return _expm1(x, r, half, EXPM1_F64)


@vectorisable
def _sigmoid(x, e):
    """1 / (1 + e**-x), given e**-|x| so that neither tail loses digits.

    The rounding error of 1 + e is taken back; a line through 1/2 .. 1 is enough of 1 / (1 + e).
    """
    total = ONE + e
    lost = e - (total - ONE)
    y = select(x < 0.0, e, 1.0) / total
    return fma(-y * lost, fma(total, -0.5, 1.5), y)


@vectorisable
def sigmoid_f32(x):
    """The logistic function 1 / (1 + e**-x); 1.98 ULP."""
    return _sigmoid(x, exp_f32(-fabs(x)))


@vectorisable
def sigmoid_f64(x):
    """The logistic function 1 / (1 + e**-x); 1.93 ULP."""
    return _sigmoid(x, exp_f64(-fabs(x)))


@vectorisable
def _sinh(x, half_exp, coefficients):
    """Sinh x, given e**|x| / 2."""
    large = copysign(half_exp - QUARTER / half_exp, x)
    return select(fabs(x) < 1.0, odd_series(x, x * x, coefficients), large)


@vectorisable
def sinh_f32(x):
    """The hyperbolic sine; 1.62 ULP."""
    return _sinh(x, _half_exp_f32(fabs(x)), SINH_F32)


@vectorisable
def sinh_f64(x):
    """The hyperbolic sine; 1.62 ULP."""
    return _sinh(x, _half_exp_f64(fabs(x)), SINH_F64)


@vectorisable
def cosh_f32(x):
    """The hyperbolic cosine; 1.47 ULP."""
    half_exp = _half_exp_f32(fabs(x))
    return half_exp + QUARTER / half_exp


@vectorisable
def cosh_f64(x):
    """The hyperbolic cosine; 1.45 ULP."""
    half_exp = _half_exp_f64(fabs(x))
    return half_exp + QUARTER / half_exp


@vectorisable
def _tanh(x, exp_2x, coefficients):
    """Tanh x, given e**(2 |x|): 1 - 2 / (e**(2 |x|) + 1), or an odd series near 0 and for NaN."""
    a = fabs(x)
    near = odd_series(a, a * a, coefficients)
    return copysign(select(a > TANH_LIMIT, ONE - TWO / (exp_2x + ONE), near), x)


@vectorisable
def tanh_f32(x):
    """The hyperbolic tangent; 1.47 ULP."""
    return _tanh(x, exp_normal_f32(clamp(fabs(x + x), 0.0, 20.0)), TANH_F32)


@vectorisable
def tanh_f64(x):
    """The hyperbolic tangent; 1.45 ULP."""
    return _tanh(x, exp_normal_f64(clamp(fabs(x + x), 0.0, 40.0)), TANH_F64)
