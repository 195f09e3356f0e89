"""Normal numbers from pairs of uniform ones (Box and Muller, 1958), to the bit as PyTorch has them.

A float32 block takes its logarithm, sine and cosine from the polynomials of Moshier's Cephes
library (``logf``, ``sinf``, ``cosf``) rather than from :mod:`.scalar`: they round differently in
the last place, and the same seed is to give the same bits. Where ``fma`` stands is part of that.
"""

from __future__ import annotations

import math

import numpy as np

from .bits import bits, fma, from_bits32, polynomial, select, sqrt
from .intrinsics import helper, load, offset, store

PAIRS = 8  # of a block: eight radii come first, the eight angles after them
BLOCK = 2 * PAIRS

TWO_PI = 2 * math.pi
TWO_PI_F32 = np.float32(TWO_PI)
ONE = np.float32(1.0)
HALF = np.float32(0.5)
FOUR_OVER_PI = np.float32(4 / math.pi)
SQRT_HALF = np.float32(math.sqrt(0.5))

UNIT_F32 = np.float32(2.0**-24)
UNIT_F64 = 2.0**-53

LN2_HIGH, LN2_LOW = 0.693359375, np.float32(-2.12194440e-4)
# log(1 + x) = x - x**2 / 2 + x**3 * polynomial(x)
LOG = (
    3.3333331174e-1,
    -2.4999993993e-1,
    2.0000714765e-1,
    -1.6668057665e-1,
    1.4249322787e-1,
    -1.2420140846e-1,
    1.1676998740e-1,
    -1.1514610310e-1,
    7.0376836292e-2,
)
# pi / 4 in three parts, each with so few bits that small multiples are exact
QUARTER_PI = (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)
SINE = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
COSINE = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)


@helper
def unit_f32(word):
    """A number in [0, 1) from the low 24 bits of an int32."""
    return np.float32(word & 0xFFFFFF) * UNIT_F32


@helper
def unit_f64(word):
    """A number in [0, 1) from two words side by side, the first of which is the high one."""
    return np.float64(((word & 0x1FFFFF) << 32) | ((word >> 32) & 0xFFFFFFFF)) * UNIT_F64


@helper
def log_f32(x):
    """The logarithm of a number in (0, 1]."""
    pattern = bits(x)
    exponent = (pattern >> 23) - 126
    fraction = from_bits32((pattern & 0x7FFFFF) | 0x3F000000)
    small = fraction < SQRT_HALF
    n = np.float32(select(small, exponent - 1, exponent))
    r = select(small, (fraction - ONE) + fraction, fraction - ONE)
    square = r * r
    tail = fma(polynomial(r, LOG) * r, square, n * LN2_LOW)
    return fma(n, LN2_HIGH, r + fma(-square, HALF, tail))


@helper
def sincos_f32(theta):
    """The sine and cosine of an angle in [0, 2 pi)."""
    octant = (np.int32(theta * FOUR_OVER_PI) + np.int32(1)) & np.int32(-2)
    turns = -np.float32(octant)
    r = fma(turns, QUARTER_PI[0], theta)
    r = fma(turns, QUARTER_PI[1], r)
    r = fma(turns, QUARTER_PI[2], r)
    square = r * r
    cosine = fma(polynomial(square, COSINE) * square, square, -(square * HALF)) + ONE
    sine = fma(polynomial(square, SINE) * square, r, r)
    swapped = (octant & 2) != 0
    s, c = select(swapped, cosine, sine), select(swapped, sine, cosine)
    return (
        from_bits32(bits(s) ^ ((octant & 4) << 29)),
        from_bits32(bits(c) ^ (((octant + 2) & 4) << 29)),
    )


def block_f32(count, size, k, word, word_outer, word_step, p, p_outer, p_step,
              out, out_outer, out_step):  # fmt: skip
    """Blocks of 16 words become 16 float32 of mean p[0] and standard deviation p[1]."""
    mean, std = p[0], p[1]
    for block in range(count):
        source, target = offset(word, block * word_outer), offset(out, block * out_outer)
        for i in range(PAIRS):
            radius = sqrt(np.float32(-2.0) * log_f32(ONE - unit_f32(load(source, i))))
            sine, cosine = sincos_f32(TWO_PI_F32 * unit_f32(load(source, i + PAIRS)))
            store(target, i, fma(radius * cosine, std, mean))
            store(target, i + PAIRS, fma(radius * sine, std, mean))


def block_f64(count, size, k, word, word_outer, word_step, p, p_outer, p_step,
              out, out_outer, out_step):  # fmt: skip
    """Blocks of 16 pairs of words become 16 float64 of mean p[0] and standard deviation p[1]."""
    mean, std = p[0], p[1]
    for block in range(count):
        source, target = offset(word, block * word_outer), offset(out, block * out_outer)
        for i in range(PAIRS):
            radius = sqrt(-2.0 * math.log(1.0 - unit_f64(source[i])))
            theta = TWO_PI * unit_f64(source[i + PAIRS])
            target[i] = fma(radius * math.cos(theta), std, mean)
            target[i + PAIRS] = fma(radius * math.sin(theta), std, mean)


def pairs(count, size, word, word_outer, word_step, out, out_outer, out_step):
    """Two pairs of words become two standard normal float64."""
    for pair in range(count):
        source, target = offset(word, pair * word_outer), offset(out, pair * out_outer)
        radius = sqrt(-2.0 * math.log1p(-unit_f64(source[1])))
        theta = TWO_PI * unit_f64(source[0])
        target[0] = radius * math.cos(theta)
        target[1] = radius * math.sin(theta)
