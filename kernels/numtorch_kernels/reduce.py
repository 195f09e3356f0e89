"""Reductions over any set of axes: sum, prod, mean, var, max, min, any, all, norm, logsumexp.

``axes`` are sorted and not negative; the results are fresh arrays. NaN propagates, integers add up
in int64, floats in their own dtype.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from . import scalar
from .bits import fabs, select, sqrt
from .intrinsics import helper, highest, lowest, one, zero
from .reduction import Axes, Reduction, add, count
from .spread import Spread

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)


def _of_width(f32: Any, f64: Any) -> Any:
    """A function for use in kernels: the first of two where its first operand is float32."""

    def function(*operands):
        raise NotImplementedError

    @overload(function)
    def choose(*operands):
        compiled = f32 if operands[0] == types.float32 else f64

        def implementation(*operands):
            return compiled(*operands)

        return implementation

    return function


exp = _of_width(scalar.exp_f32, scalar.exp_f64)
log = _of_width(scalar.log_f32, scalar.log_f64)
power = _of_width(scalar.pow_f32, scalar.pow_f64)


def _extreme(name: str, order: str) -> Any:
    """An intrinsic for the larger or smaller of two numbers; NaN if either is.

    LLVM knows how to vectorise it in a loop, which it does not for comparisons.
    """

    @intrinsic
    def choose(_context, a, b):
        def codegen(_context, builder, signature, arguments):
            kind = arguments[0].type
            if isinstance(a, types.Float):
                function = builder.module.declare_intrinsic(
                    f"llvm.{name}", [kind], ir.FunctionType(kind, [kind] * 2)
                )
                return builder.call(function, arguments, fastmath=("nsz",))
            compare = builder.icmp_signed if a.signed else builder.icmp_unsigned
            return builder.select(compare(order, *arguments), *arguments)

        return a(a, b), codegen

    return choose


larger = _extreme("maximum", ">")
smaller = _extreme("minimum", "<")


@helper
def multiply(a, b):
    """Combines numbers to their product."""
    return a * b


@helper
def maximum(a, b):
    """Combines numbers to the largest."""
    return larger(a, b)


@helper
def minimum(a, b):
    """Combines numbers to the smallest."""
    return smaller(a, b)


@helper
def either(a, b):
    """Combines truth values: whether one is true."""
    return a | b


@helper
def both(a, b):
    """Combines truth values: whether none is false."""
    return a & b


@helper
def nonzero(x, centre):
    """Transforms to whether x is not 0."""
    return x != 0


@helper
def magnitude(x, centre):
    """Transforms to |x|."""
    return fabs(x)


@helper
def magnitude_power(x, exponent):
    """Transforms to |x| ** exponent."""
    return power(fabs(x), exponent)


@helper
def square(x, centre):
    """Transforms to x ** 2."""
    return x * x


@helper
def square_deviation(x, centre):
    """Transforms to (x - centre) ** 2."""
    return (x - centre) * (x - centre)


@helper
def finite(x):
    """The number itself, or 0 if it is infinite."""
    return select(fabs(x) == math.inf, 0.0, x)


@helper
def shifted_exp(x, centre):
    """Transforms to exp(x - centre), where an infinite centre counts as 0."""
    return exp(x - finite(centre))


@helper
def shifted_log(total, centre, scale):
    """Finishes with log(total) + centre, where an infinite centre counts as 0."""
    return log(total) + finite(centre)


@helper
def over_scale(total, centre, scale):
    """Finishes with total / scale."""
    return total / scale


@helper
def root(total, centre, scale):
    """Finishes with the square root."""
    return sqrt(total)


@helper
def root_over_scale(total, centre, scale):
    """Finishes with the square root of total / scale."""
    return sqrt(total / scale)


@helper
def power_of_scale(total, exponent, scale):
    """Finishes with total ** scale."""
    return power(total, scale)


SUM = Reduction(add, zero)
PROD = Reduction(multiply, one)
AMAX = Reduction(maximum, lowest)
AMIN = Reduction(minimum, highest)
ANY = Reduction(either, zero, nonzero)
ALL = Reduction(both, one, nonzero)
COUNT_NONZERO = Reduction(add, zero, nonzero)
MEAN = Reduction(add, zero, finish=over_scale)
LOGSUMEXP = Reduction(add, zero, shifted_exp, shifted_log)
NORM = Reduction(add, zero, magnitude_power, power_of_scale)
NORMS = {
    0.0: COUNT_NONZERO,
    1.0: Reduction(add, zero, magnitude),
    2.0: Reduction(add, zero, square, root),
    math.inf: Reduction(maximum, zero, magnitude),
    -math.inf: Reduction(minimum, highest, magnitude),
}

var = Spread(MEAN, Reduction(add, zero, square_deviation, over_scale))
std = Spread(MEAN, Reduction(add, zero, square_deviation, root_over_scale))
var_mean, std_mean = var.and_mean, std.and_mean

_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_)
WIDE: dict[Dtype, Dtype] = {np.dtype(kind): INT64 for kind in _INTEGERS}  # what sums are kept in
WIDE |= {np.dtype(kind): np.dtype(kind) for kind in (np.float32, np.float64)}


def sum(x: Array, axes: Axes, keepdims: bool = False, dtype: Dtype | None = None) -> Array:
    """The sum, accumulated in ``dtype``: by default int64 for integers and bool, else x's."""
    return SUM(x, axes, keepdims, dtype or WIDE[x.dtype])


def prod(x: Array, axes: Axes, keepdims: bool = False, dtype: Dtype | None = None) -> Array:
    """The product, accumulated in ``dtype``: by default int64 for integers and bool, else x's."""
    return PROD(x, axes, keepdims, dtype or WIDE[x.dtype])


def mean(x: Array, axes: Axes, keepdims: bool = False, dtype: Dtype | None = None) -> Array:
    """The mean in a floating dtype, by default x's; NaN of no elements."""
    dtype = dtype or x.dtype
    return MEAN(x, axes, keepdims, dtype, scale=_number(count(x, axes), dtype))


@lru_cache(maxsize=1024)
def _number(n: int, dtype: Dtype) -> Array:
    """A number of elements as an operand, which nobody changes."""
    return np.array(n, dtype)


def amax(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """The largest element; NaN if there is one, the dtype's lowest value if there is none."""
    return AMAX(x, axes, keepdims, x.dtype)


def amin(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """The smallest element; NaN if there is one, the dtype's highest value if there is none."""
    return AMIN(x, axes, keepdims, x.dtype)


max, min = amax, amin


def any(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Whether an element is not 0, as bool."""
    return ANY(x, axes, keepdims, BOOL)


def all(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Whether no element is 0, as bool."""
    return ALL(x, axes, keepdims, BOOL)


def count_nonzero(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """How many elements are not 0, as int64."""
    return COUNT_NONZERO(x, axes, keepdims, INT64)


def norm(x: Array, axes: Axes, p: float = 2.0, keepdims: bool = False) -> Array:
    """The p-norm of floats; p = 0 counts what is not 0, p = -inf is the smallest magnitude."""
    operation = NORMS.get(p)
    if operation is not None:
        return operation(x, axes, keepdims, x.dtype)
    return NORM(x, axes, keepdims, x.dtype, np.array(p, x.dtype), np.array(1 / p, x.dtype))


def logsumexp(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) of floats without overflow."""
    return LOGSUMEXP(x, axes, keepdims, x.dtype, amax(x, axes))
