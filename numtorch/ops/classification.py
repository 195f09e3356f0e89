"""Rows: softmax and the losses of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from numtorch_kernels import Pointwise, index, memory, norm, reduce
from numtorch_kernels import symbols as s

from ..dtype import from_numpy_dtype, to_dtype, type_name
from ..size import Size
from ..tensor import Tensor, normalized_dim
from .apply import scalar_type
from .loss import reduced_by
from .reduced import check_reduction, reduced
from .signature import must_be_tensor
from .table import op, register_rows

Array = np.ndarray[Any, Any]


# ---------------------------------------------------------------------- softmax


def _axis(x: Array, dim: int, function: str) -> int:
    """The dimension as a number from 0 on, of a floating-point array."""
    if not isinstance(dim, int):
        raise TypeError(
            f"{function}(): argument 'dim' (position 2) must be int, not {type_name(type(dim))}"
        )
    if x.dtype.kind != "f":
        kind = scalar_type(from_numpy_dtype(x.dtype))
        raise NotImplementedError(f"\"{function}_kernel_impl\" not implemented for '{kind}'")
    return normalized_dim(dim, x.ndim)


def _softmax_forward(x: Array, dim: int) -> Array:
    return norm.softmax(x, _axis(x, dim, "softmax"))


def _log_softmax_forward(x: Array, dim: int) -> Array:
    return norm.log_softmax(x, _axis(x, dim, "log_softmax"))


def _along(x: Any, dim: int) -> Any:
    return x.sum(dim, keepdim=True)


_softmax = op(
    _softmax_forward,
    node="SoftmaxBackward0",
    x=lambda g, y, dim: _softmax_backward(g, y, dim),
)
_log_softmax = op(
    _log_softmax_forward,
    node="LogSoftmaxBackward0",
    x=lambda g, y, dim: _log_softmax_backward(g, y, dim),
)
_softmax_backward = op(
    lambda grad, y, dim: norm.softmax_backward(grad, y, normalized_dim(dim, y.ndim)),
    node="SoftmaxBackwardDataBackward0",
    grad=lambda g, y, dim: _softmax_backward(g, y, dim),
    y=lambda g, grad, y, dim: g * (grad - _along(grad * y, dim)) - grad * _along(g * y, dim),
)
_log_softmax_backward = op(
    lambda grad, y, dim: norm.log_softmax_backward(grad, y, normalized_dim(dim, y.ndim)),
    node="LogSoftmaxBackwardDataBackward0",
    grad=lambda g, y, dim: g - _along(g * y.exp(), dim),
    y=lambda g, grad, y, dim: -(g * y.exp() * _along(grad, dim)),
)


def _converted(x: Tensor, dtype: Any, function: str) -> Tensor:
    if not isinstance(x, Tensor):
        must_be_tensor(function, "input", 1, x)
    return x if dtype is None else x.to(to_dtype(dtype))  # type: ignore[attr-defined]


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along a dimension; converted to ``dtype`` first, if that is given.

    >>> import numtorch as torch
    >>> torch.softmax(torch.zeros(4), 0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return _softmax(_converted(input, dtype, "softmax"), dim)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of :func:`softmax`, computed without overflow or loss of small values."""
    return _log_softmax(_converted(input, dtype, "log_softmax"), dim)


# ---------------------------------------------------------------------- losses of classes

_counted = Pointwise(lambda target, ignored: target != ignored, "counted")
_looked_up = Pointwise(lambda target, counted: s.where(counted, target, 0), "looked_up")
_negated = Pointwise(lambda x, weight: -x * weight, "negated")
_quotient = Pointwise(lambda x, total: x / total, "quotient")


def _check_sizes(x: Any, target: Any, weight: Any = None) -> None:
    """Raises PyTorch's errors where sizes or the targets' dtype do not fit."""
    if not x.ndim:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    batched = x.ndim > 1
    if batched and (not target.ndim or x.shape[0] != target.shape[0]):
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size "
            f"({target.shape[0] if target.ndim else 0})."
        )
    expected = (x.shape[0], *x.shape[2:]) if batched else ()
    if target.shape != expected:
        if x.ndim <= 2:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    kind = scalar_type(from_numpy_dtype(target.dtype))
    if kind not in ("Long", "Byte"):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {kind}")
    classes = x.shape[1 if batched else 0]
    if weight is None:
        return
    if weight.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight.shape)}"
        )
    if weight.dtype != x.dtype:
        wanted, found = (scalar_type(from_numpy_dtype(each.dtype)) for each in (x, weight))
        raise RuntimeError(f"expected scalar type {wanted} but found {found}")


class _Classes:
    """Targets made ready: which class each row looks up, and with what weight."""

    def __init__(
        self,
        shape: tuple[int, ...],
        target: Array,
        weight: Array | None,
        ignore_index: int,
        kind: Any,
    ) -> None:
        self.axis = 1 if len(shape) > 1 else 0
        target = target.astype(np.int64, copy=False)
        counted = _counted(target, np.int64(ignore_index))
        classes = _looked_up(target, counted)
        wrong = index.out_of_range(classes, 0, shape[self.axis])
        if wrong is not None:
            raise IndexError(f"Target {wrong} is out of bounds.")
        weights = np.ones(shape[self.axis], kind) if weight is None else weight
        picked = index.index_select(weights, 0, classes.reshape(-1)).reshape(classes.shape)
        self.weights = index.masked_fill(picked, ~counted, np.zeros((), kind))
        self.places = np.expand_dims(classes, self.axis)


def _nll_forward(
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> tuple[Array, Array]:
    check_reduction(reduction)
    _check_sizes(x, target, weight)
    classes = _Classes(x.shape, target, weight, ignore_index, x.dtype)
    picked = index.gather(x, classes.axis, classes.places).squeeze(classes.axis)
    losses = _negated(picked, classes.weights)
    losses = index.masked_fill(losses, classes.weights == 0, np.zeros((), x.dtype))
    total = reduce.sum(classes.weights, tuple(range(losses.ndim)))
    if reduction == "mean":
        return _quotient(reduced(losses, "sum"), total), total
    return reduced(losses, reduction), total


def _nll_backward_forward(
    grad: Array,
    total: Array,
    target: Array,
    weight: Array | None,
    shape: Size,
    reduction: str,
    ignore_index: int,
) -> Array:
    classes = _Classes(tuple(shape), target, weight, ignore_index, grad.dtype)
    slopes = _negated(_quotient(grad, total) if reduction == "mean" else grad, classes.weights)
    out = memory.empty(tuple(shape), grad.dtype)
    out.fill(0)
    return index.scatter(out, classes.axis, classes.places, np.expand_dims(slopes, classes.axis))


def _nll_node(x: Any, *_: Any) -> str:
    return "NllLossBackward0" if x.ndim <= 2 else "NllLoss2DBackward0"


_nll_loss = op(
    _nll_forward,
    node=_nll_node,
    outputs=("loss", "total"),
    pack=lambda results: results[0],
    x=lambda g, total, target, weight, x_shape, reduction, ignore_index: _nll_loss_backward(
        g, total, target, weight, x_shape, reduction, ignore_index
    ),
)
_nll_loss_backward = op(
    _nll_backward_forward,
    grad=lambda g, target, weight, reduction, ignore_index: _nll_loss(
        g, target, weight, reduction, ignore_index
    ),
)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Minus the log-probability of each target's class: input (N, C, ...), target (N, ...).

    ``weight`` (C) are weights of classes, over which the mean is; targets of ``ignore_index`` count
    nothing. Raises IndexError for a class out of range, and for sizes that do not fit ValueError or
    RuntimeError.
    """
    return _nll_loss(input, target, weight, reduction, ignore_index)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """:func:`nll_loss` of the logarithm of the softmax; targets are classes or probabilities.

    ``label_smoothing`` moves that share of each target to all classes equally.
    """
    for position, (name, x) in enumerate((("input", input), ("target", target))):
        if not isinstance(x, Tensor):
            must_be_tensor("cross_entropy_loss", name, position + 1, x)
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    logarithms = log_softmax(input, 0 if input.ndim == 1 else 1)
    if input.shape == target.shape:
        if not target.is_floating_point():
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, "
                f"got {scalar_type(target.dtype)}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _of_probabilities(logarithms, target, weight, reduction, label_smoothing)
    if label_smoothing == 0:
        return nll_loss(logarithms, target, weight, reduction, ignore_index)
    return _smoothed(logarithms, target, weight, reduction, ignore_index, label_smoothing)


def _class_weights(like: Tensor, weight: Tensor) -> Any:
    """The weights in the shape in which they broadcast along the classes."""
    return weight if like.ndim == 1 else weight.reshape(1, -1, *(1,) * (like.ndim - 2))  # type: ignore[attr-defined]


def _of_probabilities(
    logarithms: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Tensor:
    axis = 0 if logarithms.ndim == 1 else 1
    classes = logarithms.size(axis)
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = target * _class_weights(logarithms, weight)
    losses = -(logarithms * target)
    if reduction == "none":
        return losses.sum(axis)
    total = losses.sum()
    return total / (logarithms.numel() / classes) if reduction == "mean" else total


def _smoothed(
    logarithms: Any,
    target: Any,
    weight: Any,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    axis = 0 if logarithms.ndim == 1 else 1
    picked = nll_loss(logarithms, target, weight, reduction, ignore_index)
    ignored = target == ignore_index
    spread = logarithms if weight is None else logarithms * _class_weights(logarithms, weight)
    spread = (-spread.sum(axis)).masked_fill(ignored, 0.0)
    if reduction == "mean":
        if weight is None:
            total: Any = ignored.logical_not().sum()
        else:
            looked_up = target.masked_fill(ignored, 0)
            total = weight[looked_up].masked_fill(ignored, 0.0).sum()
        spread = spread.sum() / total
    else:
        spread = reduced_by(spread, reduction)
    share = label_smoothing / logarithms.size(axis)
    return (1 - label_smoothing) * picked + share * spread


FUNCTIONS = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "nll_loss": nll_loss,
    "cross_entropy": cross_entropy,
}
METHODS = {"softmax": softmax, "log_softmax": log_softmax}

register_rows(globals())
