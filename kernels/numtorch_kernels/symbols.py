"""``s``: the functions that pointwise operations and their derivatives are written with.

Each accepts symbols (giving an expression), ndarrays (computing at once, broadcasting, in parallel)
and objects with a ``__primitive__`` method, such as tensors. Numbers may stand beside any of them.

>>> import numpy as np
>>> from numtorch_kernels import symbols as s
>>> s.exp(np.zeros(2)).tolist()
[1.0, 1.0]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import expression
from .expression import Expr
from .pointwise import Pointwise

_kernels: dict[str, Pointwise] = {}


def _call(name: str, *operands: Any) -> Any:
    for x in operands:
        if isinstance(x, Expr):
            return _symbolic(name, *operands)
        if isinstance(x, np.ndarray):
            kernel = _kernels.get(name)
            if kernel is None:
                kernel = _kernels[name] = Pointwise(lambda *each: _symbolic(name, *each), name)
            return kernel(*operands)
        if hasattr(x, "__primitive__"):
            return x.__primitive__(name, operands)
    raise TypeError(f"{name} expects symbols, arrays or tensors, but got {operands}")


def _symbolic(name: str, *operands: Any) -> Expr:
    if name == "where":
        return expression.where(*operands)
    return expression.apply(name, *operands)


def _function(name: str) -> Any:
    def function(*operands: Any) -> Any:
        return _call(name, *operands)

    function.__name__ = function.__qualname__ = name
    return function


where = _function("where")
for _name in expression.PRIMITIVES:
    globals()[_name] = _function(_name)


def square(x: Any) -> Any:
    """The product of x with itself."""
    return x * x


SHORT_POWERS = (0.5, 1, 2, 3, -0.5, -1, -2)
"""Exponents for which there is something shorter than a power."""


def power(a: Any, b: Any) -> Any:
    """a to the b; of a symbol, by multiplications for the common exponents."""
    if not isinstance(a, Expr) or isinstance(b, Expr):
        return _call("pow", a, b) if isinstance(a, Expr) or isinstance(b, Expr) else a**b
    short: dict[float, Callable[[], Any]] = {
        0.5: lambda: _call("sqrt", a),
        1: lambda: a,
        2: lambda: a * a,
        3: lambda: a * a * a,
        -0.5: lambda: 1 / _call("sqrt", a),
        -1: lambda: 1 / a,
        -2: lambda: 1 / (a * a),
    }
    return short[b]() if b in short else _call("pow", a, b)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"there is no scalar function {name!r}")
