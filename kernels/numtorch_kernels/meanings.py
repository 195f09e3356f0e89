"""What Python's arithmetic and its functions of numbers mean where a number is a symbol."""

from __future__ import annotations

import ast
import builtins
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import symbols as s
from .expression import BOOL, FLOAT32, INT64, Expr, cast, common_dtype

Meaning = Callable[..., Any]


def symbolic(x: Any) -> bool:
    """Whether a value is a symbol, or a tuple that holds one."""
    return isinstance(x, Expr) or (isinstance(x, tuple) and any(map(symbolic, x)))


class Arithmetic:
    """Python's arithmetic on symbols and numbers, in a function computed in a given dtype.

    Truth values count as the integers 0 and 1, as in Python. A number adopts the dtype; where that
    holds no fractions and one arises, the fraction is float32.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.floating = dtype if dtype.kind == "f" else FLOAT32

    # ------------------------------------------------------------------ operands

    def numbers(self, *operands: Any) -> tuple[Any, ...]:
        """The operands as numbers; as floats if one is."""
        if any(isinstance(x, float) for x in operands):
            return self.reals(*operands)
        return tuple(
            cast(x, INT64) if isinstance(x, Expr) and x.dtype.kind == "b" else x for x in operands
        )

    def reals(self, *operands: Any) -> tuple[Any, ...]:
        """The operands as floats."""
        return tuple(
            cast(x, self.floating) if isinstance(x, Expr) and x.dtype.kind != "f" else x
            for x in operands
        )

    def truth(self, x: Any) -> Any:
        """The truth value of an operand."""
        if not isinstance(x, Expr):
            return bool(x)
        return x if x.dtype.kind == "b" else x != 0

    def symbol(self, x: Any) -> Expr:
        """The operand as a symbol."""
        if isinstance(x, Expr):
            return x
        if isinstance(x, bool):
            return cast(x, BOOL)
        return cast(x, common_dtype([cast(0, self.dtype), x]))

    # ------------------------------------------------------------------ operators

    def binary(self, kind: type[ast.operator], a: Any, b: Any) -> Any:
        """The result of one of Python's operators on two numbers."""
        if not (isinstance(a, Expr) or isinstance(b, Expr)):
            return _PLAIN[kind](a, b)
        return _BINARY[kind](self, a, b)

    def divide(self, a: Any, b: Any) -> Any:
        """The quotient, which is a float."""
        a, b = self.reals(a, b)
        return a / b

    def power(self, a: Any, b: Any) -> Any:
        """a to the b; a float where b is a negative integer."""
        a, b = self.numbers(a, b)
        if isinstance(b, int) and b < 0:
            (a,) = self.reals(a)
        return s.power(a, b)

    def bitwise(self, function: Meaning, a: Any, b: Any) -> Any:
        """An operator on bits, or on truth values."""
        return function(*([a, b] if _truths(a, b) else self.numbers(a, b)))

    def compare(self, kind: type[ast.cmpop], a: Any, b: Any) -> Any:
        """The truth value of a comparison."""
        if not (_truths(a, b)):
            a, b = self.numbers(a, b)
        return _COMPARISONS[kind](a, b)

    def negative(self, x: Any) -> Any:
        """-x."""
        return -self.numbers(x)[0]

    def both(self, a: Any, b: Any) -> Any:
        """Whether two truth values are both true; either may be known."""
        if isinstance(a, Expr) and isinstance(b, Expr):
            return a & b
        if isinstance(a, Expr):
            return a if b else False
        return b if a else False

    def either(self, a: Any, b: Any) -> Any:
        """Whether one of two truth values is true; either may be known."""
        if isinstance(a, Expr) and isinstance(b, Expr):
            return a | b
        if isinstance(a, Expr):
            return True if b else a
        return True if a else b

    def opposite(self, x: Any) -> Any:
        """Whether a truth value is false."""
        if not isinstance(x, Expr):
            return not x
        return x.arguments[0] if x.name == "bitwise_not" else ~x

    # ------------------------------------------------------------------ choices

    def where(self, condition: Expr, a: Any, b: Any) -> Any:
        """The value of a branch: a where the condition holds, else b."""
        if a is b or (not isinstance(a, Expr) and type(a) is type(b) and repr(a) == repr(b)):
            return a
        if _truths(a, b):
            return s.where(condition, self.symbol(a), self.symbol(b))
        a, b = self.numbers(a, b)
        if not (isinstance(a, Expr) or isinstance(b, Expr)):
            a, b = self.numbers(self.symbol(a), self.symbol(b))
        dtype = common_dtype([a, b])
        return s.where(condition, cast(a, dtype), cast(b, dtype))

    def extreme(self, function: Meaning, plain: Meaning, *operands: Any) -> Any:
        """The least or greatest of several operands, or of the only one's elements."""
        if len(operands) == 1 and isinstance(operands[0], tuple):
            operands = operands[0]

        def choose(a: Any, b: Any) -> Any:
            if isinstance(a, Expr) or isinstance(b, Expr):
                return function(*self.numbers(a, b))
            return plain(a, b)

        return functools.reduce(choose, operands)


def _truths(*operands: Any) -> bool:
    """Whether all operands are truth values."""
    return all(
        x.dtype.kind == "b" if isinstance(x, Expr) else isinstance(x, bool) for x in operands
    )


_PLAIN: dict[type[ast.operator], Meaning] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_BINARY: dict[type[ast.operator], Meaning] = {
    **{kind: lambda at, a, b, plain=plain: plain(*at.numbers(a, b))
       for kind, plain in _PLAIN.items() if kind in (ast.Add, ast.Sub, ast.Mult)},
    ast.Div: Arithmetic.divide,
    ast.FloorDiv: lambda at, a, b: s.floor_divide(*at.numbers(a, b)),
    ast.Mod: lambda at, a, b: s.remainder(*at.numbers(a, b)),
    ast.Pow: Arithmetic.power,
    ast.BitAnd: lambda at, a, b: at.bitwise(s.bitwise_and, a, b),
    ast.BitOr: lambda at, a, b: at.bitwise(s.bitwise_or, a, b),
    ast.BitXor: lambda at, a, b: at.bitwise(s.bitwise_xor, a, b),
    ast.LShift: lambda at, a, b: s.bitwise_left_shift(*at.numbers(a, b)),
    ast.RShift: lambda at, a, b: s.bitwise_right_shift(*at.numbers(a, b)),
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Meaning] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
OPERATORS = frozenset(_BINARY) | frozenset(_COMPARISONS)
"""The operators that a kernel may contain."""


# ---------------------------------------------------------------------- functions


def _numeric(function: Meaning, count: int = 1) -> Meaning:
    """A function of a number of numbers."""
    return lambda at, *operands: function(*at.numbers(*_exactly(count, operands)))


def _real(function: Meaning, count: int = 1) -> Meaning:
    """A function of a number of floats."""
    return lambda at, *operands: function(*at.reals(*_exactly(count, operands)))


def _exactly(count: int, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(operands) != count:
        raise TypeError(f"{count} arguments are expected, not {len(operands)}")
    return operands


def _log(at: Arithmetic, x: Any, base: Any = None) -> Any:
    """The logarithm, by default the natural one."""
    parts = [
        s.log(*at.reals(part)) if isinstance(part, Expr) else math.log(part)
        for part in (x, base)
        if part is not None
    ]
    return parts[0] if base is None else parts[0] / parts[1]


def _hypot(at: Arithmetic, *operands: Any) -> Any:
    squares = [at.power(x, 2) if isinstance(x, Expr) else x * x for x in at.reals(*operands)]
    return s.sqrt(sum(squares[1:], squares[0]))


def _clip(at: Arithmetic, x: Any, low: Any, high: Any) -> Any:
    return at.extreme(s.minimum, min, at.extreme(s.maximum, max, x, low), high)


def _round(at: Arithmetic, x: Any) -> Any:
    return s.round(*at.numbers(x))


def _where(at: Arithmetic, condition: Any, a: Any, b: Any) -> Any:
    condition = at.truth(condition)
    return at.where(condition, a, b) if isinstance(condition, Expr) else (a if condition else b)


_OF_MATH = (
    "exp", "exp2", "expm1", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
)  # fmt: skip
_OF_BOTH: dict[str, Meaning] = {
    **{name: _real(vars(s)[name]) for name in _OF_MATH},
    **{name: _real(vars(s)[name], 2) for name in ("atan2", "copysign", "fmod")},
    "floor": _numeric(s.floor),
    "ceil": _numeric(s.ceil),
    "trunc": _numeric(s.trunc),
    "fabs": _real(s.abs),
    "hypot": _hypot,
    "isnan": _real(lambda x: x != x),
    "isinf": _real(lambda x: s.abs(x) == math.inf),
    "isfinite": _real(lambda x: s.abs(x) < math.inf),
    "degrees": _real(lambda x: x * (180 / math.pi)),
    "radians": _real(lambda x: x * (math.pi / 180)),
}
_NUMPY_SPELLINGS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
_OF_NUMPY: dict[str, Meaning] = {
    **{_NUMPY_SPELLINGS.get(name, name): meaning for name, meaning in _OF_BOTH.items()},
    "fmod": _numeric(s.fmod, 2),
    "log": _real(s.log),
    "abs": _numeric(s.abs),
    "absolute": _numeric(s.abs),
    "sign": _numeric(s.sign),
    "rint": _round,
    "round": _round,
    "square": _numeric(s.square),
    "reciprocal": _real(lambda x: 1 / x),
    "negative": Arithmetic.negative,
    "add": lambda at, a, b: at.binary(ast.Add, a, b),
    "subtract": lambda at, a, b: at.binary(ast.Sub, a, b),
    "multiply": lambda at, a, b: at.binary(ast.Mult, a, b),
    "divide": Arithmetic.divide,
    "true_divide": Arithmetic.divide,
    "floor_divide": lambda at, a, b: at.binary(ast.FloorDiv, a, b),
    "remainder": lambda at, a, b: at.binary(ast.Mod, a, b),
    "mod": lambda at, a, b: at.binary(ast.Mod, a, b),
    "power": Arithmetic.power,
    "minimum": lambda at, a, b: at.extreme(s.minimum, min, a, b),
    "maximum": lambda at, a, b: at.extreme(s.maximum, max, a, b),
    "clip": _clip,
    "where": _where,
    "logical_and": lambda at, a, b: at.both(at.truth(a), at.truth(b)),
    "logical_or": lambda at, a, b: at.either(at.truth(a), at.truth(b)),
    "logical_not": lambda at, x: at.opposite(at.truth(x)),
    "deg2rad": _OF_BOTH["radians"],
    "rad2deg": _OF_BOTH["degrees"],
}
_OF_PYTHON: dict[str, Meaning] = {
    "abs": _numeric(s.abs),
    "min": lambda at, *operands: at.extreme(s.minimum, min, *operands),
    "max": lambda at, *operands: at.extreme(s.maximum, max, *operands),
    "pow": Arithmetic.power,
    "round": _round,
    "float": lambda at, x: at.reals(x)[0],
    "int": lambda at, x: s.trunc(*at.numbers(x)),
    "bool": Arithmetic.truth,
    "divmod": lambda at, a, b: (at.binary(ast.FloorDiv, a, b), at.binary(ast.Mod, a, b)),
    "sum": lambda at, values, start=0: functools.reduce(
        lambda a, b: at.binary(ast.Add, a, b), values, start
    ),
}

MEANINGS: dict[Any, Meaning] = {
    **{vars(math)[name]: meaning for name, meaning in _OF_BOTH.items()},
    **{vars(np)[name]: meaning for name, meaning in _OF_NUMPY.items()},
    **{vars(builtins)[name]: meaning for name, meaning in _OF_PYTHON.items()},
    math.log: _log,
    math.pow: lambda at, a, b: s.power(*at.reals(a, b)),
    math.erf: _real(s.erf),
    math.erfc: _real(s.erfc),
}
"""By function: what it gives for an :class:`Arithmetic` and operands with a symbol among them."""

STRUCTURAL: frozenset[Any] = frozenset({range, len, zip, enumerate, reversed, tuple})
"""Functions of tuples, which ask nothing of the symbols in them."""


def known(function: Any, operands: Sequence[Any], named: dict[str, Any]) -> Any:
    """What a function of numbers gives for numbers, as a number."""
    value = function(*operands, **named)
    if isinstance(value, np.ndarray | np.generic):
        return value.item() if value.ndim == 0 else tuple(value.tolist())
    return value
