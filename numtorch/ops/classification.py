"""Rows: softmax and the losses of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numtorch_kernels import Pointwise, classlosses, copying, index, norm, reduce
from numtorch_kernels import symbols as s
from numtorch_kernels.build import Loop
from numtorch_kernels.deferral import require

from ..autograd.mode import mode
from ..dtype import from_numpy_dtype, to_dtype, type_name
from ..tensor import Tensor, normalized_dim, wrap_array
from .apply import any_needs_grad, scalar_type
from .loss import reduced_by
from .reduced import check_reduction, reduced
from .signature import must_be_tensor
from .table import Op, first, op, register_rows

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]


# ---------------------------------------------------------------------- softmax


def _axis(x: Array, dim: int, function: str) -> int:
    """The dimension as a number from 0 on, of a floating-point array."""
    if not isinstance(dim, int):
        raise TypeError(
            f"{function}(): argument 'dim' (position 2) must be int, not {type_name(type(dim))}"
        )
    if x.dtype.kind != "f":
        raise NotImplementedError(f"\"{function}_kernel_impl\" not implemented for '{_kind(x)}'")
    return normalized_dim(dim, x.ndim)


def _by_rows(kernel: Callable[..., Array], function: str) -> Callable[..., Array]:
    """A kernel's function of arrays and a dimension, in which a 0-d array is one row."""

    def forward(x: Array, dim: int) -> Array:
        axis = _axis(x, dim, function)
        return kernel(x, axis) if x.ndim else kernel(x.reshape(1), axis).reshape(())

    return forward


def _backward_by_rows(kernel: Callable[..., Array]) -> Callable[..., Array]:
    def forward(grad: Array, output: Array, dim: int) -> Array:
        if not output.ndim:
            return kernel(grad.reshape(1), output.reshape(1), 0).reshape(())
        return kernel(grad, output, normalized_dim(dim, output.ndim))

    return forward


def _along(x: Any, dim: int) -> Any:
    return x.sum(dim, keepdim=True)


_softmax = op(
    _by_rows(norm.softmax, "softmax"),
    node="SoftmaxBackward0",
    x=lambda g, y, dim: _softmax_backward(g, y, dim),
)
_log_softmax = op(
    _by_rows(norm.log_softmax, "log_softmax"),
    node="LogSoftmaxBackward0",
    x=lambda g, y, dim: _log_softmax_backward(g, y, dim),
)
_softmax_backward: Op = op(
    _backward_by_rows(norm.softmax_backward),
    node="SoftmaxBackwardDataBackward0",
    grad=lambda g, output, dim: _softmax_backward(g, output, dim),
    output=lambda g, grad, output, dim: (
        g * (grad - _along(grad * output, dim)) - grad * _along(g * output, dim)
    ),
)
_log_softmax_backward: Op = op(
    _backward_by_rows(norm.log_softmax_backward),
    node="LogSoftmaxBackwardDataBackward0",
    grad=lambda g, output, dim: g - _along(g * output.exp(), dim),
    output=lambda g, grad, output, dim: -(g * output.exp() * _along(grad, dim)),
)


def _converted(x: Tensor, dtype: Any, function: str) -> Tensor:
    if not isinstance(x, Tensor):
        must_be_tensor(function, "input", 1, x)
    return x if dtype is None else x.to(to_dtype(dtype))


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along a dimension; converted to ``dtype`` first, if that is given.

    >>> import numtorch as torch
    >>> torch.softmax(torch.zeros(4), 0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return _softmax.function(_converted(input, dtype, "softmax"), dim)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of :func:`softmax`, computed without overflow or loss of small values."""
    return _log_softmax.function(_converted(input, dtype, "log_softmax"), dim)


# ---------------------------------------------------------------------- losses of classes

_is_number = Pointwise(lambda x: x == x, "is_number")
_counted = Pointwise(lambda target, ignored: target != ignored, "counted")
_looked_up = Pointwise(lambda target, counted: s.where(counted, target, 0), "looked_up")


def _check_sizes(x: Array, target: Array, weight: Array | None) -> None:
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
    kind = _kind(target)
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
        raise RuntimeError(f"expected scalar type {_kind(x)} but found {_kind(weight)}")


def _kind(x: Array) -> str:
    return scalar_type(from_numpy_dtype(x.dtype))


def _indices(target: Array) -> Array:
    """The classes as int64."""
    return target if target.dtype == np.int64 else copying.contiguous(target, np.dtype(np.int64))


def _last(x: Array) -> Array:
    """A view with the dimension of classes last."""
    return np.moveaxis(x, 1, -1) if x.ndim > 2 else x


def _back(x: Array) -> Array:
    """The view that :func:`_last` was given."""
    return np.moveaxis(x, -1, 1) if x.ndim > 2 else x


def _refuse_targets(target: Array, classes: int, ignore_index: int) -> None:
    """Raises the error for a target that is no class, if there is one."""
    used = _looked_up(target, _counted(target, np.int64(ignore_index)))
    wrong = index.out_of_range(used, 0, classes)
    if wrong is not None:
        raise IndexError(f"Target {wrong} is out of bounds.")


def _launched(
    kernel: Callable[..., tuple[Array, ...]],
    x: Array,
    target: Array,
    weight: Array | None,
    reduction: str,
    ignore_index: int,
) -> tuple[Array, ...]:
    """The reduced loss, the sum of the weights, and what else a kernel gives besides losses.

    Kernels give a target that is no class the weight NaN; so it shows in the sum.
    """
    if kernel is norm.cross_entropy and x.dtype.kind != "f":
        raise NotImplementedError(
            f"\"log_softmax_lastdim_kernel_impl\" not implemented for '{_kind(x)}'"
        )
    check_reduction(reduction)
    _check_sizes(x, target, weight)
    target = _indices(target)
    losses, *others, weights = kernel(_last(x), target, weight, ignore_index)
    axes = tuple(range(weights.ndim))
    total = reduce.sum(weights, axes)
    classes = x.shape[1 if x.ndim > 1 else 0]
    require(_is_number(total), lambda: _refuse_targets(target, classes, ignore_index))
    if reduction == "mean":
        loss = reduce.MEAN(losses, axes, False, losses.dtype, scale=total)
    else:
        loss = reduced(losses, reduction)
    return loss, total, weights, *others


def _forwards(
    kernel: Callable[..., tuple[Array, ...]], loop_for: Callable[[Dtype], Loop]
) -> tuple[Callable[..., tuple[Array, ...]], Callable[..., Array]]:
    """The forwards of a loss: with what its gradient needs, and without."""

    def forward(
        x: Array,
        target: Array,
        weight: Array | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
    ) -> tuple[Array, ...]:
        few = classlosses.reduced(loop_for, x, target, weight, reduction, ignore_index)
        if few is None:
            return _launched(kernel, x, target, weight, reduction, ignore_index)
        loss, total, results = few
        return loss, total, results[-1], *results[1:-1]

    def value(
        x: Array,
        target: Array,
        weight: Array | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
    ) -> Array:
        few = classlosses.reduced(loop_for, x, target, weight, reduction, ignore_index)
        if few is None:
            return _launched(kernel, x, target, weight, reduction, ignore_index)[0]
        return few[0]

    return forward, value


def _shares(g: Any, total: Any, weights: Any, reduction: str) -> Any:
    """The gradient of each row's unweighted loss."""
    scale = g * weights.detach()
    return scale / total.detach() if reduction == "mean" else scale


def _nll_x(g: Any, x_shape: Any, target: Any, weights: Any, total: Any, reduction: str) -> Any:
    classes = x_shape[1 if len(x_shape) > 1 else 0]
    return _placed(_shares(g, total, weights, reduction), target, classes)


def _placed_forward(scale: Array, target: Array, classes: int) -> Array:
    """-scale at the class of each target, else 0."""
    return _back(norm.nll_backward(_indices(target), scale, classes))


def _looked_up_rows(g: Any, target: Any) -> Any:
    axis = 1 if g.ndim > 1 else 0
    present = target.clamp(0, g.size(axis) - 1).long()
    picked = -g.gather(axis, present.unsqueeze(axis)).squeeze(axis)
    return picked.where(present == target, picked * 0)


def _cross_entropy_x(
    g: Any, x: Any, target: Any, lse: Any, weights: Any, total: Any, reduction: str
) -> Any:
    scale = _shares(g, total, weights, reduction)
    if mode.recording:
        axis = 1 if x.ndim > 1 else 0
        return softmax(x, axis) * scale.unsqueeze(axis) + _placed(scale, target, x.size(axis))
    logits, classes = _last(x._array), _indices(target._array)
    return wrap_array(_back(norm.cross_entropy_backward(logits, classes, lse._array, scale._array)))


def _nll_node(x: Any, *_: Any) -> str:
    return "NllLossBackward0" if x.ndim <= 2 else "NllLoss2DBackward0"


_nll_forward, _nll_alone = _forwards(norm.nll, norm.nll_loop)
_cross_entropy_forward, _cross_entropy_alone = _forwards(
    norm.cross_entropy, norm.cross_entropy_loop
)

_placed = op(_placed_forward, scale=_looked_up_rows)
_nll_value = op(_nll_alone)
_nll_loss = op(
    _nll_forward,
    node=_nll_node,
    outputs=("loss", "total", "weights"),
    pack=first,
    x=_nll_x,
)
_cross_entropy_value = op(_cross_entropy_alone)
_cross_entropy = op(
    _cross_entropy_forward,
    node=_nll_node,
    outputs=("loss", "total", "weights", "lse"),
    pack=first,
    x=_cross_entropy_x,
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
    row = _nll_loss if mode.recording and any_needs_grad((input, weight)) else _nll_value
    return row.function(input, target, weight, reduction, ignore_index)


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
    if not isinstance(input, Tensor):
        must_be_tensor("cross_entropy_loss", "input", 1, input)
    if not isinstance(target, Tensor):
        must_be_tensor("cross_entropy_loss", "target", 2, target)
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    if input._array.shape == target._array.shape:
        if not target.is_floating_point():
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, "
                f"got {scalar_type(target.dtype)}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        logarithms = log_softmax(input, 0 if input.ndim == 1 else 1)
        return _of_probabilities(logarithms, target, weight, reduction, label_smoothing)
    if label_smoothing == 0:
        needs_grad = mode.recording and any_needs_grad((input, weight))
        row = _cross_entropy if needs_grad else _cross_entropy_value
        return row.function(input, target, weight, reduction, ignore_index)
    logarithms = log_softmax(input, 0 if input.ndim == 1 else 1)
    return _smoothed(logarithms, target, weight, reduction, ignore_index, label_smoothing)


def _class_weights(like: Tensor, weight: Tensor) -> Any:
    """The weights in the shape in which they broadcast along the classes."""
    return weight if like.ndim == 1 else weight.reshape(1, -1, *(1,) * (like.ndim - 2))


def _of_probabilities(
    logarithms: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Tensor:
    axis = 0 if logarithms.ndim == 1 else 1
    classes = logarithms.size(axis)
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = target * _class_weights(logarithms, weight)
    products = logarithms * target
    if reduction == "none":
        return -products.sum(axis)
    total = -products.sum()
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
    picked: Any = nll_loss(logarithms, target, weight, reduction, ignore_index)
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
    return picked * (1 - label_smoothing) + spread * share


register_rows(globals())

FUNCTIONS = {
    "softmax": _softmax.entry(softmax, is_method=False),
    "log_softmax": _log_softmax.entry(log_softmax, is_method=False),
    "nll_loss": nll_loss,
    "cross_entropy": cross_entropy,
}
METHODS = {
    "softmax": _softmax.entry(softmax),
    "log_softmax": _log_softmax.entry(log_softmax),
}
