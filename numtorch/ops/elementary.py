"""Rows: elementary functions, rounding and the classification of floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numtorch_kernels import symbols as s

from ..tensor import Tensor
from .apply import scalar_type
from .arithmetic import div, mul
from .elementwise import nothing, pointwise
from .table import register_rows

sqrt = pointwise(lambda x: s.sqrt(x), x=lambda g, y: g / (2 * y), promote="float")
rsqrt = pointwise(lambda x: s.rsqrt(x), x=lambda g, y: -0.5 * g * (y * y * y), promote="float")
exp = pointwise(lambda x: s.exp(x), x=lambda g, y: g * y, promote="float")
exp2 = pointwise(lambda x: s.exp2(x), x=lambda g, y: g * y * math.log(2), promote="float")
expm1 = pointwise(lambda x: s.expm1(x), x=lambda g, y: g * (y + 1), promote="float")
log = pointwise(lambda x: s.log(x), x=lambda g, x: g / x, promote="float")
log2 = pointwise(lambda x: s.log2(x), x=lambda g, x: g / (x * math.log(2)), promote="float")
log10 = pointwise(lambda x: s.log10(x), x=lambda g, x: g / (x * math.log(10)), promote="float")
log1p = pointwise(lambda x: s.log1p(x), x=lambda g, x: g / (x + 1), promote="float")

sin = pointwise(lambda x: s.sin(x), x=lambda g, x: g * s.cos(x), promote="float")
cos = pointwise(lambda x: s.cos(x), x=lambda g, x: -g * s.sin(x), promote="float")
tan = pointwise(lambda x: s.tan(x), x=lambda g, y: g * (1 + y * y), promote="float")
asin = pointwise(lambda x: s.asin(x), x=lambda g, x: g * s.rsqrt(1 - x * x), promote="float")
acos = pointwise(lambda x: s.acos(x), x=lambda g, x: -g * s.rsqrt(1 - x * x), promote="float")
atan = pointwise(lambda x: s.atan(x), x=lambda g, x: g / (1 + x * x), promote="float")
atan2 = pointwise(
    lambda a, b: s.atan2(a, b),
    a=lambda g, a, b: g * (b / (a * a + b * b)),
    b=lambda g, a, b: -g * (a / (a * a + b * b)),
    promote="float",
)
sinh = pointwise(lambda x: s.sinh(x), x=lambda g, x: g * s.cosh(x), promote="float")
cosh = pointwise(lambda x: s.cosh(x), x=lambda g, x: g * s.sinh(x), promote="float")
tanh = pointwise(lambda x: s.tanh(x), x=lambda g, y: g * (1 - y * y), promote="float")
asinh = pointwise(lambda x: s.asinh(x), x=lambda g, x: g * s.rsqrt(x * x + 1), promote="float")
acosh = pointwise(lambda x: s.acosh(x), x=lambda g, x: g * s.rsqrt(x * x - 1), promote="float")
atanh = pointwise(lambda x: s.atanh(x), x=lambda g, x: g / (1 - x * x), promote="float")
sigmoid = pointwise(lambda x: s.sigmoid(x), x=lambda g, y: g * ((1 - y) * y), promote="float")
erf = pointwise(
    lambda x: s.erf(x),
    x=lambda g, x: g * (2 / math.sqrt(math.pi) * s.exp(-(x * x))),
    promote="float",
)
erfc = pointwise(
    lambda x: s.erfc(x),
    x=lambda g, x: g * (-2 / math.sqrt(math.pi) * s.exp(-(x * x))),
    promote="float",
)

floor = pointwise(lambda x: s.floor(x), x=nothing)
ceil = pointwise(lambda x: s.ceil(x), x=nothing)
trunc = pointwise(lambda x: s.trunc(x), x=nothing)
round = pointwise(lambda x: s.round(x), x=nothing)
frac = pointwise(lambda x: x - s.trunc(x), x=lambda g: g)


def _round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """Rounds half to even, to a number of decimals (negative: to tens, hundreds, ...)."""
    if decimals == 0:
        return round.function(input, out=out)
    if input.dtype.category < 2:
        raise NotImplementedError(
            f"\"round_vml_cpu\" not implemented for '{scalar_type(input.dtype)}'"
        )
    scale = 10.0 ** max(decimals, -decimals)
    scaled = input * scale if decimals > 0 else input / scale
    rounded = round(scaled)
    return (
        div.function(rounded, scale, out=out)
        if decimals > 0
        else mul.function(rounded, scale, out=out)
    )


def _finite(x: Any, *, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    """x with NaN and infinities replaced; by default by 0 and the largest finite numbers."""
    if x.dtype.kind != "f":
        return x
    limits = np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    number = s.where(x == math.inf, high, s.where(x == -math.inf, low, x))
    return s.where(x != x, 0.0 if nan is None else nan, number)


nan_to_num = pointwise(_finite, x=lambda g, x: s.where(s.abs(x) < math.inf, g, 0))

isnan = pointwise(lambda x: x != x)
isinf = pointwise(lambda x: s.abs(x) == math.inf)
isfinite = pointwise(lambda x: s.abs(x) < math.inf)

register_rows(globals())

FUNCTIONS = {"round": round.entry(_round, is_method=False)}
METHODS = {"round": round.entry(_round)}
