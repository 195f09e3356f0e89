"""Roughly what loops take, by which it is decided whether a second thread pays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from .build import Loop
from .expression import Expr, nodes_of

WORTH = 9_000  # nanoseconds of work from which a second thread pays
GROUP_WORTH = 25_000  # likewise, of the first group of a program: Python has to admit launches

# Nanoseconds that a byte takes to or from caches. It would be 0.015 if it was always in the nearest
# ones. But what one thread reads that two have written is half of it in the other's: 0.1 for a byte
# of these, and 0.4 where the two cores share no third-level cache. So threads begin with some 32768
# numbers, not with twice as many, in cheap loops and where no Python is between call and launch.
CACHED_BYTE = 0.035
SHARED = 1 << 15

# What an element of a pointwise loop costs on one core, in nanoseconds, by its primitives, as
# measured on float32; others 0.1.
_COSTS = {
    **dict.fromkeys(("exp", "exp2", "rsqrt"), 0.6),
    **dict.fromkeys(("sin", "cos", "expm1", "atan", "sinh", "cosh"), 0.9),
    **dict.fromkeys(("tanh", "sigmoid", "log", "log2", "log10", "log1p", "erf", "asin"), 1.1),
    **dict.fromkeys(("tan", "acos", "erfc", "erfinv", "atan2"), 2.5),
    "pow": 5.5,
    **dict.fromkeys(("asinh", "acosh", "atanh", "fmod", "remainder", "floor_divide"), 4.0),
}


def is_costly(outputs: Sequence[Expr]) -> bool:
    """Whether the expressions have a primitive that takes many instructions."""
    return any(node.name in _COSTS for node in nodes_of(*outputs))


@cache
def work(loop: Loop) -> float:
    """Roughly the nanoseconds that a pointwise loop computes for an element."""
    names = [node.name for node in nodes_of(*(loop.expressions or ()))]
    return sum(_COSTS.get(name, 0.1) for name in names if name not in ("input", "constant"))


@cache
def element_cost(loop: Loop) -> float:
    """Roughly the nanoseconds that a pointwise loop takes for an element in cache."""
    return max(work(loop), CACHED_BYTE * sum(dtype.itemsize for dtype in loop.dtypes))
