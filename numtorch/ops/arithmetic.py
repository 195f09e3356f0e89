"""Rows: arithmetic, comparison, logic and bits."""

from __future__ import annotations

from typing import Any

from numtorch_kernels import reduce
from numtorch_kernels import symbols as s
from numtorch_kernels.deferral import settled
from numtorch_kernels.expression import Expr

from ..tensor import Tensor
from .elementwise import nothing, operands_dtype, pointwise
from .table import register_rows

_NO_BOOL_SUB = (
    "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
    "`logical_xor()` operator instead."
)
_NO_BOOL_OPERAND = (
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
    "invert a mask, use the `~` or `logical_not()` operator instead."
)
_NO_BOOL_NEGATIVE = (
    "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a "
    "mask, use the `~` or `logical_not()` operator instead."
)


def _check_alpha(a: Any, b: Any, alpha: Any = 1) -> None:
    """Refuses an ``alpha`` of a higher kind than the operands."""
    if alpha.__class__ is int and alpha == 1:
        return
    category = operands_dtype((a, b)).category
    if isinstance(alpha, bool):
        if category > 0:
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
    elif isinstance(alpha, float) and category < 2:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )


def _check_difference(a: Any, b: Any, alpha: Any = 1) -> None:
    """Refuses one truth value among the operands; of two, the row itself speaks."""
    truths = [_is_truth(a), _is_truth(b)]
    if any(truths) and not all(truths):
        raise RuntimeError(_NO_BOOL_OPERAND)
    _check_alpha(a, b, alpha)


def _is_truth(x: Any) -> bool:
    return x.dtype.category == 0 if isinstance(x, Tensor) else isinstance(x, bool)


def _check_divisor(a: Any, b: Any, *_: Any, **__: Any) -> None:
    """Refuses an integer division by zero."""
    if operands_dtype((a, b)).category < 2:
        if isinstance(b, Tensor):
            with settled():
                if b._array.size and not reduce.all(b._array, tuple(range(b._array.ndim))):
                    raise RuntimeError("ZeroDivisionError")
        elif b == 0:
            raise RuntimeError("ZeroDivisionError")


def _check_rounding(a: Any, b: Any, rounding_mode: str | None = None) -> None:
    if rounding_mode not in (None, "trunc", "floor"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    if rounding_mode is not None:
        _check_divisor(a, b)


def _divide(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return s.floor_divide(a, b)
    if rounding_mode == "trunc":
        return s.trunc_divide(a, b)
    return a / b


def _check_exponent(a: Any, b: Any) -> None:
    """Refuses a negative integer power of an integer."""
    negative = isinstance(b, int) and not isinstance(b, bool) and b < 0
    if negative and isinstance(a, Tensor) and a.dtype.category < 2:
        raise RuntimeError("Integers to negative integer powers are not allowed.")


def _power_derivative(g: Any, a: Any, b: Any) -> Any:
    if not isinstance(b, Tensor | Expr):
        return nothing(g) if b == 0 else g * (b * s.power(a, b - 1))
    return s.where(b == 0, 0, g * (b * s.power(a, b - 1)))


def _exponent_derivative(g: Any, a: Any, b: Any, y: Any) -> Any:
    logarithm = s.log(a + y * 0)  # of a number a, too
    return g * s.where((y == 0) & (b >= 0), 0, y * logarithm)


def _scaled(alpha: Any, x: Any) -> Any:
    return x if not isinstance(alpha, Expr) and alpha == 1 else alpha * x


def _absolute(x: Any) -> Any:
    if x.dtype.kind == "b":
        raise TypeError("abs is not defined for bool")
    return s.abs(x)


add = pointwise(
    lambda a, b, *, alpha=1: a + _scaled(alpha, b),
    a=lambda g: g,
    b=lambda g, alpha: g * alpha,
    check_parameters=_check_alpha,
    numbers="a b",
)
sub = pointwise(
    lambda a, b, *, alpha=1: a - _scaled(alpha, b),
    a=lambda g: g,
    b=lambda g, alpha: -g * alpha,
    check=_check_difference,
    refuse={"b": _NO_BOOL_SUB},
    numbers="a b",
)
rsub = pointwise(
    lambda a, b, *, alpha=1: b - _scaled(alpha, a),
    a=lambda g, alpha: -g * alpha,
    b=lambda g: g,
    check=_check_difference,
    refuse={"b": _NO_BOOL_SUB},
    node=lambda a, b, *_: "RsubBackward0" if isinstance(b, Tensor) else "RsubBackward1",
    numbers="b",
)
mul = pointwise(
    lambda a, b: a * b,
    a=lambda g, b: g * b,
    b=lambda g, a: g * a,
    numbers="a b",
)
div = pointwise(
    _divide,
    a=lambda g, b, rounding_mode: g / b if rounding_mode is None else nothing(g),
    b=lambda g, a, b, rounding_mode: -g * ((a / b) / b) if rounding_mode is None else nothing(g),
    promote=lambda a, b, rounding_mode=None: "float" if rounding_mode is None else "common",
    check_parameters=_check_rounding,
    node=lambda a, b, rounding_mode=None: (
        "DivBackward0" if rounding_mode is None else "DivBackward2"
    ),
    numbers="a b",
)
floor_divide = pointwise(
    lambda a, b: s.floor_divide(a, b),
    check=_check_divisor,
    numbers="a b",
)
remainder = pointwise(
    lambda a, b: s.remainder(a, b),
    a=lambda g: g,
    b=lambda g, a, b: -g * s.floor_divide(a, b),
    check=_check_divisor,
    numbers="a b",
)
fmod = pointwise(
    lambda a, b: s.fmod(a, b),
    a=lambda g: g,
    b=lambda g, a, b: -g * s.trunc_divide(a, b),
    check=_check_divisor,
    numbers="b",
)
_trunc_divide = pointwise(
    lambda a, b: s.trunc_divide(a, b),
    a=nothing,
    b=nothing,
    numbers="b",
)
pow = pointwise(
    lambda a, b: s.power(a, b),
    a=_power_derivative,
    b=_exponent_derivative,
    check=_check_exponent,
    constants=s.SHORT_POWERS,
    node=lambda a, b: "PowBackward1" if isinstance(b, Tensor) else "PowBackward0",
    numbers="a b",
)
neg = pointwise(lambda x: -x, x=lambda g: -g, refuse={"b": _NO_BOOL_NEGATIVE})
positive = pointwise(lambda x: x, x=lambda g: g)
abs = pointwise(_absolute, x=lambda g, x: g * s.sign(x))
sign = pointwise(lambda x: s.sign(x), x=nothing)
square = pointwise(lambda x: x * (1 * x), x=lambda g, x: g * (2 * x), node="PowBackward0")
reciprocal = pointwise(lambda x: 1 / x, x=lambda g, y: -g * (y * y), promote="float")

eq = pointwise(
    lambda a, b: a == b,
    numbers="b",
)
ne = pointwise(
    lambda a, b: a != b,
    numbers="b",
)
lt = pointwise(
    lambda a, b: a < b,
    numbers="b",
)
le = pointwise(
    lambda a, b: a <= b,
    numbers="b",
)
gt = pointwise(
    lambda a, b: a > b,
    numbers="b",
)
ge = pointwise(
    lambda a, b: a >= b,
    numbers="b",
)

logical_and = pointwise(lambda a, b: (a != 0) & (b != 0))
logical_or = pointwise(lambda a, b: (a != 0) | (b != 0))
logical_xor = pointwise(lambda a, b: (a != 0) ^ (b != 0))
logical_not = pointwise(lambda x: x == 0)

bitwise_and = pointwise(
    lambda a, b: a & b,
    numbers="a b",
)
bitwise_or = pointwise(
    lambda a, b: a | b,
    numbers="a b",
)
bitwise_xor = pointwise(
    lambda a, b: a ^ b,
    numbers="a b",
)
bitwise_not = pointwise(lambda x: ~x)
bitwise_left_shift = pointwise(
    lambda a, b: s.bitwise_left_shift(a, b),
    numbers="a b",
)
bitwise_right_shift = pointwise(
    lambda a, b: s.bitwise_right_shift(a, b),
    numbers="a b",
)

minimum = pointwise(
    lambda a, b: s.minimum(a, b),
    a=lambda g, a, b: s.where(a == b, g / 2, s.where(a > b, 0, g)),
    b=lambda g, a, b: s.where(a == b, g / 2, s.where(a < b, 0, g)),
)
maximum = pointwise(
    lambda a, b: s.maximum(a, b),
    a=lambda g, a, b: s.where(a == b, g / 2, s.where(a < b, 0, g)),
    b=lambda g, a, b: s.where(a == b, g / 2, s.where(a > b, 0, g)),
)
copysign = pointwise(
    lambda a, b: s.copysign(a, b),
    a=lambda g, a, y: s.where(a == 0, 0, g * (y / a)),
    b=nothing,
    promote="float",
    numbers="b",
)


def _clamp(x: Any, min: Any, max: Any) -> Any:
    low = x if min is None else s.maximum(x, min)
    return low if max is None else s.minimum(low, max)


def _inside(x: Any, min: Any, max: Any) -> Any:
    if min is None:
        return x <= max
    return x >= min if max is None else (x >= min) & (x <= max)


def _check_clamp(x: Any, min: Any = None, max: Any = None) -> None:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")


clamp = pointwise(
    _clamp,
    x=lambda g, x, min, max: s.where(_inside(x, min, max), g, 0),
    min=lambda g, x, min, max: s.where((x < min) & (True if max is None else min < max), g, 0),
    max=lambda g, x, min, max: s.where(x > max if min is None else (x > max) | (max < min), g, 0),
    optional=("min", "max"),
    check=_check_clamp,
    node=lambda x, min=None, max=None: (
        "ClampBackward0" if isinstance(min, Tensor) or isinstance(max, Tensor) else "ClampBackward1"
    ),
    numbers="min max",
)
clamp_min = pointwise(
    lambda x, min: s.maximum(x, min),
    x=lambda g, x, min: s.where(x >= min, g, 0),
    min=lambda g, x, min: s.where(x < min, g, 0),
    numbers="min",
)
clamp_max = pointwise(
    lambda x, max: s.minimum(x, max),
    x=lambda g, x, max: s.where(x <= max, g, 0),
    max=lambda g, x, max: s.where(x > max, g, 0),
    numbers="max",
)
where = pointwise(
    lambda condition, a, b: s.where(condition, a, b),
    a=lambda g, condition: s.where(condition, g, 0),
    b=lambda g, condition: s.where(condition, 0, g),
    conditions=("condition",),
    numbers="a b",
)
lerp = pointwise(
    lambda a, b, weight: s.where(
        s.abs(weight) < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight)
    ),
    a=lambda g, weight: g * (1 - weight),
    b=lambda g, weight: g * weight,
    weight=lambda g, a, b: g * (b - a),
    numbers="weight",
)
addcmul = pointwise(
    lambda x, tensor1, tensor2, *, value=1: x + value * (tensor1 * tensor2),
    x=lambda g: g,
    tensor1=lambda g, tensor2, value: g * (tensor2 * value),
    tensor2=lambda g, tensor1, value: g * (tensor1 * value),
)
addcdiv = pointwise(
    lambda x, tensor1, tensor2, *, value=1: x + value * (tensor1 / tensor2),
    x=lambda g: g,
    tensor1=lambda g, tensor2, value: g * (value / tensor2),
    tensor2=lambda g, tensor1, tensor2, value: -g * (value * tensor1 / (tensor2 * tensor2)),
)

register_rows(globals())
