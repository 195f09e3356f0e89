"""Rows: activation functions."""

from __future__ import annotations

import math
from typing import Any

from numtorch_kernels import symbols as s
from numtorch_kernels.expression import Expr, cast

from ..tensor import Tensor, normalized_dim
from .apply import scalar_type
from .elementwise import pointwise
from .table import register_rows

_SQRT_HALF = math.sqrt(0.5)
_GAUSSIAN = 1 / math.sqrt(2 * math.pi)  # the height of the normal density at 0
_GELU_SLOPE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715  # of the approximation by tanh
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. (2017)


def floating(x: Expr) -> Expr:
    """The operand; the error of an undefined operation if it is not floating point."""
    if x.dtype.kind != "f":
        raise TypeError(f"the function is not defined for {x.dtype.name}")
    return x


def softplus_of(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return s.maximum(x, 0) + s.log1p(s.exp(-s.abs(x)))


def _exponential_below(x: Any) -> Any:
    """exp(x) of negative numbers, 1 of others: nothing to overflow where it is not used."""
    return s.exp(s.minimum(x, 0))


# ---------------------------------------------------------------------- pieces of lines


def _relu(x: Expr) -> Expr:
    if x.dtype.kind == "b":
        raise TypeError("relu is not defined for bool")
    return s.where(x < 0, 0, x)


def _hardtanh(x: Expr, min_val: float = -1.0, max_val: float = 1.0) -> Expr:
    if x.dtype.kind == "b":
        raise TypeError("hardtanh is not defined for bool")
    low, high = cast(min_val, x.dtype), cast(max_val, x.dtype)
    return s.where(x < low, low, s.where(x > high, high, x))


def _check_hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> None:
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")


def _threshold(x: Expr, threshold: float, value: float) -> Expr:
    return s.where(x <= threshold, cast(value, x.dtype), x)


relu = pointwise(
    _relu,
    x=lambda g, y: s.where(y <= 0, 0, g),
    refuse={"b": "Boolean inputs not supported for relu"},
)
hardtanh = pointwise(
    _hardtanh,
    x=lambda g, x, min_val, max_val: s.where((x <= min_val) | (x >= max_val), 0, g),
    refuse={"b": "Bool inputs not supported for hardtanh"},
    check_values=_check_hardtanh,
)
threshold = pointwise(
    _threshold,
    x=lambda g, x, threshold: s.where(x <= threshold, 0, g),
    numbers="threshold value",
)
leaky_relu = pointwise(
    lambda x, negative_slope=0.01: s.where(floating(x) > 0, x, x * negative_slope),
    x=lambda g, x, negative_slope: s.where(x > 0, g, g * negative_slope),
)
_prelu_kernel = pointwise(
    lambda x, weight: s.where(floating(x) > 0, x, weight * x),
    x=lambda g, x, weight: s.where(x > 0, g, weight * g),
    weight=lambda g, x: s.where(x > 0, 0, x * g),
    node="PreluKernelBackward0",
)
hardsigmoid = pointwise(
    lambda x: s.minimum(s.maximum(floating(x) + 3, 0), 6) / 6,
    x=lambda g, x: s.where((x > -3) & (x < 3), g / 6, 0),
)
hardswish = pointwise(
    lambda x: floating(x) * s.minimum(s.maximum(x + 3, 0), 6) / 6,
    x=lambda g, x: s.where(x <= -3, 0, s.where(x < 3, g * (x / 3 + 0.5), g)),
)
hardshrink = pointwise(
    lambda x, lambd=0.5: s.where((floating(x) >= -lambd) & (x <= lambd), 0, x),
    x=lambda g, x, lambd: s.where((x >= -lambd) & (x <= lambd), 0, g),
)


def _check_softshrink(x: Any, lambd: float = 0.5) -> None:
    if lambd < 0:
        raise RuntimeError(
            "lambda must be in range [0, 3.40282e+38] for input dtype "
            f"{scalar_type(x.dtype)}, but found {lambd:g}"
        )


softshrink = pointwise(
    lambda x, lambd=0.5: s.where(
        floating(x) > lambd, x - lambd, s.where(x < -lambd, x + lambd, x * 0)
    ),
    x=lambda g, x, lambd: s.where((x >= -lambd) & (x <= lambd), 0, g),
    check_values=_check_softshrink,
)


# ---------------------------------------------------------------------- smooth curves


def _check_celu(x: Any, alpha: float = 1.0) -> None:
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")


elu = pointwise(
    lambda x, alpha=1.0: s.where(floating(x) > 0, x, alpha * s.expm1(x)),
    x=lambda g, x, alpha: s.where(x <= 0, g * (alpha * _exponential_below(x)), g),
)
selu = pointwise(
    lambda x: _SELU_SCALE * s.where(floating(x) > 0, x, _SELU_ALPHA * s.expm1(x)),
    x=lambda g, x: g * (_SELU_SCALE * s.where(x <= 0, _SELU_ALPHA * _exponential_below(x), 1)),
    node="EluBackward0",
)
celu = pointwise(
    lambda x, alpha=1.0: s.where(floating(x) > 0, x, alpha * s.expm1(x / alpha)),
    x=lambda g, x, alpha: s.where(x <= 0, g * _exponential_below(x / alpha), g),
    check_values=_check_celu,
)


def _check_gelu(x: Any, approximate: str = "none") -> None:
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")


def _gelu(x: Any, *, approximate: str = "none") -> Any:
    if approximate == "none":
        return floating(x) * (0.5 * (1 + s.erf(x * _SQRT_HALF)))
    return 0.5 * floating(x) * (1 + s.tanh(_GELU_SLOPE * (x + _GELU_CUBIC * (x * x * x))))


def _gelu_derivative(g: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":
        density = _GAUSSIAN * s.exp(-0.5 * (x * x))
        return g * (0.5 * (1 + s.erf(x * _SQRT_HALF)) + x * density)
    bend = s.tanh(_GELU_SLOPE * (x + _GELU_CUBIC * (x * x * x)))
    inner = _GELU_SLOPE * (1 + 3 * _GELU_CUBIC * (x * x))
    return g * (0.5 * (1 + bend) + 0.5 * x * (1 - bend * bend) * inner)


def _mish_derivative(g: Any, x: Any) -> Any:
    bend = s.tanh(softplus_of(x))
    return g * (bend + x * s.sigmoid(x) * (1 - bend * bend))


gelu = pointwise(_gelu, x=_gelu_derivative, check_parameters=_check_gelu)
silu = pointwise(
    lambda x: floating(x) * s.sigmoid(x),
    x=lambda g, x: g * (s.sigmoid(x) * (1 + x * (1 - s.sigmoid(x)))),
)
mish = pointwise(lambda x: floating(x) * s.tanh(softplus_of(x)), x=_mish_derivative)
softplus = pointwise(
    lambda x, beta=1.0, threshold=20.0: s.where(
        floating(x) * beta > threshold, x, softplus_of(x * beta) / beta
    ),
    x=lambda g, x, beta, threshold: s.where(x * beta > threshold, g, g * s.sigmoid(x * beta)),
)
logsigmoid = pointwise(
    lambda x: s.minimum(floating(x), 0) - s.log1p(s.exp(-s.abs(x))),
    x=lambda g, x: g * s.sigmoid(-x),
    node="LogSigmoidBackward0",
)
softsign = pointwise(
    lambda x: x / (s.abs(x) + 1),
    x=lambda g, x: g / ((s.abs(x) + 1) * (s.abs(x) + 1)),
    promote="float",
    node="DivBackward0",
)
tanhshrink = pointwise(
    lambda x: x - s.tanh(x),
    x=lambda g, x: g * (s.tanh(x) * s.tanh(x)),
    promote="float",
    node="SubBackward0",
)
_gated = pointwise(
    lambda a, b: floating(a) * s.sigmoid(b),
    a=lambda g, b: g * s.sigmoid(b),
    b=lambda g, a, b: g * (a * (s.sigmoid(b) * (1 - s.sigmoid(b)))),
    node="GluBackward0",
)


# ---------------------------------------------------------------------- of several values


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along a dimension times the sigmoid of the second.

    Raises RuntimeError where the dimension's size is odd, and for 0-d tensors.
    """
    if not input.ndim:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = normalized_dim(dim, input.ndim)
    size = input.size(axis)
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {size}")
    half = size // 2
    return _gated(input.narrow(axis, 0, half), input.narrow(axis, half, half))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Negative x times a learnt weight, others as they are: one weight, or one a channel (dim 1).

    Raises RuntimeError for another number of weights, and for different dtypes.
    """
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {scalar_type(input.dtype)} and "
            f"{scalar_type(weight.dtype)}"
        )
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    if weight.numel() != 1:
        if not input.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.size(1) if input.ndim > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
    if weight.ndim:
        shape = (1, -1) if input.ndim > 1 else (-1,)
        trailing = (1,) * (input.ndim - 2)
        weight = weight.reshape(*(shape + trailing if input.ndim else ()))
    return _prelu_kernel(input, weight)


FUNCTIONS = {"prelu": prelu}
METHODS = {"prelu": prelu}

register_rows(globals())
