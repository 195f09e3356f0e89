"""Rows: normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numtorch_kernels import norm
from numtorch_kernels.copying import flat, reshaped

from ..autograd.mode import mode
from ..dtype import finfo, from_numpy_dtype, promote_types
from ..tensor import Tensor, wrap_array
from .apply import scalar_type
from .signature import must_be_tensor
from .table import first, op, register_rows

Array = np.ndarray[Any, Any]


def _check_shapes(x: Any, shape: Sequence[int], weight: Any, bias: Any, star: str) -> None:
    """Raises PyTorch's errors where the normalised shape is not the last part of the input's."""
    sizes, own = tuple(shape), x._array.shape
    if not sizes:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            "element, but got normalized_shape = []"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != sizes:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(parameter.shape)} and normalized_shape = {list(sizes)}"
            )
    if own[-len(sizes) :] != sizes:
        wanted = ", ".join(map(str, sizes))
        raise RuntimeError(
            f"Given normalized_shape={list(sizes)}, expected input with shape [{star}{wanted}], "
            f"but got input of size{list(own)}"
        )


def _layer_norm_forward(
    x: Array, dims: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    if x.dtype.kind != "f":
        kind = scalar_type(from_numpy_dtype(x.dtype))
        raise NotImplementedError(f"\"LayerNormKernelImpl\" not implemented for '{kind}'")
    for parameter in (weight, bias):
        if parameter is not None and parameter.dtype != x.dtype:
            raise RuntimeError(
                "mixed dtype (CPU): expect parameter to have scalar type of "
                + scalar_type(from_numpy_dtype(x.dtype))
            )
    gain = None if weight is None else flat(weight)
    shift = None if bias is None else flat(bias)
    y, mean, rstd = norm.layer_norm(_rows(x, dims), gain, shift, eps)
    return y if dims == 1 else y.reshape(x.shape), mean, rstd


def _rows(x: Array, dims: int) -> Array:
    """The array with its last dimensions joined."""
    return x if dims == 1 else reshaped(x, *x.shape[: x.ndim - dims], -1)


class _Statistics:
    """The normalised input, and what gradients pass on their way to it, by tensor operations."""

    def __init__(self, x: Any, dims: int, eps: float) -> None:
        self.dims = _last(dims)
        centred = x - x.mean(self.dims, keepdim=True)
        self.scale = ((centred * centred).mean(self.dims, keepdim=True) + eps).rsqrt()
        self.normalised = centred * self.scale

    def through(self, g: Any) -> Any:
        """The gradient of the input, given that of the normalised input."""
        flat = g - g.mean(self.dims, keepdim=True)
        along = (g * self.normalised).mean(self.dims, keepdim=True)
        return self.scale * (flat - self.normalised * along)


def _last(dims: int) -> tuple[int, ...]:
    """The last dimensions."""
    return tuple(range(-dims, 0))


def _layer_norm_x(g: Any, x: Any, mean: Any, rstd: Any, weight: Any, dims: int, eps: float) -> Any:
    if mode.recording:
        weighted = g if weight is None else g * weight
        return _Statistics(x, dims, eps).through(weighted)
    grad = norm.layer_norm_backward(
        _rows(g._array, dims),
        _rows(x._array, dims),
        None if weight is None else flat(weight._array),
        mean._array,
        rstd._array,
    )
    return wrap_array(grad.reshape(x._array.shape))


def _layer_norm_weight_and_bias(
    g: Any, x: Any, mean: Any, rstd: Any, dims: int, eps: float
) -> tuple[Tensor, Tensor]:
    shape = x.shape[-dims:]
    if mode.recording:
        normalised = _Statistics(x, dims, eps).normalised
        return (g * normalised).sum_to_size(shape), g.sum_to_size(shape)
    by_weight, by_bias = norm.layer_norm_backward_weights(
        _rows(g._array, dims), _rows(x._array, dims), mean._array, rstd._array
    )
    return wrap_array(by_weight.reshape(shape)), wrap_array(by_bias.reshape(shape))


_layer_norm = op(
    _layer_norm_forward,
    node="NativeLayerNormBackward0",
    outputs=("y", "mean", "rstd"),
    pack=first,
    x=_layer_norm_x,
    weight_and_bias=_layer_norm_weight_and_bias,
)


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / standard deviation in the last dimensions, times weight, plus bias.

    Ba, Kiros and Hinton, Layer Normalization (2016).
    """
    if not isinstance(input, Tensor):
        must_be_tensor("layer_norm", "input", 1, input)
    _check_shapes(input, normalized_shape, weight, bias, "*, ")
    result: Tensor = _layer_norm.function(input, len(normalized_shape), weight, bias, eps)
    return result


def rms_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Tensor:
    """Divides x by the root of the mean of its squares in the last dimensions; times a weight.

    ``eps`` is added to the mean; by default it is the machine epsilon of the dtype. Zhang and
    Sennrich, Root Mean Square Layer Normalization (2019).
    """
    _check_shapes(input, normalized_shape, weight, None, "*")
    eps = finfo(input.dtype).eps if eps is None else eps
    squares = (input * input).mean(_last(len(normalized_shape)), keepdim=True)
    normalised = input * (squares + eps).rsqrt()
    return normalised if weight is None else normalised * weight


def normalize(
    input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Divides x by its p-norm along a dimension, which counts as at least ``eps``."""
    size = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return input.div(size) if out is None else input.div(size, out=out)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dimension; norms count as at least ``eps``.

    Raises RuntimeError where no operand is floating point.
    """
    kind = promote_types(x1.dtype, x2.dtype)
    if not kind.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {scalar_type(kind)}"
        )
    x1, x2 = x1.to(kind), x2.to(kind)
    shape = np.broadcast_shapes(x1._array.shape, x2._array.shape)
    units = []
    for x in (x1.expand(shape), x2.expand(shape)):
        size = x.norm(2, dim, keepdim=True)
        units.append(x / (size + (size.clamp_min(eps) - size).detach()))
    return (units[0] * units[1]).sum(dim)


FUNCTIONS = {"layer_norm": layer_norm, "rms_norm": rms_norm, "cosine_similarity": cosine_similarity}

register_rows(globals())
