"""Random numbers: PyTorch's CPU streams, distribution by distribution, under the same seed.

Every function advances the generator it is given, fills ``out`` and returns it. Elements are drawn
in the order in which ``out`` lies in memory, which for a transposed array is not that of its
indices. A word is 32 bits of the stream; each function says how many an element takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np

from . import boxmuller, memory
from .bits import floor, fma
from .boxmuller import unit_f32, unit_f64
from .build import Loop, gufunc
from .deferral import settled
from .drive import drive
from .intrinsics import cast, helper
from .layout import aligned
from .mersenne import MersenneTwister
from .sort import topk

__all__ = [
    "MersenneTwister",
    "any_integers",
    "bernoulli",
    "cauchy",
    "exponential",
    "geometric",
    "integers",
    "log_normal",
    "multinomial",
    "normal",
    "permutation",
    "representable",
    "uniform",
]

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_FLOAT64 = np.dtype(np.float64)

WIDE_RANGE = 1 << 28  # from here on, a word modulo the range prefers small numbers noticeably
WIDE_PERMUTATION = 0xFFFFFFFF // 20  # likewise
_LOWEST = -(1 << 63)


def unit(word):
    """Stands for ``unit_f32`` or ``unit_f64``, which each build binds."""
    raise NotImplementedError


def formula(value, p):
    """Stands for what makes a number of a distribution with parameters p[0], p[1]."""
    raise NotImplementedError


def spread(count, k, word, word_step, p, p_outer, p_step, out, out_step):
    """Words become numbers uniform in [p[0], p[1])."""
    low, width = p[0], p[1] - p[0]
    for i in range(count):
        out[i * out_step] = fma(unit(word[i * word_step]), width, low)


def invert(count, k, word, word_step, p, p_outer, p_step, out, out_step):
    """Pairs of words become ``formula(uniform, p)``, computed in float64."""
    for i in range(count):
        out[i * out_step] = cast(out, formula(unit_f64(word[i * word_step]), p))


def adapt(count, k, value, value_step, p, p_outer, p_step, out, out_step):
    """Numbers become ``formula(number, p)``, computed in float64."""
    for i in range(count):
        out[i * out_step] = cast(out, formula(value[i * value_step], p))


def succeed(count, word, word_step, p, p_step, out, out_step):
    """Words become 1 with probability p, else 0."""
    for i in range(count):
        out[i * out_step] = cast(out, unit(word[i * word_step]) < p[i * p_step])


@helper
def joined(pair):
    """The 64-bit integer of two words side by side, the first of which is the high one."""
    return np.uint64((pair << 32) | ((pair >> 32) & 0xFFFFFFFF))


def wrap(count, k, word, word_step, p, p_outer, p_step, out, out_step):
    """Words become integers in [p[0], p[0] + p[1]), for p[1] of at most 2**32.

    The quotient is taken in float64, which vectorises: of 32-bit integers its floor is exact.
    """
    base, size = p[0], np.float64(p[1])
    for i in range(count):
        dividend = np.float64(word[i * word_step] & 0xFFFFFFFF)
        rest = dividend - floor(dividend / size) * size
        out[i * out_step] = cast(out, np.int64(rest) + base)


def wrap_pairs(count, k, word, word_step, p, p_outer, p_step, out, out_step):
    """Pairs of words become integers in [p[0], p[0] + p[1]); p[1] = 0 stands for 2**64."""
    base, size = p[0], np.uint64(p[1])
    for i in range(count):
        value = joined(word[i * word_step])
        if size != 0:
            value = value % size
        out[i * out_step] = cast(out, np.int64(value) + base)


def shuffle(count, m, n, word, word_outer, word_step, out, out_outer, out_step):
    """Fisher and Yates: each place swaps with a random one at or after it."""
    for i in range(n):
        out[i * out_step] = cast(out, i)
    for i in range(m):
        j = i + np.int64(word[i * word_step] & 0xFFFFFFFF) % (n - i)
        kept = out[i * out_step]
        out[i * out_step] = out[j * out_step]
        out[j * out_step] = kept


def shuffle_wide(count, m, n, word, word_outer, word_step, out, out_outer, out_step):
    """Fisher and Yates, inside out: each new number takes a random place among those so far."""
    for i in range(n):
        j = np.int64(joined(word[i * word_step]) % np.uint64(i + 1))
        out[i * out_step] = out[j * out_step]
        out[j * out_step] = cast(out, i)


def race(count, word, word_step, weight, weight_step, out, out_step):
    """Weights over exponential numbers, of which the largest is at i with probability weight[i]."""
    for i in range(count):
        delay = cast(out, -math.log1p(-unit_f64(word[i * word_step])))
        out[i * out_step] = weight[i * weight_step] / delay


def spin(count, n, samples, weight, weight_outer, weight_step, word, word_outer, word_step,
         sums, sums_outer, sums_step, out, out_outer, out_step):  # fmt: skip
    """Samples with replacement, by searching each row's running sums for uniform numbers."""
    for row in range(count):
        total = weight[row * weight_outer] * 0
        for i in range(n):
            total += weight[row * weight_outer + i * weight_step]
            sums[row * sums_outer + i * sums_step] = total
        for i in range(n):
            sums[row * sums_outer + i * sums_step] /= total
        sums[row * sums_outer + (n - 1) * sums_step] = 1
        for k in range(samples):
            wanted = unit_f64(word[row * word_outer + k * word_step])
            low, high = 0, n
            while low < high:
                middle = (low + high) // 2
                if sums[row * sums_outer + middle * sums_step] < wanted:
                    low = middle + 1
                else:
                    high = middle
            out[row * out_outer + k * out_step] = low


@helper
def exponential_of(value, p):
    """By inversion; p[0] is the rate."""
    return -1.0 / p[0] * math.log1p(-value)


@helper
def geometric_of(value, p):
    """By inversion; p[0] is the probability of success."""
    return -floor(-(math.log(value) / math.log1p(-p[0])))


@helper
def cauchy_of(value, p):
    """By inversion; p[0] is the median, p[1] the half width."""
    return fma(math.tan(math.pi * (value - 0.5)), p[1], p[0])


@helper
def normal_of(value, p):
    """Of a standard normal number; p[0] is the mean, p[1] the standard deviation."""
    return fma(value, p[1], p[0])


@helper
def log_normal_of(value, p):
    """Likewise, of the logarithm."""
    return math.exp(fma(value, p[1], p[0]))


@cache
def _parametric(kernel: Callable[..., Any], source: Dtype, p: Dtype, out: Dtype, of: Any) -> Loop:
    """The loop of a kernel with parameters, for a ``unit`` or a ``formula``."""
    name = "unit" if of in (unit_f32, unit_f64) else "formula"
    return gufunc(kernel, "(),(k)->()", (source, p, out), bind={name: of} if of else None)


@lru_cache(256)
def _parameters(dtype: Dtype, *p: float) -> Array:
    """The parameters of a distribution, as kernels read them."""
    return np.array(p, dtype)


def _word(dtype: Dtype) -> Dtype:
    """What a uniform number of a dtype is made of: a pair of words for float64, else a word."""
    return _INT64 if dtype == _FLOAT64 else _INT32


def _unit(dtype: Dtype) -> Any:
    return unit_f64 if dtype == _FLOAT64 else unit_f32


def _in_memory_order(array: Array, like: Array) -> Array:
    """The array with its dimensions ordered from the largest stride of another to the smallest."""
    if like.flags.c_contiguous:
        return array
    return array.transpose(sorted(range(like.ndim), key=lambda axis: -abs(like.strides[axis])))


def _draw(generator: MersenneTwister, shape: tuple[int, ...], word: Dtype) -> Array:
    """Words, or pairs of words, of the stream in an array of a shape."""
    return generator.words(math.prod(shape) * (word.itemsize // 4)).view(word).reshape(shape)


def _fill(generator: MersenneTwister, out: Array, loop: Loop, operand: Array) -> Array:
    """Fills out by a loop of words and one more operand."""
    target = _in_memory_order(out, out)
    drive(loop, _draw(generator, target.shape, loop.dtypes[0]), operand, target)
    return out


@settled()
def uniform(generator: MersenneTwister, out: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Numbers uniform in [low, high): a word each in float32, two in float64.

    >>> import numpy as np
    >>> from numtorch_kernels import random
    >>> random.uniform(random.MersenneTwister(0), np.empty(2, np.float32)).tolist()
    [0.49625658988952637, 0.7682217955589294]
    """
    dtype = out.dtype
    loop = _parametric(spread, _word(dtype), dtype, dtype, _unit(dtype))
    return _fill(generator, out, loop, _parameters(dtype, low, high))


@settled()
def normal(generator: MersenneTwister, out: Array, mean: float = 0.0, std: float = 1.0) -> Array:
    """Normal numbers.

    A C-contiguous array of 16 or more is made in blocks of 16, of a word each in float32 and two in
    float64; where 16 does not divide the size, the last 16 are drawn again. Anything else is made
    of pairs of float64, four words each; the half of a pair that is left over waits for the next
    call.
    """
    if out.size >= boxmuller.BLOCK and out.flags.c_contiguous:
        return _normal_blocks(generator, out, mean, std)
    return _of_normals(generator, out, mean, std, normal_of)


@settled()
def log_normal(generator: MersenneTwister, out: Array, mean: float, std: float) -> Array:
    """Numbers whose logarithms are normal, made in pairs as small arrays of :func:`normal`."""
    return _of_normals(generator, out, mean, std, log_normal_of)


def _normal_blocks(generator: MersenneTwister, out: Array, mean: float, std: float) -> Array:
    dtype, flat, size = out.dtype, out.reshape(-1), boxmuller.BLOCK
    word, kernel = _word(dtype), boxmuller.block_f32
    if dtype == _FLOAT64:
        kernel = boxmuller.block_f64
    loop = gufunc(kernel, "(b),(k)->(b)", (word, dtype, dtype))
    parameters = _parameters(dtype, mean, std)
    whole = out.size - out.size % size
    with generator.lock:
        words = _draw(generator, (out.size,), word)
        again = _draw(generator, (size,), word) if whole < out.size else None
    drive(loop, words[:whole].reshape(-1, size), parameters, flat[:whole].reshape(-1, size))
    if again is not None:
        drive(loop, again, parameters, flat[-size:])
    return out


def _of_normals(
    generator: MersenneTwister, out: Array, mean: float, std: float, of: Callable[..., Any]
) -> Array:
    target = _in_memory_order(out, out)
    values = _standard_normals(generator, out.size).reshape(target.shape)
    loop = _parametric(adapt, _FLOAT64, _FLOAT64, out.dtype, of)
    drive(loop, values, _parameters(_FLOAT64, mean, std), target)
    return out


def _standard_normals(generator: MersenneTwister, count: int) -> Array:
    """Standard normal float64[count]; what a pair has too much is kept by the generator."""
    with generator.lock:
        kept = generator.next_normal
        start = 0 if kept is None else 1
        pairs = (count - start + 1) // 2
        values = memory.empty((start + 2 * pairs,), _FLOAT64)
        if kept is not None:
            values[0] = kept
        loop = gufunc(boxmuller.pairs, "(p)->(p)", (_INT64, _FLOAT64))
        drive(loop, _draw(generator, (pairs, 2), _INT64), values[start:].reshape(pairs, 2))
        generator.next_normal = float(values[count]) if values.size > count else None
    return values[:count]


@settled()
def exponential(generator: MersenneTwister, out: Array, rate: float = 1.0) -> Array:
    """Exponential numbers, two words each."""
    return _inverted(generator, out, exponential_of, rate)


@settled()
def geometric(generator: MersenneTwister, out: Array, p: float) -> Array:
    """How many trials with chance p it takes until one succeeds: two words each, of any dtype."""
    return _inverted(generator, out, geometric_of, p)


@settled()
def cauchy(
    generator: MersenneTwister, out: Array, median: float = 0.0, sigma: float = 1.0
) -> Array:
    """Cauchy numbers, two words each."""
    return _inverted(generator, out, cauchy_of, median, sigma)


def _inverted(
    generator: MersenneTwister, out: Array, of: Callable[..., Any], *parameters: float
) -> Array:
    loop = _parametric(invert, _INT64, _FLOAT64, out.dtype, of)
    return _fill(generator, out, loop, _parameters(_FLOAT64, *parameters))


@settled()
def bernoulli(generator: MersenneTwister, out: Array, p: Array | float) -> Array:
    """1 with probability p, else 0, of any dtype.

    p is a number, or an array of floats that broadcasts to ``out``. A number or float64 takes two
    words an element, float32 one.
    """
    chance = aligned(np.asarray(p))
    dtype = chance.dtype
    loop = gufunc(
        succeed, "(),()->()", (_word(dtype), dtype, out.dtype), bind={"unit": _unit(dtype)}
    )
    if chance.ndim:
        chance = _in_memory_order(np.broadcast_to(chance, out.shape), out)
    return _fill(generator, out, loop, chance)


def representable(low: int, high: int, dtype: Dtype) -> tuple[int, int]:
    """The part of [low, high) that a floating dtype rounds to numbers within [low, high)."""
    digits = np.finfo(dtype).nmant + 1
    first, last = (int(dtype.type(value)) for value in (low + 1, high - 1))
    if first < low:
        low = first + (1 << abs(low + 1).bit_length() - digits)
    if high <= last < 1 << 63:  # 2**63 is beyond int64, where PyTorch leaves high as it is
        high = last - (1 << abs(high - 1).bit_length() - digits)
    return low, high


@settled()
def integers(
    generator: MersenneTwister, out: Array, low: int = 0, high: int | None = None
) -> Array:
    """Integers in [low, high), of any dtype; no high stands for all that the dtype holds.

    A word each, from a range of 2**28 on two. Floating dtypes hold integers to 2**24 or 2**53; low
    and high are moved to what they can represent.
    """
    dtype = out.dtype
    if high is None:
        last = _last(dtype)
        size = (1 << 64) if low == _LOWEST else last - low + 1
    else:
        if dtype.kind == "f":
            low, high = representable(low, high, dtype)
        size = high - low
    return _wrapped(generator, out, 0 if size == 1 << 64 else low, size, size >= WIDE_RANGE)


@settled()
def any_integers(generator: MersenneTwister, out: Array) -> Array:
    """Integers from 0 to the largest that the dtype holds: two words in 64-bit dtypes, else one."""
    return _wrapped(generator, out, 0, _last(out.dtype) + 1, out.dtype in (_INT64, _FLOAT64))


def _last(dtype: Dtype) -> int:
    """The last of the integers that a dtype holds without gaps."""
    if dtype.kind == "f":
        return 1 << np.finfo(dtype).nmant + 1
    return 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _wrapped(generator: MersenneTwister, out: Array, low: int, size: int, wide: bool) -> Array:
    kernel, word = (wrap_pairs, _INT64) if wide else (wrap, _INT32)
    loop = _parametric(kernel, word, _INT64, out.dtype, None)
    signed = (size + (1 << 63)) % (1 << 64) - (1 << 63)
    return _fill(generator, out, loop, _parameters(_INT64, low, signed))


@settled()
def permutation(generator: MersenneTwister, out: Array) -> Array:
    """The numbers 0 to n - 1 in random order in out[n]: n - 1 words."""
    wide = out.size >= WIDE_PERMUTATION
    kernel, word = (shuffle_wide, _INT64) if wide else (shuffle, _INT32)
    draws = out.size if wide else max(out.size - 1, 0)
    loop = gufunc(kernel, "(m)->(n)", (word, out.dtype))
    loop.ufunc(_draw(generator, (draws,), word), out)
    return out


@settled()
def multinomial(
    generator: MersenneTwister, weights: Array, samples: int, replacement: bool = False
) -> Array:
    """Indices into the last axis of weights, which are floats: int64[..., samples].

    With replacement, and more than one sample, two words a sample; else two words a weight.
    """
    weights = aligned(weights)
    dtype = weights.dtype
    if replacement and samples != 1:
        out = memory.empty((*weights.shape[:-1], samples), _INT64)
        loop = gufunc(spin, "(n),(s)->(n),(s)", (dtype, _INT64, dtype, _INT64))
        sums = memory.empty(weights.shape, dtype)
        loop.ufunc(weights, _draw(generator, out.shape, _INT64), sums, out)
        return out
    scores = np.empty_like(weights)
    loop = gufunc(race, "(),()->()", (_INT64, dtype, dtype))
    _fill(generator, scores, loop, _in_memory_order(weights, scores))
    return topk(scores, samples, scores.ndim - 1)[1]
