"""Rows: what layers compute with their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numtorch_kernels import copying, index, matmul, memory, picking, reduce, sort
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.linear import LinearCalls
from numtorch_kernels.deferral import settled

from ..autograd.mode import no_grad
from ..dtype import TENSOR_TYPES, from_numpy_dtype, int64
from ..tensor import Tensor, wrap, wrap_array
from .apply import scalar_type, write
from .linear import matmul as product
from .linear import mm
from .signature import must_be_tensor
from .table import Op, op, register_rows
from .views import expanded_size

Array = np.ndarray[Any, Any]


def _kind(x: Array) -> str:
    return scalar_type(from_numpy_dtype(x.dtype))


# ---------------------------------------------------------------------- linear maps


def _linear_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    if not x.ndim or not weight.ndim:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {x.ndim}D and "
            f"{weight.ndim}D"
        )
    if weight.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {weight.ndim}D")
    rows = x.size // x.shape[-1] if x.shape[-1] else 0
    if x.shape[-1] != weight.shape[-1]:
        shape = "x".join(map(str, weight.shape[::-1]))
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and {shape})"
        )
    if x.dtype != weight.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {_kind(x)} and {_kind(weight)}"
        )
    if weight.ndim == 1:
        if bias is not None and bias.ndim:
            raise RuntimeError("mat2 must be a matrix, got 1-D tensor")
        if bias is None:
            return matmul.matmul(x, weight)
        return matmul.linear(x, weight[None], bias.reshape(1))[..., 0]
    if bias is not None:
        if bias.dtype != x.dtype:
            raise RuntimeError(
                f"self and mat2 must have the same dtype, but got {_kind(bias)} and {_kind(weight)}"
            )
        expanded_size(bias.shape, (*x.shape[:-1], weight.shape[0]))
    return matmul.linear(x, weight, bias)


def _check_linear(*arguments: Any) -> None:
    for position, (name, x) in enumerate(zip(("input", "weight", "bias"), arguments, strict=False)):
        if not (isinstance(x, Tensor) or (x is None and name == "bias")):
            must_be_tensor("linear", name, position + 1, x)


def _linear_node(x: Any, weight: Any, bias: Any = None) -> str:
    if weight.ndim == 1:
        return "MvBackward0"
    if x.ndim == 2:
        return "MmBackward0" if bias is None else "AddmmBackward0"
    if bias is not None:
        return "ViewBackward0"
    return "SqueezeBackward4" if x.ndim == 1 else "UnsafeViewBackward0"


def _rows(x: Any) -> Any:
    """The last dimension of all vectors in a tensor, as the rows of a matrix."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _linear_x(g: Any, weight: Any) -> Any:
    if g._array.ndim == 2:
        return mm.function(g, weight)
    return g.unsqueeze(-1) * weight if weight.ndim == 1 else product(g, weight)


def _linear_bias(g: Any, bias_shape: Any) -> Any:
    if g._array.ndim == 2 and bias_shape == g._array.shape[1:]:
        return g.sum(0)
    return g.sum_to_size(bias_shape)


def _linear_weight(g: Any, x: Any, weight_shape: Any) -> Any:
    if g._array.ndim == 2:
        return mm.function(g.t(), x)
    if len(weight_shape) == 1:
        return (g.unsqueeze(-1) * x).sum_to_size(weight_shape)
    return mm(_rows(g).t(), _rows(x)) if x.ndim > 1 else g.unsqueeze(1) * x


class LinearOp(Op):
    """The linear map: most calls do not come here once its loops are known."""

    kinds_say_all = True

    def make_calls(self) -> Calls:
        """What answers calls with matrices, and calls the forward with other tensors."""
        return self.forward_calls(LinearCalls)

    def compute(self, arguments: tuple[Any, ...]) -> Tensor:
        """The result, whose loops are noted."""
        result: Tensor = super().compute(arguments)
        kind = result.dtype
        if isinstance(self.calls, LinearCalls) and kind.is_floating_point:
            self.calls.plans.learn(kind.numpy, kind, matmul.small_loops(kind.numpy))
        return result


linear = LinearOp(
    _linear_forward,
    {
        "x": _linear_x,
        "weight": _linear_weight,
        "bias": _linear_bias,
    },
    node=_linear_node,
    check=_check_linear,
)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x1 W[k] x2 for each k: sizes (..., n), (..., m) and (K, n, m) give (..., K).

    Raises RuntimeError for sizes that do not fit.
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match: "
            f"got {list(input1.shape)} and {list(input2.shape)}"
        )
    for number, x in ((1, input1), (2, input2)):
        if x.size(-1) != weight.size(number):
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: "
                f"got {x.size(-1)} but expected {weight.size(number)}"
            )
    outputs, n, m = weight.shape
    first, second = _rows(input1), _rows(input2)
    pairs = (first.unsqueeze(2) * second.unsqueeze(1)).reshape(-1, n * m)
    y = linear(pairs, weight.reshape(outputs, n * m), bias)
    return y.reshape(*input1.shape[:-1], outputs)


# ---------------------------------------------------------------------- looking up


def _embedding_forward(
    weight: Array,
    indices: Array,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    few = picking.select(weight, 0, indices)
    if few is not None:
        return few
    if _kind(indices) not in ("Long", "Int"):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {TENSOR_TYPES[indices.dtype.name]} instead (while checking "
            "arguments for embedding)"
        )
    places = _flat_indices(indices)
    if index.out_of_range(places, 0, weight.shape[0]) is not None:
        raise IndexError("index out of range in self")
    return index.index_select(weight, 0, places).reshape(*indices.shape, weight.shape[1])


def _rows_added(grad: Array, indices: Array, rows: int, padding_idx: int) -> Array:
    """Zeros with each of the gradient's rows added to the row that it was looked up from."""
    width = grad.shape[-1]
    out = memory.empty((rows, width), grad.dtype)
    out.fill(0)
    index.index_add(out, 0, _flat_indices(indices), copying.reshaped(grad, -1, width))
    if padding_idx >= 0:
        out[padding_idx] = 0
    return out


def _flat_indices(indices: Array) -> Array:
    """The indices in one dimension, as int64."""
    if indices.dtype != np.int64:
        return copying.contiguous(indices, int64.numpy).reshape(-1)
    return copying.flat(indices)


def _by_frequency(g: Tensor, indices: Tensor, rows: int) -> Tensor:
    """The gradient divided by how often each row was looked up."""
    counts = wrap(index.bincount(_flat_indices(indices._array), rows), int64)
    return g / counts[indices].unsqueeze(-1)


def _looked_up_again(g: Tensor, indices: Tensor, padding_idx: int) -> Tensor:
    """The derivative of the embedding's gradient by the incoming gradient."""
    if padding_idx >= 0:
        g = g.index_fill(0, wrap_array(np.array([padding_idx])), 0)
    return _embedding(g, indices)


_embedding = op(
    _embedding_forward,
    node="EmbeddingBackward0",
    weight=lambda g, indices, weight_shape, padding_idx, scale_grad_by_freq: _embedding_backward(
        _by_frequency(g, indices, weight_shape[0]) if scale_grad_by_freq else g,
        indices,
        weight_shape[0],
        padding_idx,
    ),
)
_embedding_backward: Op = op(
    _rows_added,
    node="EmbeddingDenseBackwardBackward0",
    grad=lambda g, indices, padding_idx: _looked_up_again(g, indices, padding_idx),
)


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` (n, m) at the indices: of their size, and m.

    The row ``padding_idx`` gets no gradient; with ``scale_grad_by_freq`` each row's gradient is
    divided by how often it was looked up. Raises IndexError for an index out of range.
    """
    if not isinstance(weight, Tensor):
        must_be_tensor("embedding", "weight", 1, weight)
    if not isinstance(indices, Tensor):
        must_be_tensor("embedding", "indices", 2, indices)
    return _embedding.function(weight, indices, padding_idx, scale_grad_by_freq)


def renormalise_rows(weight: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    """Scales the rows at the indices in place to norms of at most ``max_norm``."""
    with no_grad():
        places = wrap(sort.unique(_flat_indices(indices._array))[0], int64)
        rows = weight[places]
        norms = rows.norm(norm_type, 1, keepdim=True)
        scales = (max_norm / (norms + 1e-7)).where(norms > max_norm, norms * 0 + 1)
        weight[places] = rows * scales


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Class numbers as rows of zeros with a single one: of their size, and the number of classes.

    Raises RuntimeError for classes that are negative or too high, or not int64.

    >>> import numtorch as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if not isinstance(input, Tensor):
        must_be_tensor("one_hot", "input", 1, input)
    if input.dtype is not int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    classes = input._array
    few = picking.one_hot(classes, num_classes)
    if few is not None:
        return wrap(few, int64)
    if not classes.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if not classes.size:
        return wrap(np.zeros((*classes.shape, num_classes), np.int64), int64)
    axes = tuple(range(classes.ndim))
    with settled():
        lowest, highest = (int(extreme(classes, axes)) for extreme in (reduce.amin, reduce.amax))
    if lowest < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes != -1 and highest >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return wrap(index.one_hot(classes, highest + 1 if num_classes == -1 else num_classes), int64)


# ---------------------------------------------------------------------- padding


def _inner(x: Any, pad: Sequence[int], sign: int) -> Any:
    """The part of an array that padding by ``sign * pad`` takes away, as a view."""
    slices = []
    for axis, size in enumerate(x.shape):
        before, after = _amounts(pad, len(x.shape) - 1 - axis)
        slices.append(slice(max(sign * before, 0), size - max(sign * after, 0)))
    return x[tuple(slices)]


def _amounts(pad: Sequence[int], place: int) -> tuple[int, int]:
    """How much is added before and after a dimension, counted from the last."""
    return (pad[2 * place], pad[2 * place + 1]) if 2 * place < len(pad) else (0, 0)


def _constant_pad_forward(x: Array, pad: Sequence[int], value: float = 0) -> Array:
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * x.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(pad)} and input of dimension {x.ndim}"
        )
    shape = []
    for axis, size in enumerate(x.shape):
        before, after = _amounts(pad, x.ndim - 1 - axis)
        if min(size + before, size + after, size + before + after) < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
        shape.append(size + before + after)
    out = memory.empty(tuple(shape), x.dtype)
    out.fill(value)
    write(_inner(out, pad, 1), _inner(x, pad, -1))
    return out


constant_pad_nd: Op = op(
    _constant_pad_forward,
    x=lambda g, pad: constant_pad_nd(g, [-amount for amount in pad]),
)


def _places(size: int, before: int, after: int, mode: str) -> Array:
    """Which element of a dimension stands at each place of the padded dimension.

    Raises RuntimeError where the padding would repeat the dimension more than once.
    """
    places = np.arange(-before, size + after)
    if mode == "replicate":
        return places.clip(0, max(size - 1, 0))
    if mode == "circular":
        if max(before, after) > size:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        start = max(-before, 0)
        kept = size - start - max(-after, 0)
        return start + np.arange(-max(before, 0), kept + max(after, 0)) % max(kept, 1)
    if max(before, after) >= size:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({before}, {after}) at a dimension of size {size}"
        )
    return (size - 1) - abs((size - 1) - abs(places))


def pad_from_within(input: Any, pad: Sequence[int], mode: str) -> Tensor:
    """Pads with elements of the input: mirrored ("reflect"), the last ("replicate"), "circular".

    Raises NotImplementedError for other modes, and for more dimensions than PyTorch takes.
    """
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    dims = len(pad) // 2
    if len(pad) % 2 or input.ndim not in (dims + 1, dims + 2) or not 1 <= dims <= 3:
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    for place in range(dims):
        axis = input.ndim - 1 - place
        before, after = _amounts(pad, place)
        places = _places(input.size(axis), before, after, mode)
        input = input.index_select(axis, wrap(places, int64))
    return input


FUNCTIONS = {"bilinear": bilinear, "embedding": embedding}

register_rows(globals())
