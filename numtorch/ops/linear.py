"""Rows: products of vectors and matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from numtorch_kernels import Pointwise
from numtorch_kernels.calls.batches import BatchCalls
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.product import ProductCalls
from numtorch_kernels.matmul import matmul as product
from numtorch_kernels.matmul import small_loops

from ..size import Size
from ..tensor import Tensor
from .apply import apply
from .signature import must_be_tensor
from .table import Op, Rule, op, register_rows
from .views import expanded_size

Array = np.ndarray[Any, Any]


def _sizes(x: Array) -> str:
    return "x".join(map(str, x.shape))


def _same_dtype(a: Array, b: Array) -> None:
    if a.dtype.kind == "b" and b.dtype.kind == "b":
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    if a.dtype != b.dtype:
        names = {"float32": "float", "float64": "double", "int64": "long", "int32": "int"}
        left, right = (names.get(x.dtype.name, x.dtype.name) for x in (a, b))
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {left} != {right}")


def _mm(x: Array, mat2: Array) -> Array:
    if x.ndim == 2 == mat2.ndim and x.shape[1] == mat2.shape[0]:
        if x.dtype != mat2.dtype or x.dtype.kind == "b":
            _same_dtype(x, mat2)
        return product(x, mat2)
    for name, matrix in (("self", x), ("mat2", mat2)):
        if matrix.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    raise RuntimeError(
        f"mat1 and mat2 shapes cannot be multiplied ({_sizes(x)} and {_sizes(mat2)})"
    )


def _mv(x: Array, vec: Array) -> Array:
    if x.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {x.ndim}, {vec.ndim}")
    if x.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({x.shape[0]}), mat ({_sizes(x)}), vec ({vec.shape[0]})"
        )
    if x.dtype != vec.dtype:
        matrix, vector = scalar_type_of(x), scalar_type_of(vec)
        raise RuntimeError(
            "addmv input tensors must have the same dtype, "
            f"but got {vector}, {matrix}, and {vector}"
        )
    return product(x, vec)


def _dot(x: Array, tensor: Array) -> Array:
    if x.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {x.ndim}D and {tensor.ndim}D tensors")
    if x.dtype != tensor.dtype:
        left, right = (scalar_type_of(each) for each in (x, tensor))
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {left} and {right}"
        )
    if x.shape != tensor.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{x.size}] and src [{tensor.size}] to have "
            f"the same number of elements, but got {x.size} and {tensor.size} elements respectively"
        )
    return product(x, tensor)


def scalar_type_of(x: Array) -> str:
    """PyTorch's C++ name of an ndarray's dtype."""
    names = {"float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int"}
    return names.get(x.dtype.name, x.dtype.name.capitalize())


def _bmm(x: Array, mat2: Array) -> Array:
    for name, batch in (("batch1", x), ("batch2", mat2)):
        if batch.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if x.shape[0] != mat2.shape[0] or x.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{x.shape[0]}, {x.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    _same_dtype(x, mat2)
    return product(x, mat2)


def _broadcast_product(x: Array, mat2: Array) -> Array:
    _same_dtype(x, mat2)
    if x.ndim > 1 and mat2.ndim > 1:
        try:
            np.broadcast_shapes(x.shape[:-2], mat2.shape[:-2])
        except ValueError:
            _refuse_batches(x.shape[:-2], mat2.shape[:-2])
    _check_vector_or_inner(x, mat2)
    return product(x, mat2)


def _refuse_batches(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    for place in range(1, min(len(a), len(b)) + 1):
        if a[-place] != b[-place] and 1 not in (a[-place], b[-place]):
            dim = max(len(a), len(b)) - place
            raise RuntimeError(
                f"The size of tensor a ({a[-place]}) must match the size of tensor b ({b[-place]}) "
                f"at non-singleton dimension {dim}"
            )


def _check_vector_or_inner(a: Array, b: Array) -> None:
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        rows = a.size // a.shape[-1] if a.shape[-1] else 0
        if b.ndim == 1:
            raise RuntimeError(
                f"size mismatch, got input ({rows}), mat ({rows}x{a.shape[-1]}), vec ({inner})"
            )
        if b.ndim == 2:
            columns = b.shape[-1]
            raise RuntimeError(
                "mat1 and mat2 shapes cannot be multiplied "
                f"({rows}x{a.shape[-1]} and {inner}x{columns})"
            )
        batch = int(np.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])))
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{batch}, {a.shape[-1]}] but got: [{batch}, {inner}]."
        )


def _left_gradient(g: Tensor, mat2: Tensor, x_shape: Size) -> Any:
    """The gradient of the left factor of a broadcast product."""
    if mat2.ndim == 1:
        return g.unsqueeze(-1) * mat2
    g = g.unsqueeze(-2) if len(x_shape) == 1 else g
    full = matmul(g, mat2.mT)
    return full.squeeze(-2).sum_to_size(x_shape) if len(x_shape) == 1 else full.sum_to_size(x_shape)


def _right_gradient(g: Tensor, x: Tensor, mat2_shape: Size) -> Any:
    """The gradient of the right factor of a broadcast product."""
    if len(mat2_shape) <= 2 and x.ndim > 1:
        rows = x.reshape(-1, x.shape[-1]).t()
        columns = g.reshape(rows.shape[1], -1)
        return mm(rows, columns).reshape(mat2_shape)
    if x.ndim == 1:
        return (x.unsqueeze(-1) * g.unsqueeze(-2)).sum_to_size(mat2_shape)
    return matmul(x.mT, g).sum_to_size(mat2_shape)


class ProductOp(Op):
    """The product of matrices or of vectors: most do not come here once their loops are known."""

    kinds_say_all = True

    def __init__(self, dimensions: int, forward: Callable[..., Any], **rules: Rule) -> None:
        super().__init__(forward, rules)
        self.dimensions = dimensions  # of the operands

    def make_calls(self) -> Calls:
        """What answers calls with the usual operands."""
        return ProductCalls(self.dimensions, self._note)

    def compute(self, arguments: tuple[Any, ...]) -> Tensor:
        """The product, whose loops are noted."""
        result: Tensor = super().compute(arguments)
        x, kind = arguments[0]._array, result.dtype
        if isinstance(self.calls, ProductCalls) and x.dtype.kind != "b":
            self.calls.plans.learn(kind.numpy, kind, small_loops(kind.numpy))
        return result


class BatchOp(Op):
    """The product of batches of matrices: most do not come here once their loop is known."""

    def __init__(self, *arguments: Any, strict: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.strict = strict  # about batches, which are equal

    def make_calls(self) -> Calls:
        """What answers calls with the usual operands, and calls the forward with others."""
        return self.forward_calls(partial(BatchCalls, strict=self.strict))

    def compute(self, arguments: tuple[Any, ...]) -> Tensor:
        """The product, whose loop is noted."""
        result: Tensor = super().compute(arguments)
        kind = result.dtype
        if isinstance(self.calls, BatchCalls):
            self.calls.learn(small_loops(kind.numpy)[0], kind)
        return result


mm: Op = ProductOp(
    2,
    _mm,
    x=lambda g, mat2: mm(g, mat2.t()),
    mat2=lambda g, x: mm(x.t(), g),
)
mv: Op = op(
    _mv,
    x=lambda g, vec: g.unsqueeze(1) * vec,
    vec=lambda g, x: mv(x.t(), g),
)
dot = ProductOp(1, _dot, x=lambda g, tensor: g * tensor, tensor=lambda g, x: g * x)
bmm: Op = BatchOp(
    _bmm,
    {
        "x": lambda g, mat2: bmm(g, mat2.transpose(1, 2)),
        "mat2": lambda g, x: bmm(x.transpose(1, 2), g),
    },
    strict=True,
)
_matmul_row = BatchOp(
    _broadcast_product,
    {"x": _left_gradient, "mat2": _right_gradient},
    node="UnsafeViewBackward0",
)


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of vectors, matrices, or batches of matrices that broadcast.

    Two vectors give their dot product (0-d); a matrix and a vector, a vector; of more dimensions,
    the last two are matrices and those before broadcast. Both have the same dtype.

    Raises RuntimeError for sizes that do not match, different dtypes, and 0-d tensors.

    >>> import numtorch as torch
    >>> torch.matmul(torch.ones(2, 3), torch.ones(3))
    tensor([3., 3.])
    """
    for position, (name, x) in enumerate((("input", input), ("other", other))):
        if not isinstance(x, Tensor):
            must_be_tensor("matmul", name, position + 1, x)
    dims = (input._array.ndim, other._array.ndim)
    if 0 in dims:
        raise RuntimeError(
            "both arguments to matmul need to be at least 1D, "
            f"but they are {dims[0]}D and {dims[1]}D"
        )
    if dims == (1, 2) and out is None:
        return mm(input.unsqueeze(0), other).squeeze(0)
    row = _BY_DIMENSIONS.get(dims, _matmul_row)
    # Compiled calls leave keywords to Python.
    return row.function(input, other) if out is None else row.function(input, other, out=out)


_BY_DIMENSIONS = {(2, 2): mm, (2, 1): mv, (1, 1): dot}


def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of all pairs of elements of two vectors: sizes (n) and (m) give (n, m)."""
    for name, x in (("self", input), ("vec2", vec2)):
        if x.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.ndim}-D")
    column = input.unsqueeze(1)
    return column.mul(vec2) if out is None else column.mul(vec2, out=out)


_sum_kernel = Pointwise(lambda x, p: x + p, "sum")
_scaled_kernel = Pointwise(lambda x, p, beta, alpha: beta * x + alpha * p, "scaled_sum")
_alpha_kernel = Pointwise(lambda p, alpha: alpha * p, "scale")


def _plus(x: Array, products: Array, beta: float, alpha: float) -> Array:
    """beta x + alpha products; x is not read where beta is 0."""
    expanded_size(x.shape, products.shape)
    if products.dtype.kind != "f":
        beta, alpha = int(beta), int(alpha)
    if beta == 0:
        return products if alpha == 1 else _alpha_kernel(products, alpha)
    if beta == 1 and alpha == 1:
        return _sum_kernel(x, products)
    return _scaled_kernel(x, products, beta, alpha)


def _addmm(x: Array, mat1: Array, mat2: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    for name, matrix in (("mat1", mat1), ("mat2", mat2)):
        if matrix.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {matrix.ndim}-D tensor")
    return _plus(x, _mm(mat1, mat2), beta, alpha)


def _addmv(x: Array, mat: Array, vec: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    return _plus(x, _mv(mat, vec), beta, alpha)


def _baddbmm(x: Array, batch1: Array, batch2: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    return _plus(x, _bmm(batch1, batch2), beta, alpha)


def _scaled(g: Tensor, factor: float) -> Tensor:
    return g if factor == 1 else g * factor


addmm = op(
    _addmm,
    x=lambda g, x_shape, beta: _scaled(g.sum_to_size(x_shape), beta),
    mat1=lambda g, mat2, alpha: _scaled(mm(g, mat2.t()), alpha),
    mat2=lambda g, mat1, alpha: _scaled(mm(mat1.t(), g), alpha),
)
addmv = op(
    _addmv,
    x=lambda g, x_shape, beta: _scaled(g.sum_to_size(x_shape), beta),
    mat=lambda g, vec, alpha: _scaled(g.unsqueeze(1) * vec, alpha),
    vec=lambda g, mat, alpha: _scaled(mv(mat.t(), g), alpha),
)
baddbmm = op(
    _baddbmm,
    x=lambda g, x_shape, beta: _scaled(g.sum_to_size(x_shape), beta),
    batch1=lambda g, batch2, alpha: _scaled(bmm(g, batch2.transpose(1, 2)), alpha),
    batch2=lambda g, batch1, alpha: _scaled(bmm(batch1.transpose(1, 2), g), alpha),
)


def _operator(self: Tensor, other: Any) -> Any:
    """``self @ other``."""
    if not isinstance(other, Tensor):
        return NotImplemented
    if self._array.ndim == 2 == other._array.ndim:
        return apply(mm, (self, other))
    return matmul(self, other)


def _reflected(self: Tensor, other: Any) -> Any:
    """``other @ self``, which Python asks for where ``other`` is no tensor."""
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


for _row in (mm, bmm, addmm, baddbmm):
    _row.out_may_cast = False
register_rows(globals())

FUNCTIONS = {
    "matmul": mm.entry(matmul, is_method=False),
    "outer": outer,
    "ger": outer,
}
METHODS = {
    **FUNCTIONS,
    "matmul": mm.entry(matmul),
    "__matmul__": mm.entry(_operator),
    "__rmatmul__": _reflected,
}
