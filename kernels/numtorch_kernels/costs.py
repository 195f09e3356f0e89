"""Roughly what loops take, by which it is decided whether a second thread pays."""

from __future__ import annotations

from functools import cache

from .build import Loop
from .expression import nodes_of

WORTH = 15_000  # nanoseconds of work from which a second thread pays

_CACHED_BYTE = 0.015  # nanoseconds that a byte takes to or from a second-level cache

# What an element of a pointwise loop costs on one core, in nanoseconds, by its primitives, as
# measured on float32; others 0.1.
_COSTS = {
    **dict.fromkeys(("exp", "exp2", "rsqrt"), 0.7),
    **dict.fromkeys(("sin", "cos"), 1.2),
    **dict.fromkeys(("tanh", "sigmoid", "log", "log2", "log10"), 1.4),
    **dict.fromkeys(("expm1", "log1p", "erf", "erfc", "atan", "asin", "acos", "atan2"), 2.5),
    **dict.fromkeys(("tan", "sinh", "cosh", "erfinv"), 3.5),
    "pow": 7.0,
    **dict.fromkeys(("asinh", "acosh", "atanh", "fmod", "remainder", "floor_divide"), 4.0),
}


@cache
def element_cost(loop: Loop) -> float:
    """Roughly the nanoseconds that a pointwise loop takes for an element in cache."""
    names = [node.name for node in nodes_of(*(loop.expressions or ()))]
    costs = [_COSTS.get(name, 0.1) for name in names if name not in ("input", "constant")]
    return max(sum(costs), _CACHED_BYTE * sum(dtype.itemsize for dtype in loop.dtypes))
