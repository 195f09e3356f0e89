"""Rows: scans, which accumulate along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from numtorch_kernels import copying, scan
from numtorch_kernels.reduce import WIDE

from ..dtype import to_dtype
from ..size import Size
from ..tensor import Tensor, normalized_dim
from .joining import cat
from .named import named_result
from .reduction import nowhere_zero, sum
from .table import op, register_rows

Array = np.ndarray[Any, Any]


def _scanned(kernel: Any) -> Any:
    def forward(x: Array, dim: int, *, dtype: Any = None) -> Array:
        axis = normalized_dim(dim, x.ndim)
        kind = None if dtype is None else to_dtype(dtype).numpy
        if x.ndim:
            return kernel(x, axis, kind)
        return copying.contiguous(x, kind or WIDE[x.dtype])

    return forward


def _reversed_sums(x: Tensor, dim: int) -> Tensor:
    return cumsum(x.flip(dim), dim).flip(dim) if x.ndim else x


def _cumprod_gradient(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
    if not x.ndim or not x.numel():
        return g
    if nowhere_zero(x):
        return _reversed_sums(g * y, dim) / x
    parts = []
    for i in range(x.shape[dim]):
        before = x.narrow(dim, 0, i).prod(dim, keepdim=True)
        rest = x.narrow(dim, i + 1, x.shape[dim] - i - 1)
        later = cumprod(rest, dim) * g.narrow(dim, i + 1, rest.shape[dim])
        here = g.narrow(dim, i, 1)
        parts.append(before * (here + sum(later, dim, True)))
    return cat(parts, dim)


cumsum = op(
    _scanned(scan.cumsum),
    x=lambda g, x_dtype, dim: _reversed_sums(g, dim).to(x_dtype),
)
cumprod = op(_scanned(scan.cumprod), x=_cumprod_gradient)


def _scanned_pair(kernel: Any) -> Any:
    def forward(x: Array, dim: int) -> tuple[Array, Array]:
        axis = normalized_dim(dim, x.ndim)
        if not x.ndim:
            return copying.contiguous(x), np.zeros((), np.int64)
        return kernel(x, axis)

    return forward


def _gathered_back(g: Tensor, x_shape: Size, indices: Tensor, dim: int) -> Tensor:
    if not x_shape:
        return g
    return g.new_zeros(x_shape).scatter_add(dim, indices, g)


cummax = op(
    _scanned_pair(scan.cummax),
    outputs=("values", "indices"),
    pack=named_result("cummax", "values", "indices"),
    x=_gathered_back,
)
cummin = op(
    _scanned_pair(scan.cummin),
    outputs=("values", "indices"),
    pack=named_result("cummin", "values", "indices"),
    x=_gathered_back,
)

register_rows(globals())
