"""Rows: losses."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from numtorch_kernels import Pointwise, reduce
from numtorch_kernels import symbols as s
from numtorch_kernels.deferral import require

from ..tensor import Tensor
from .activation import floating, softplus_of
from .apply import scalar_type
from .elementwise import pointwise
from .reduced import check_reduction, loss
from .reduction import mean, sum
from .table import register_rows


def reduced_by(values: Tensor, reduction: str) -> Tensor:
    """The mean or sum of a tensor, or itself, as ``reduction`` says."""
    check_reduction(reduction)
    if reduction == "none":
        return values
    return mean(values) if reduction == "mean" else sum(values)


# ---------------------------------------------------------------------- of differences


def _slope(g: Any, x: Any, target: Any, beta: Any) -> Any:
    """The derivative of smooth_l1_loss by x."""
    d = x - target
    return s.where(s.abs(d) < beta, g * (d / beta), g * s.sign(d))


def _clipped(g: Any, x: Any, target: Any, delta: Any) -> Any:
    """The derivative of huber_loss by x."""
    d = x - target
    return g * s.where(d < -delta, -delta, s.where(d > delta, delta, d))


def _huber(x: Any, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Any:
    d = s.abs(floating(x) - target)
    return s.where(d < delta, 0.5 * (d * d), delta * (d - 0.5 * delta))


def _smooth(x: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    d = s.abs(floating(x) - target)
    return s.where(d < beta, 0.5 * (d * d) / beta, d - 0.5 * beta)


def _squared(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    return (floating(x) - target) * (x - target)


_mse_loss = loss(
    _squared,
    x=lambda g, x, target: g * (2 * (x - target)),
    target=lambda g, x, target: g * (2 * (target - x)),
)
_smooth_l1_loss = loss(
    _smooth, x=_slope, target=lambda g, x, target, beta: _slope(g, target, x, beta)
)
_huber_loss = loss(
    _huber, x=_clipped, target=lambda g, x, target, delta: _clipped(g, target, x, delta)
)
_distance = pointwise(
    lambda x, target: s.abs(x - target),
    x=lambda g, x, target: g * s.sign(x - target),
    target=lambda g, x, target: g * s.sign(target - x),
    node="AbsBackward0",
)


def _warn_of_broadcasting(input: Tensor, target: Tensor) -> None:
    if input._array.shape != target._array.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )


def _weighted(values: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Weighted losses; their mean is over the weights."""
    check_reduction(reduction)
    values = values * weight
    if reduction == "none":
        return values
    return sum(values) / sum(weight) if reduction == "mean" else sum(values)


def mse_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The mean of the squared differences; or their sum, or all of them for "none"."""
    _warn_of_broadcasting(input, target)
    if weight is not None:
        return _weighted(_mse_loss(input, target, reduction="none"), weight, reduction)
    return _mse_loss(input, target, reduction=reduction)


def l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The mean of the absolute differences; or their sum, or all of them for "none"."""
    _warn_of_broadcasting(input, target)
    if weight is not None:
        return _weighted(_distance(input, target), weight, reduction)
    return reduced_by(_distance(input, target), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Squares of differences below ``beta`` (halved, over beta), absolute values above (less half).

    Raises RuntimeError for a negative beta.
    """
    _warn_of_broadcasting(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return reduced_by(_distance(input, target), reduction)
    return _smooth_l1_loss(input, target, reduction=reduction, beta=beta)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Half squares of differences below ``delta``, their tangent lines above.

    Raises RuntimeError for a delta that is not positive.
    """
    _warn_of_broadcasting(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is not None:
        values = _huber_loss(input, target, reduction="none", delta=delta)
        return reduced_by(values * weight, reduction)
    return _huber_loss(input, target, reduction=reduction, delta=delta)


# ---------------------------------------------------------------------- of probabilities


_within_unit = Pointwise(lambda least, most: (least >= 0) & (most <= 1), "within_unit")


def _check_unit_interval(x: Any, target: Any, *_: Any, **__: Any) -> None:
    if x.dtype is not target.dtype:
        raise RuntimeError(
            f"Found dtype {scalar_type(target.dtype)} but expected {scalar_type(x.dtype)}"
        )
    for name, values in (("input", x._array), ("target", target._array)):
        axes = tuple(range(values.ndim))
        if values.size:
            within = _within_unit(reduce.amin(values, axes), reduce.amax(values, axes))
            require(within, partial(_refuse_values, name))


def _refuse_values(name: str) -> None:
    raise RuntimeError(f"all elements of {name} should be between 0 and 1")


def _times(value: Any, weight: Any) -> Any:
    return value if weight is None else value * weight


def _cross_entropy_of_bits(x: Any, target: Any, weight: Any, *, reduction: str = "mean") -> Any:
    hit, miss = s.maximum(s.log(floating(x)), -100), s.maximum(s.log1p(-x), -100)
    return _times((target - 1) * miss - target * hit, weight)


def _with_logits(
    x: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: str = "mean"
) -> Any:
    scale = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    return _times((1 - target) * floating(x) + scale * softplus_of(-x), weight)


def _with_logits_slope(g: Any, x: Any, target: Any, weight: Any, pos_weight: Any) -> Any:
    if pos_weight is None:
        return _times(g * (s.sigmoid(x) - target), weight)
    scale = 1 + (pos_weight - 1) * target
    return _times(g * ((1 - target) - scale * s.sigmoid(-x)), weight)


def _with_logits_target(g: Any, x: Any, target: Any, weight: Any, pos_weight: Any) -> Any:
    if pos_weight is None:
        return _times(-g * x, weight)
    return _times(g * ((pos_weight - 1) * softplus_of(-x) - x), weight)


_binary_cross_entropy = loss(
    _cross_entropy_of_bits,
    x=lambda g, x, target, weight: _times(g * (x - target) / s.maximum((1 - x) * x, 1e-12), weight),
    target=lambda g, x, target, weight: _times(g * (s.log1p(-x) - s.log(x)), weight),
    optional=("weight",),
    check=_check_unit_interval,
)
_binary_cross_entropy_with_logits = loss(
    _with_logits,
    x=_with_logits_slope,
    target=_with_logits_target,
    optional=("weight", "pos_weight"),
)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)), with logarithms of at least -100.

    Raises RuntimeError for values outside [0, 1], ValueError for different sizes.
    """
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    return _binary_cross_entropy(input, target, weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of the sigmoid of x, computed without overflow.

    ``pos_weight`` multiplies the loss of positives. Raises ValueError for different sizes.
    """
    if input.shape != target.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    return _binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction=reduction)


_relative_entropy = pointwise(
    lambda x, target: s.where(target == 0, 0, target * s.log(target)) - target * floating(x),
    x=lambda g, target: -g * target,
    target=lambda g, x, target: g * (s.log(target) + 1 - x),
    node="SubBackward0",
)
_relative_entropy_of_logs = pointwise(
    lambda x, target: s.exp(target) * (target - floating(x)),
    x=lambda g, target: -g * s.exp(target),
    target=lambda g, x, target: g * (s.exp(target) * (target - x + 1)),
    node="MulBackward0",
)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """The Kullback-Leibler divergence t (log t - x) of log-probabilities x from probabilities t.

    With ``log_target`` the targets are logarithms too. "batchmean" is the sum over the first size.
    """
    row = _relative_entropy_of_logs if log_target else _relative_entropy
    values = row(input, target)
    if reduction == "batchmean":
        return sum(values) / input.size(0) if input.ndim else sum(values)
    return reduced_by(values, reduction)


FUNCTIONS = {
    function.__name__: function
    for function in (
        mse_loss,
        l1_loss,
        smooth_l1_loss,
        huber_loss,
        binary_cross_entropy,
        binary_cross_entropy_with_logits,
        kl_div,
    )
}

register_rows(globals())
