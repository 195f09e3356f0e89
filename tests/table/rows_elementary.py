"""Rows: elementary functions, rounding and the classification of floats."""

from __future__ import annotations

from .row import EVERY, FLOATS, Call, Make, Row, unary

DOMAINS = {
    "sqrt": (0.1, 4),
    "rsqrt": (0.1, 4),
    "exp": (-3, 3),
    "exp2": (-3, 3),
    "expm1": (-3, 3),
    "log": (0.1, 4),
    "log2": (0.1, 4),
    "log10": (0.1, 4),
    "log1p": (-0.9, 4),
    "sin": (-4, 4),
    "cos": (-4, 4),
    "tan": (-1.4, 1.4),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "atan": (-3, 3),
    "sinh": (-3, 3),
    "cosh": (-3, 3),
    "tanh": (-3, 3),
    "asinh": (-3, 3),
    "acosh": (1.1, 4),
    "atanh": (-0.9, 0.9),
    "sigmoid": (-3, 3),
    "erf": (-3, 3),
    "erfc": (-3, 3),
}
ROUNDINGS = ("floor", "ceil", "trunc", "round")


def _replaced(make: Make) -> list[Call]:
    x = make(3, 4)
    if make.dtype.kind == "f":
        x[0] = (float("nan"), float("inf"), float("-inf"), 1)
    return [Call(x), Call(x, nan=1.5), Call(x, nan=0.0, posinf=7.0, neginf=-7.0)]


ROWS = [
    *[unary(name, low, high) for name, (low, high) in DOMAINS.items()],
    *[unary(name, dtypes=("float32", "float64", "int64")) for name in ROUNDINGS],
    unary("frac", dtypes=FLOATS),
    unary("isnan", gradient=False, dtypes=("float32", "float64", "int64")),
    unary("isinf", gradient=False, dtypes=("float32", "float64", "int64")),
    unary("isfinite", gradient=False, dtypes=EVERY),
    Row(name="nan_to_num", calls=_replaced),
]
