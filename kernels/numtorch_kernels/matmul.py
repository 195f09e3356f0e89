"""Matrix products of ndarrays: matmul, mm, mv, dot, outer, linear.

Three kinds of kernels share the work. Small products read their operands in place, on one thread
or shared out in blocks; large ones go through packed copies (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008); products with a vector are bound by memory and have
kernels of their own. An element of a product of matrices is a sum of chains of multiply-adds, each
over 256 elements of k, added in order: it has the same bits on every path.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from math import prod
from typing import Any

import numpy as np

from . import gemm, memory, microkernel, threads
from .build import Loop, gufunc, specialise, task
from .copying import copy_into, reshaped
from .costs import CACHED_BYTE, SHARED
from .deferral import deferring
from .drive import drive
from .intrinsics import helper, pointer_reader
from .layout import aligned, data_address
from .pointwise import Pointwise

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

SERIAL = 1 << 19  # multiply-adds; below, a parallel launch costs more than it saves
PACKED = 1 << 26  # multiply-adds; from here on, packed copies pay
STREAM = 1 << 18  # elements of a matrix that is multiplied by a vector; below, one thread

ROWS = 6  # of a tile: with 2 vectors across, 12 sums, 2 vectors of B and a factor fill 16 registers
DEPTH = 256  # of a block of k: a row of A's block is 1 KB of float32
BLOCK_ROWS = 60 * ROWS  # of packed A: with DEPTH, 360 KB of float32 stay in second-level cache
_FAR = 512  # bytes from which on rows compete for few sets of a cache
_PADDING = 64  # bytes between rows of packed A, so that they do not share cache sets

_multiply_elements = Pointwise(lambda a, b: a * b, "multiply")
_add_elements = Pointwise(lambda a, b: a + b, "add")


@cache
def _geometry(dtype: Dtype) -> dict[str, Any]:
    """What the kernels bind: tiles that fill this CPU's registers."""
    lanes = microkernel.lanes_of(dtype)
    vectors = 4 if microkernel.vector_registers() >= 32 else 2
    geometry = {
        "ROWS": ROWS,
        "VECTORS": vectors,
        "FEWER": vectors - 1,  # of tiles at the right edge, if that is enough
        "LANES": lanes,
        "WIDTH": vectors * lanes,
        "DEPTH": DEPTH,
        "PANEL": DEPTH * vectors * lanes,
        "SIDE": min(lanes, 8),
        "LINE": 64 // dtype.itemsize,
        "A_ROW": DEPTH + _PADDING // dtype.itemsize,
        "FAR": _FAR // dtype.itemsize,
    }
    pieces = (gemm.pack, gemm.prefetch_part)
    bound = {piece.__name__: specialise(piece, geometry) for piece in pieces}
    return {**geometry, **bound}


@cache
def _in_place(dtype: Dtype) -> Loop:
    """The loop for matrices that are read in place; rows of the result must be adjacent."""
    return gufunc(gemm.multiply_in_place, "(m,k),(k,n)->(m,n)", (dtype,) * 3, bind=_geometry(dtype))


@cache
def _by_vector(dtype: Dtype, columns: bool) -> Loop:
    """The loop for a matrix and a vector, along the matrix's columns or rows."""
    return gufunc(
        gemm.add_columns if columns else gemm.dot_rows,
        "(m,k),(k)->(m)",
        (dtype,) * 3,
        bind={"DEPTH": DEPTH} if columns else {},
        fastmath=frozenset({"reassoc", "nsz"}),  # not fused: PyTorch's bits where k is short
    )


_STREAM_COST = 2 * CACHED_BYTE  # nanoseconds of a core for two elements, by bytes of one
_COST = 0.008  # nanoseconds of a core that a multiply-add takes, times the bytes of an element


def expected_cost(dtype: Dtype, work: int) -> float:
    """Roughly the nanoseconds that one core takes for so many multiply-adds; 0 if not known."""
    return _COST * dtype.itemsize * work if dtype.kind == "f" else 0.0


def reading_cost(dtype: Dtype, length: int) -> float:
    """Roughly the nanoseconds that one core takes for a dot product of such vectors."""
    return _STREAM_COST * dtype.itemsize * length


@cache
def shared_task(dtype: Dtype) -> int:
    """The address of the task by which threads share a product in place."""
    return task(gemm.multiply_shared, bind=_sharing(dtype))


@cache
def _sharing(dtype: Dtype) -> dict[str, Any]:
    """What tasks bind that share products."""
    element_at = pointer_reader(dtype)
    add_bias = specialise(gemm.add_bias, {"element_at": element_at})
    return {"element_at": element_at, "add_bias": add_bias}


def small_loops(dtype: Dtype) -> tuple[Loop, Loop, Loop]:
    """Loops for matrices, and for one and a vector along its rows and along its columns."""
    return _in_place(dtype), _by_vector(dtype, False), _by_vector(dtype, True)


@cache
def _packed(dtype: Dtype) -> int:
    """The address of the task for matrices that are worth packing."""
    return task(gemm.multiply_packed, bind={**_geometry(dtype), **_sharing(dtype)})


@helper
def block_shape(m, n, workers):
    """Rows and columns of the blocks of C, enough of them to keep all workers busy.

    Tall blocks rather than wide ones, and two or more of full height for each worker if that can
    be even: a panel of B is copied once a block.
    """
    wanted = 4 * workers if workers > 1 else 1
    tiles, unit = -(-m // ROWS), 64 if n >= 512 else 32
    down = -(-m // BLOCK_ROWS)
    across = min(-(-wanted // down), -(-n // unit))
    columns = -(-n // across)
    columns = -(-columns // unit) * unit
    if n < 2 * workers * columns or n % (workers * columns) > 0:
        down = min(tiles, max(down, -(-wanted // across)))
    return -(-tiles // down) * ROWS, columns


def packed_shape(m: int, n: int, workers: int) -> tuple[int, int]:
    """Rows and columns of blocks of C through packed copies: as many blocks for each worker.

    A is copied for each of the blocks across, and B for each of those down: what is least.
    """
    tiles, least = -(-m // ROWS), -(-m // BLOCK_ROWS)

    def blocks_down(across: int) -> int:
        return next(down for down in count(least) if down * across % workers == 0)

    across = min(range(1, workers + 1), key=lambda across: across * m + blocks_down(across) * n)
    columns = -(-n // across)
    return -(-tiles // blocks_down(across)) * ROWS, -(-columns // 32) * 32


def _share(a: Array, b: Array, c: Array, bias: Array | None = None) -> None:
    """C = A @ B for matrices, plus a bias of each row, by all threads."""
    (m, k), n, item = a.shape, b.shape[1], a.itemsize
    workers, work = threads.concurrency(), m * k * n
    packed = work >= PACKED
    shape = packed_shape(m, n, workers) if packed else block_shape(m, n, workers)
    words = [workers, m, n, k, *shape]
    for x in (a, b, c):
        step, across = x.strides
        words += data_address(x), step // item, across // item
    if packed:
        geometry = _geometry(a.dtype)
        each = geometry["PANEL"] + words[gemm.BLOCK_ROWS] * geometry["A_ROW"]
        room = memory.empty(((workers * each + 64) * item,), np.dtype(np.uint8))
        start = room.ctypes.data
        words += [0, item, start + -start % 64, each]
        function = _packed(a.dtype)
    else:
        words += [_in_place(a.dtype).address, item, 0, 0]
        function = shared_task(a.dtype)
    words += (0, 0) if bias is None else (data_address(bias), bias.strides[0] // item)
    words += [0] * workers
    expected = expected_cost(a.dtype, work) / workers
    threads.parallel_for(function, np.array(words, np.int64), workers, expected)


def _multiply(a: Array, b: Array, c: Array) -> None:
    """C = A @ B for stacks of matrices that broadcast to C's; rows of C must be adjacent."""
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    stack = c.shape[:-2]
    work, matrices = m * k * n, prod(stack)
    if work * matrices < SERIAL or not c.size or deferring():
        _in_place(c.dtype).ufunc(a, b, c)
        return
    a, b = aligned(a), aligned(b)
    workers = threads.concurrency()
    if work < PACKED and (matrices >= 4 * workers or workers == 1):
        drive(_in_place(c.dtype), a, b, c, work=work * matrices, unit=1)
        return
    if not stack:
        _share(a, b, c)
        return
    a, b = np.broadcast_to(a, stack + a.shape[-2:]), np.broadcast_to(b, stack + b.shape[-2:])
    for at in np.ndindex(stack):
        _share(a[at], b[at], c[at])


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """The matrix product, with NumPy's rules for vectors and for stacks of matrices.

    Shapes are (..., m, k) and (..., k, n), whose stacks broadcast, or (k,) for a vector; the result
    is (..., m, n) without the dimensions that vectors lack. Operands are of one dtype, which is the
    result's: float32, float64 or an integer, which wraps. ``out`` may not overlap the operands.

    >>> import numpy as np
    >>> from numtorch_kernels.matmul import matmul
    >>> matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[2.0, 1.0], [4.0, 3.0]]
    """
    if a.ndim == 2 == b.ndim and out is None:
        (m, k), n = a.shape, b.shape[1]
        if m > 1 < n and m * k * n < SERIAL:
            return _in_place(a.dtype).ufunc(a, b)
        if n == 1 < m and m * k < STREAM:
            return mv(a, b[:, 0]).reshape(m, 1)
        if m == 1 and k * n < STREAM:
            return mv(b.T, a[0]).reshape(1, n)
    elif a.ndim < 2 or b.ndim < 2:
        if a.ndim < 2:
            return dot(a, b, out) if b.ndim < 2 else mv(b.swapaxes(-1, -2), a, out)
        return mv(a, b, out)
    vector = b.shape[-1] == 1 or a.shape[-2] == 1
    if not vector and max(a.size * b.shape[-1], b.size * a.shape[-2]) < SERIAL:
        if out is None:
            return _in_place(a.dtype).ufunc(a, b)
        if out.strides[-1] == out.itemsize:
            return _in_place(a.dtype).ufunc(a, b, out)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = memory.empty((*stack, a.shape[-2], b.shape[-1]), a.dtype) if out is None else out
    if c.shape[-1] == 1:
        mv(a, b[..., 0], c[..., 0])
    elif c.shape[-2] == 1:
        mv(b.swapaxes(-1, -2), a[..., 0, :], c[..., 0, :])
    elif c.strides[-1] == c.itemsize:
        _multiply(a, b, c)
    elif c.strides[-2] == c.itemsize:
        _multiply(b.swapaxes(-1, -2), a.swapaxes(-1, -2), c.swapaxes(-1, -2))
    else:
        copy_into(c, matmul(a, b))
    return c


def mm(a: Array, b: Array, out: Array | None = None) -> Array:
    """The product of two matrices, (m, k) and (k, n), of one dtype; see :func:`matmul`."""
    return matmul(a, b, out)


def mv(a: Array, x: Array, out: Array | None = None) -> Array:
    """The product of matrices (..., m, k) and vectors (..., k) of one dtype, of shape (..., m).

    >>> import numpy as np
    >>> from numtorch_kernels.matmul import mv
    >>> mv(np.array([[1, 2], [3, 4]]), np.array([1, 10])).tolist()
    [21, 43]
    """
    columns = a.shape[-2] > 1 and abs(a.strides[-2]) < abs(a.strides[-1])
    loop = _by_vector(a.dtype, columns)
    if out is None and max(a.size, x.size * a.shape[-2]) < STREAM:
        return loop.ufunc(a, x)
    m, k = a.shape[-2:]
    stack = np.broadcast_shapes(a.shape[:-2], x.shape[:-1])
    y = memory.empty((*stack, m), a.dtype) if out is None else out
    work, vectors = y.size * k, a.ndim == 2 and m == 1 == x.ndim
    if work < (SHARED if vectors else STREAM) or deferring():
        loop.ufunc(a, x, y)
        return y
    a, x = aligned(a), aligned(x)
    if vectors:
        _dot_long(a[0], x, y)
        return y
    rows = 64 * max(1, STREAM // (1024 * k))
    whole = m // rows * rows
    if whole == 0:
        drive(loop, a, x, y, work=work, unit=1)
    else:
        blocks = a[..., :whole, :].reshape(*a.shape[:-2], -1, rows, k)
        parts = y[..., :whole].reshape(*y.shape[:-1], -1, rows)
        drive(loop, blocks, x[..., None, :], parts, work=work, unit=1)
        if whole < m:
            loop.ufunc(a[..., whole:, :], x, y[..., whole:])
    return y


@cache
def dot_task(dtype: Dtype) -> int:
    """The address of the task by which threads share a long dot product."""
    return task(gemm.dot_shared, bind={"element_at": pointer_reader(dtype)})


def _dot_long(a: Array, x: Array, y: Array) -> None:
    """Writes the dot product of two long vectors to y, by all threads."""
    k, item = a.size, a.itemsize
    piece = gemm.piece_of(k, a.strides[0] == x.strides[0] == item)
    parts = memory.empty((-(-k // piece),), a.dtype)
    workers = threads.concurrency()
    words = [workers, 0, k, piece, a.ctypes.data, a.strides[0], x.ctypes.data, x.strides[0]]
    words += [parts.ctypes.data, y.ctypes.data, _by_vector(a.dtype, False).address, item]
    expected = reading_cost(a.dtype, k) / workers
    threads.parallel_for(dot_task(a.dtype), np.array(words, np.int64), workers, expected)


def dot(a: Array, b: Array, out: Array | None = None) -> Array:
    """The sum of products of two vectors of one dtype and length, as a 0-d array.

    Long vectors are summed in pieces, then these in order: the result is the same for any number of
    threads.

    >>> import numpy as np
    >>> from numtorch_kernels.matmul import dot
    >>> dot(np.array([1, 2, 3]), np.array([4, 5, 6])).tolist()
    32
    """
    y = memory.empty((1,), a.dtype) if out is None else out.reshape(1)
    mv(a[None], b, y)
    return y.reshape(()) if out is None else out


def outer(a: Array, b: Array, out: Array | None = None) -> Array:
    """The products of each element of one vector with each of another, of shape (m, n)."""
    return _multiply_elements(a[:, None], b[None, :], out=out)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``x @ weight.T + bias``, for x (..., k), weight (n, k) and bias (n,) of one dtype."""
    rows = x if x.ndim == 2 else reshaped(x, -1, x.shape[-1])
    (m, k), n = rows.shape, weight.shape[0]
    plain = bias is None or (bias.shape == (n,) and bias.dtype == x.dtype)
    if m > 1 < n and m * k * n >= SERIAL and plain and not deferring():
        y = memory.empty((m, n), x.dtype)
        _share(aligned(rows), aligned(weight).T, y, None if bias is None else aligned(bias))
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], n)
    y = matmul(rows, weight.T).reshape(*x.shape[:-1], weight.shape[0])
    if bias is None:
        return y
    if y.size * bias.size < SERIAL and bias.dtype == y.dtype:
        return _add_elements.loop((y.dtype, y.dtype)).ufunc(y, bias, y)
    return _add_elements(y, bias, out=y)
