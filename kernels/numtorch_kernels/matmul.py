"""Matrix products of ndarrays: matmul, mm, mv, dot, outer."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import gemm, memory, microkernel
from .build import Loop, gufunc
from .drive import drive
from .layout import aligned

Array = np.ndarray[Any, Any]

_loops: dict[np.dtype[Any], Loop] = {}


def _in_place(dtype: np.dtype[Any]) -> Loop:
    """The loop for matrices that are not worth packing."""
    loop = _loops.get(dtype)
    if loop is None:
        lanes = microkernel.lanes_of(dtype)
        bind = {
            "ROWS": 6,
            "LANES": lanes,
            "WIDTH": 2 * lanes,
            "DEPTH": 256,
            "PANEL": 256 * 2 * lanes,
            "multiply_tile": microkernel.multiply_tile,
            "stack": microkernel.stack,
        }
        loop = _loops[dtype] = gufunc(
            gemm.multiply_in_place, "(m,k),(k,n)->(m,n)", (dtype,) * 3, bind=bind
        )
    return loop


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """The matrix product of operands of one dtype, with NumPy's rules for 1-D and batches."""
    x = a[None, :] if a.ndim == 1 else a
    y = b[:, None] if b.ndim == 1 else b
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*batch, x.shape[-2], y.shape[-1])
    result = memory.empty(shape, a.dtype)
    drive(_in_place(a.dtype), aligned(x), aligned(y), result)
    if a.ndim == 1:
        result = result[..., 0, :]
    if b.ndim == 1:
        result = result[..., 0]
    if out is not None:
        np.copyto(out, result)
        return out
    return result
