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
from .boxmuller import BLOCK, unit_f32, unit_f64
from .build import Loop, gufunc, specialise
from .deferral import settled
from .drive import drive
from .intrinsics import buffer, cast, float64_at, helper, int64_at, offset, pointer_reader
from .layout import aligned
from .mersenne import KEEPS, KEPT, MersenneTwister, next_words
from .sort import topk

__all__ = [
    "MersenneTwister",
    "any_integers",
    "are_probabilities",
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
_FLOAT64, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)

FEW = 256  # elements, drawn by one loop: of a stack buffer they fill half
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


def check(count, n, p, p_outer, p_step, out, out_step):
    """Whether all elements of a row are within [0, 1]."""
    for row in range(count):
        misses = 0
        for i in range(n):
            value = p[row * p_outer + i * p_step]
            misses += not (value >= 0 and value <= 1)
        out[row * out_step] = cast(out, misses == 0)


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


def made(*operands):
    """Stands for one of the kernels above, which each build binds."""
    raise NotImplementedError


def word_at(address):
    """Stands for ``int32_at`` or ``int64_at``: whether ``made`` takes words or pairs of words."""
    raise NotImplementedError


WIDTH = 1  # stands for how many words it takes

paired, shuffled = helper(boxmuller.pairs), helper(shuffle)

# Few elements are drawn by one loop, which ufuncs run without iterating over core dimensions: to it
# state and p are numbers, behind which the others lie.


def draw_few(count, state, state_step, p, p_step, out, out_step):
    """The generator's next words become numbers, by parameters."""
    word = buffer(word_at(state))
    next_words(state, count * WIDTH, word)
    made(count, 2, word, 1, p, 0, 1, out, out_step)


def draw_few_normals(count, state, state_step, p, p_step, out, out_step):
    """Likewise pairs of normal numbers; what is drawn too much is kept for the next call."""
    word, value = buffer(int64_at(state)), buffer(float64_at(state))
    kept = float64_at(offset(state, KEPT))
    start = np.int64(state[KEEPS])
    value[0] = kept[0]
    draws = (count - start + 1) // 2
    next_words(state, 4 * draws, word)
    paired(draws, 2, word, 2, 1, offset(value, start), 2, 1)
    state[KEEPS] = start + 2 * draws - count
    kept[0] = value[count]
    made(count, 2, value, 1, p, 0, 1, out, out_step)


def draw_few_blocks(count, state, state_step, p, p_step, out, out_step):
    """Likewise blocks of 16 normal numbers; the last 16 are drawn again where others remain."""
    word = buffer(word_at(state))
    next_words(state, count * WIDTH, word)
    made(count // BLOCK, BLOCK, 2, word, BLOCK, 1, p, 0, 1, out, BLOCK, 1)
    if count % BLOCK != 0:
        next_words(state, BLOCK * WIDTH, word)
        made(1, BLOCK, 2, word, BLOCK, 1, p, 0, 1, offset(out, count - BLOCK), BLOCK, 1)


def toss_few(count, state, state_step, p, p_step, out, out_step):
    """Likewise words become 1 with a probability of each element, else 0."""
    word = buffer(word_at(state))
    next_words(state, count * WIDTH, word)
    made(count, word, 1, p, p_step, out, out_step)


def shuffle_few(count, state, state_step, out, out_step):
    """Likewise words become a permutation."""
    word = buffer(state)
    next_words(state, count - 1, word)
    shuffled(count, count - 1, count, word, 0, 1, out, 0, out_step)


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


def _word(dtype: Dtype) -> Dtype:
    """What a uniform number of a dtype is made of: a pair of words for float64, else a word."""
    return _INT64 if dtype == _FLOAT64 else _INT32


def _unit(dtype: Dtype) -> Any:
    return unit_f64 if dtype == _FLOAT64 else unit_f32


class _Recipe:
    """How words become numbers: by a kernel, what it is bound to, and parameters of a dtype."""

    def __init__(
        self,
        kernel: Callable[..., Any],
        word: Dtype,
        parameter: Dtype,
        few: Callable[..., Any] = draw_few,
        **bind: Any,
    ) -> None:
        self.kernel, self.word, self.parameter = kernel, word, parameter
        self.few = few  # the kernel that draws the words, too
        self.bind = bind


_EXPONENTIAL = _Recipe(invert, _INT64, _FLOAT64, formula=exponential_of)
_GEOMETRIC = _Recipe(invert, _INT64, _FLOAT64, formula=geometric_of)
_CAUCHY = _Recipe(invert, _INT64, _FLOAT64, formula=cauchy_of)
_NORMAL = _Recipe(adapt, _INT64, _FLOAT64, draw_few_normals, formula=normal_of)
_LOG_NORMAL = _Recipe(adapt, _INT64, _FLOAT64, draw_few_normals, formula=log_normal_of)
_INTEGERS = _Recipe(wrap, _INT32, _INT64)
_WIDE_INTEGERS = _Recipe(wrap_pairs, _INT64, _INT64)


@cache
def _uniform(dtype: Dtype) -> _Recipe:
    return _Recipe(spread, _word(dtype), dtype, unit=_unit(dtype))


@cache
def _blocks(dtype: Dtype) -> _Recipe:
    kernel = boxmuller.block_f64 if dtype == _FLOAT64 else boxmuller.block_f32
    return _Recipe(kernel, _word(dtype), dtype, draw_few_blocks)


@cache
def _bernoulli(dtype: Dtype) -> _Recipe:
    return _Recipe(succeed, _word(dtype), dtype, toss_few, unit=_unit(dtype))


@lru_cache(256)
def _parameters(dtype: Dtype, *p: float) -> Array:
    """The parameters of a distribution, as kernels read them."""
    return np.array(p, dtype)


@lru_cache(256)
def _for_few(recipe: _Recipe, out: Dtype, *p: float) -> tuple[Loop, Array]:
    """The loop for few elements, and the first parameter, behind which the others lie."""
    return _loop_for_few(recipe, out), _parameters(recipe.parameter, *p)[0, ...]


@cache
def _loop_for_few(recipe: _Recipe, out: Dtype) -> Loop:
    bound = {
        "made": specialise(recipe.kernel, recipe.bind),
        "word_at": pointer_reader(recipe.word),
        "WIDTH": recipe.word.itemsize // _INT32.itemsize,
    }
    return gufunc(recipe.few, "(),()->()", (_INT32, recipe.parameter, out), bind=bound)


@cache
def _loop(kernel: Callable[..., Any], signature: str, *dtypes: Dtype) -> Loop:
    return gufunc(kernel, signature, dtypes)


def _in_memory_order(array: Array, like: Array) -> Array:
    """The array with its dimensions ordered from the largest stride of another to the smallest."""
    if like.flags.c_contiguous:
        return array
    return array.transpose(sorted(range(like.ndim), key=lambda axis: -abs(like.strides[axis])))


def _draw(generator: MersenneTwister, shape: tuple[int, ...], word: Dtype) -> Array:
    """Words, or pairs of words, of the stream in an array of a shape."""
    return generator.words(math.prod(shape) * (word.itemsize // 4)).view(word).reshape(shape)


def _are_few(out: Array) -> bool:
    """Whether one loop draws the words, too; of other memory than loops take NumPy makes copies."""
    return out.size <= FEW and out.flags.carray and out.dtype.isnative


def _draw_few(generator: MersenneTwister, out: Array, loop: Loop, *operands: Array) -> Array:
    """Fills out by a loop that draws the words, too."""
    lock = generator.lock
    lock.acquire()  # 0.1 us less than a with statement takes
    try:
        loop.ufunc(generator.first, *operands, out)
    finally:
        lock.release()
    return out


def _fill(generator: MersenneTwister, out: Array, recipe: _Recipe, *p: float) -> Array:
    """Fills out by a recipe of words."""
    if _are_few(out):
        loop, first = _for_few(recipe, out.dtype, *p)
        return _draw_few(generator, out, loop, first)
    dtypes = recipe.word, recipe.parameter, out.dtype
    loop = gufunc(recipe.kernel, "(),(k)->()", dtypes, bind=recipe.bind)
    return _fill_in_order(generator, out, loop, _parameters(recipe.parameter, *p))


def _fill_in_order(generator: MersenneTwister, out: Array, loop: Loop, operand: Array) -> Array:
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
    return _fill(generator, out, _uniform(out.dtype), low, high)


@settled()
def normal(generator: MersenneTwister, out: Array, mean: float = 0.0, std: float = 1.0) -> Array:
    """Normal numbers.

    A C-contiguous array of 16 or more is made in blocks of 16, of a word each in float32 and two in
    float64; where 16 does not divide the size, the last 16 are drawn again. Anything else is made
    of pairs of float64, four words each; the half of a pair that is left over waits for the next
    call.
    """
    if out.size >= BLOCK and out.flags.c_contiguous:
        return _normal_blocks(generator, out, mean, std)
    return _of_normals(generator, out, _NORMAL, mean, std)


@settled()
def log_normal(generator: MersenneTwister, out: Array, mean: float, std: float) -> Array:
    """Numbers whose logarithms are normal, made in pairs as small arrays of :func:`normal`."""
    return _of_normals(generator, out, _LOG_NORMAL, mean, std)


def _normal_blocks(generator: MersenneTwister, out: Array, mean: float, std: float) -> Array:
    dtype = out.dtype
    recipe = _blocks(dtype)
    if _are_few(out):
        return _draw_few(generator, out, *_for_few(recipe, dtype, mean, std))
    loop = gufunc(recipe.kernel, "(b),(k)->(b)", (recipe.word, dtype, dtype))
    parameters = _parameters(dtype, mean, std)
    flat, whole = out.reshape(-1), out.size - out.size % BLOCK
    with generator.lock:
        words = _draw(generator, (out.size,), recipe.word)
        again = _draw(generator, (BLOCK,), recipe.word) if whole < out.size else None
    drive(loop, words[:whole].reshape(-1, BLOCK), parameters, flat[:whole].reshape(-1, BLOCK))
    if again is not None:
        drive(loop, again, parameters, flat[-BLOCK:])
    return out


def _of_normals(
    generator: MersenneTwister, out: Array, recipe: _Recipe, mean: float, std: float
) -> Array:
    if _are_few(out):
        return _draw_few(generator, out, *_for_few(recipe, out.dtype, mean, std))
    target = _in_memory_order(out, out)
    values = _standard_normals(generator, out.size).reshape(target.shape)
    dtypes = _FLOAT64, recipe.parameter, out.dtype
    loop = gufunc(recipe.kernel, "(),(k)->()", dtypes, bind=recipe.bind)
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
    return _fill(generator, out, _EXPONENTIAL, rate)


@settled()
def geometric(generator: MersenneTwister, out: Array, p: float) -> Array:
    """How many trials with chance p it takes until one succeeds: two words each, of any dtype."""
    return _fill(generator, out, _GEOMETRIC, p)


@settled()
def cauchy(
    generator: MersenneTwister, out: Array, median: float = 0.0, sigma: float = 1.0
) -> Array:
    """Cauchy numbers, two words each."""
    return _fill(generator, out, _CAUCHY, median, sigma)


@settled()
def bernoulli(generator: MersenneTwister, out: Array, p: Array | float) -> Array:
    """1 with probability p, else 0, of any dtype.

    p is a number, or an array of floats that broadcasts to ``out``. A number or float64 takes two
    words an element, float32 one.
    """
    chance = aligned(p) if isinstance(p, np.ndarray) else np.array(p, _FLOAT64)
    recipe = _bernoulli(chance.dtype)
    if chance.ndim and chance.shape != out.shape:
        chance = np.broadcast_to(chance, out.shape)
    if _are_few(out) and chance.flags.c_contiguous:
        return _draw_few(generator, out, _loop_for_few(recipe, out.dtype), chance)
    if chance.ndim:
        chance = _in_memory_order(chance, out)
    dtypes = recipe.word, recipe.parameter, out.dtype
    loop = gufunc(recipe.kernel, "(),()->()", dtypes, bind=recipe.bind)
    return _fill_in_order(generator, out, loop, chance)


@settled()
def are_probabilities(p: Array) -> bool:
    """Whether all elements, which are floats, are within [0, 1]."""
    flat = aligned(p).reshape(-1)
    return bool(_loop(check, "(n)->()", flat.dtype, _BOOL).ufunc(flat))


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
    recipe = _WIDE_INTEGERS if wide else _INTEGERS
    return _fill(generator, out, recipe, low, size if size < 1 << 63 else size - (1 << 64))


@settled()
def permutation(generator: MersenneTwister, out: Array) -> Array:
    """The numbers 0 to n - 1 in random order in out[n]: n - 1 words."""
    if _are_few(out):
        return _draw_few(generator, out, _loop(shuffle_few, "()->()", _INT32, out.dtype))
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
    _fill_in_order(generator, scores, loop, _in_memory_order(weights, scores))
    return topk(scores, samples, scores.ndim - 1)[1]
