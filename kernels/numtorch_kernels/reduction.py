"""Reductions over any set of axes: two loops bound to an operation, and their use.

:func:`rows` goes along the reduced axis, :func:`columns` over several results side by side, where a
kept axis is the adjacent one. Both combine blocks of elements in turn and the blocks by a tree
(pairwise summation: Higham, "The accuracy of floating point summation", 1993). What is longer than
a loop takes is cut into chunks whose results are reduced in turn. All of it depends on shapes and
strides only, so the number of threads changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .build import Loop, gufunc
from .costs import SHARED
from .drive import GRAIN, drive
from .intrinsics import BLOCK, Helper, block_of, buffer, cast, helper, levels, offset, zero
from .layout import aligned

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Dtype = np.dtype[Any]

SHORT = 32  # rows below this length are rather reduced side by side
ROW_BLOCK = 1024  # elements of a row that are combined in turn, by the lanes that LLVM chooses
LANES = 64  # what they are no more than: left-over elements are combined by themselves
COLUMN_BLOCK = 64  # elements of a column that are combined in turn, eight at once
NARROW, WIDTH = 16, 48  # rows of fewer columns are reduced as rows of some more than so many
LIMIT = 8192  # elements of a chunk: 128 column blocks are what the eight levels hold
ROW_LIMIT = 16 * LIMIT  # up to this length of a row, one stage costs less than two
CHUNKS = 16  # of columns, unless they are longer than so many times the limit
ALONE_LIMIT = SHARED - 1  # the same of the only row, which threads share if it is cut


def reassociable(function: Callable[..., Any]) -> Helper:
    """Decorates a function whose uses in a loop may be done in any order: by lanes, then these."""
    return Helper(function, fastmath={"reassoc"})


@helper
def add(a, b):
    """Combines numbers to their sum."""
    return a + b


@helper
def element(x, centre):
    """Transforms nothing."""
    return x


@helper
def total(combined, centre, scale):
    """Finishes nothing."""
    return combined


# What a build binds, here as for the sum
combine, identity, transform, finish = add, zero, element, total


def rows(count, n, x, x_outer, x_inner, centre, centre_outer, scale, scale_outer, out, out_outer):
    """Finishes the combination of n transformed elements, for each of ``count`` rows."""
    stack, memory = buffer(out), levels(x)
    for row in range(count):
        at, c = offset(x, row * x_outer), centre[row * centre_outer]
        depth, end = 0, 0
        while depth == 0 or end < n:
            size = ROW_BLOCK if n - end > ROW_BLOCK else n - end
            here = block_of(at, x_inner, memory, end, size)
            whole = size - size % LANES
            block, rest = identity(out), identity(out)
            for i in range(whole):
                block = combine(block, cast(out, transform(here[i], c)))
            for i in range(whole, size):
                rest = combine(rest, cast(out, transform(here[i], c)))
            end += size
            block = combine(block, rest)
            stack[depth] = block
            depth += 1
            blocks = end // ROW_BLOCK
            while depth > 1 and (end == n or blocks & 1 == 0):
                depth -= 1
                stack[depth - 1] = combine(stack[depth - 1], stack[depth])
                blocks >>= 1
        out[row * out_outer] = finish(stack[0], c, scale[row * scale_outer])


@helper
def remaining(depth, blocks, is_last):
    """How many of the totals on a stack are left when those of as many blocks are combined."""
    while depth > 1 and (is_last or blocks & 1 == 0):
        depth -= 1
        blocks >>= 1
    return depth


def columns(
    count, n, x, x_outer, x_inner, centre, centre_outer, scale, scale_outer, out, out_outer
):
    """Finishes the combination of n transformed elements, for each of ``count`` columns.

    Loops whose counts are known when they begin take LLVM a quarter less time than others.
    """
    stack, centres = levels(out), buffer(centre)
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        at = offset(x, start * x_outer)
        for j in range(width):
            centres[j] = centre[(start + j) * centre_outer]
        depth, last = 0, (n - 1) // COLUMN_BLOCK
        for block in range(max(last, 0) + 1):
            top = offset(stack, depth * width)
            row, end = block * COLUMN_BLOCK, min(n, (block + 1) * COLUMN_BLOCK)
            for j in range(width):
                top[j] = identity(out)
            eights = (end - row) // 8
            for eight in range(eights):
                x0 = offset(at, (row + 8 * eight) * x_inner)
                x1, x2, x3 = offset(x0, x_inner), offset(x0, 2 * x_inner), offset(x0, 3 * x_inner)
                x4 = offset(x3, x_inner)
                x5, x6, x7 = offset(x4, x_inner), offset(x4, 2 * x_inner), offset(x4, 3 * x_inner)
                for j in range(width):
                    i, c = j * x_outer, centres[j]
                    a = combine(cast(out, transform(x0[i], c)), cast(out, transform(x1[i], c)))
                    b = combine(cast(out, transform(x2[i], c)), cast(out, transform(x3[i], c)))
                    d = combine(cast(out, transform(x4[i], c)), cast(out, transform(x5[i], c)))
                    e = combine(cast(out, transform(x6[i], c)), cast(out, transform(x7[i], c)))
                    top[j] = combine(top[j], combine(combine(a, b), combine(d, e)))
            for each in range(row + 8 * eights, end):
                x0 = offset(at, each * x_inner)
                for j in range(width):
                    top[j] = combine(top[j], cast(out, transform(x0[j * x_outer], centres[j])))
            depth += 1
            for _ in range(remaining(depth, block + 1, block == last), depth):
                depth -= 1
                top, below = offset(stack, depth * width), offset(stack, (depth - 1) * width)
                for j in range(width):
                    below[j] = combine(below[j], top[j])
        factor = scale[start * scale_outer]  # one for all: see Reduction
        for j in range(width):
            out[(start + j) * out_outer] = finish(stack[j], centres[j], factor)


@helper
def rows_side_by_side(count):
    """How many rows of so few columns, without gaps, make one that is wide enough for vectors."""
    side_by_side = 1
    while count < NARROW and count * side_by_side < WIDTH:
        side_by_side *= 2  # divides all chunks
    return side_by_side


@helper
def chunk_of_row(n, alone):
    """How many elements of a row are reduced at once; ``alone``, if there is no other row."""
    return LIMIT if n > (ALONE_LIMIT if alone else ROW_LIMIT) else n


@helper
def chunk_of_columns(n, count, outermost):
    """How many elements of each of ``count`` columns are reduced at once.

    ``outermost``, if rows of one element of each column follow one another in memory. Chunks are
    large, and few: half of what they give has to come from another core's cache.
    """
    if outermost and n * count >= SHARED and n >= 2 * COLUMN_BLOCK:
        blocks = max(LIMIT // (COLUMN_BLOCK * count), -(-n // (CHUNKS * COLUMN_BLOCK)), 1)
        return min(LIMIT, COLUMN_BLOCK * blocks)
    return min(n, LIMIT)


@cache
def bound(
    kernel: Callable[..., Any], signature: str, dtypes: tuple[Dtype, ...], **bind: Any
) -> Loop:
    """:func:`~numtorch_kernels.build.gufunc`, quicker at finding what it gave before."""
    return gufunc(kernel, signature, dtypes, bind=bind)


def last_axis(x: Array, axis: int) -> Array:
    """The array with an axis moved behind the others."""
    if axis == x.ndim - 1:
        return x
    if x.ndim == 2:
        return x.T
    order = [*range(x.ndim)]
    order.append(order.pop(axis))
    return x.transpose(order)


def is_adjacent(x: Array) -> bool:
    """Whether no axis has smaller steps than the last."""
    if x.flags.c_contiguous:
        return True
    *strides, step = x.strides
    for stride, size in zip(strides, x.shape, strict=False):
        if abs(stride) < abs(step) and size != 1:
            return False
    return True


def along_rows(x: Array) -> bool:
    """Whether a reduction over the last axis goes along it."""
    return x.ndim == 1 or (x.shape[-1] >= SHORT and is_adjacent(x))


class Reduction:
    """A reduction of transformed elements, the combined total of which is finished.

    ``transform(x, centre)``, ``combine(a, b)`` (associative), ``finish(total, centre, scale)`` are
    compiled scalar functions, ``identity(pointer)`` is an intrinsic. ``centre`` is a number for
    each result and ``scale`` one for all, both of the result's dtype.
    """

    __slots__ = ("combine", "finish", "identity", "loops", "transform")

    def __init__(
        self,
        combine: Any,
        identity: Callable[..., Any],
        transform: Callable[..., Any] = element,
        finish: Callable[..., Any] = total,
    ) -> None:
        self.combine = {rows: reassociable(combine.py_func), columns: combine}
        self.identity = identity
        self.transform = transform
        self.finish = finish
        self.loops: dict[Any, Loop] = {}

    def loop(
        self,
        source: Dtype,
        target: Dtype,
        kernel: Callable[..., Any] = rows,
        first: bool = True,
        last: bool = True,
    ) -> Loop:
        """The compiled loop of a stage; only the first transforms, only the last finishes."""
        key = (source, target, kernel, first, last)
        loop = self.loops.get(key)
        if loop is None:
            bind = {
                "combine": self.combine[kernel],
                "identity": self.identity,
                "transform": self.transform if first else element,
                "finish": self.finish if last else total,
            }
            dtypes = (source, target, target, target)
            loop = self.loops[key] = gufunc(kernel, "(n),(),()->()", dtypes, bind=bind)
        return loop

    def __call__(
        self,
        x: Array,
        axes: Axes,
        keepdims: bool,
        dtype: Dtype,
        centre: Array | None = None,
        scale: Array | None = None,
    ) -> Array:
        """The reduction over ``axes``, sorted and not negative, which ``centre`` lacks."""
        if centre is None:
            centre = unused[dtype]
        if scale is None:
            scale = unused[dtype]
        small = one_stage(x, axes)
        if small is not None:
            view, kernel = small
            out = np.empty(view.shape[:-1], dtype)
            self.loop(x.dtype, dtype, kernel).ufunc(view, centre, scale, out)
        elif len(axes) == x.ndim and x.size <= LIMIT * ALONE_LIMIT and x.flags.forc:
            out = self._of_row(x if x.ndim == 1 else x.ravel("K"), dtype, centre, scale)
        else:
            out = self._staged(*_grouped(aligned(x), axes), dtype, centre, scale)
        return restored(out, x.shape, axes) if keepdims else out

    def _of_row(self, x: Array, dtype: Dtype, centre: Array, scale: Array) -> Array:
        """What :meth:`_staged` gives of a long row without gaps, found with less ado."""
        first, last = self.loop(x.dtype, dtype, last=False), self.loop(dtype, dtype, first=False)
        x, out = aligned(x), np.empty((), dtype)
        whole, rest = divmod(x.size, LIMIT)
        parts = np.empty(whole + (rest > 0), dtype)
        drive(first, x[: x.size - rest].reshape(whole, LIMIT), centre, scale, parts[:whole], unit=1)
        if rest:
            first.ufunc(x[x.size - rest :], centre, scale, parts[whole, ...])
        last.ufunc(parts, centre, scale, out)
        return out

    def _staged(self, x: Array, kept: int, dtype: Dtype, centre: Array, scale: Array) -> Array:
        """The reduction over all but the first ``kept`` axes, the longest of them first."""
        first = True
        while True:
            if x.ndim > kept + 1:
                x = last_axis(x, max(range(kept, x.ndim), key=x.shape.__getitem__))
            outer, n = x.shape[:-1], x.shape[-1]
            kernel, chunk = _stage(x)
            last = chunk == n and len(outer) == kept
            loop = self.loop(x.dtype, dtype, kernel, first, last)
            each = centre
            if centre.ndim and not last:
                each = centre.reshape(centre.shape + (1,) * (len(outer) - kept))
            if chunk == n:
                out = memory.empty(outer, dtype)
                drive(loop, x, each, scale, out, unit=1)
            else:
                out = last_axis(_in_chunks(loop, x, chunk, each, scale), 0)
            if last:
                return out
            x, first = out, False


def _in_chunks(loop: Loop, x: Array, chunk: int, centre: Array, scale: Array) -> Array:
    """What a loop makes of chunks of the last axis, which takes the first axis's place."""
    outer, n = x.shape[:-1], x.shape[-1]
    whole, rest = divmod(n, chunk)
    upright = x.transpose(x.ndim - 1, *range(x.ndim - 1))
    count = x.size // n
    k = rows_side_by_side(count) if upright.flags.c_contiguous and not along_rows(x) else 1
    out = memory.empty((whole * k + (rest > 0), *outer), loop.dtypes[-1])
    if k > 1:
        parts = upright[: whole * chunk].reshape(whole, chunk // k, k * count).swapaxes(1, 2)
        centres = np.tile(np.broadcast_to(centre, outer).ravel(), k) if centre.ndim else centre
        drive(loop, parts, centres, scale, out[: whole * k].reshape(whole, k * count), unit=1)
    else:
        parts = x[..., : whole * chunk].reshape(*outer, whole, chunk)
        parts = parts.transpose(x.ndim - 1, *range(x.ndim - 1), x.ndim)
        drive(loop, parts, centre, scale, out[:whole], unit=1)
    if rest:
        drive(loop, x[..., whole * chunk :], centre, scale, out[whole * k, ...], unit=1)
    return out


def one_stage(x: Array, axes: Axes) -> tuple[Array, Callable[..., Any]] | None:
    """What one call of a loop reduces the last axis of, and that loop's kernel; None of large x."""
    if x.size >= GRAIN:
        return None
    if len(axes) == x.ndim and x.flags.forc:
        if x.size > ALONE_LIMIT:
            return None
        return x if x.ndim == 1 else x.ravel("K"), rows
    if len(axes) == 1:
        view = last_axis(x, axes[0])
    else:
        view, kept = _grouped(aligned(x), axes)
        if view.ndim > kept + 1:
            return None
    if x.size > LIMIT and _stage(view)[1] < view.shape[-1]:
        return None
    return view, rows if along_rows(view) else columns


def count(x: Array, axes: Axes) -> int:
    """How many elements of x each result comes from."""
    number = 1
    for axis in axes:
        number *= x.shape[axis]
    return number


def restored(x: Array, shape: tuple[int, ...], axes: Axes) -> Array:
    """The result of a reduction of an array of a shape, with the reduced axes kept, of size 1."""
    return x.reshape([1 if k in axes else size for k, size in enumerate(shape)])


def _stage(x: Array) -> tuple[Callable[..., Any], int]:
    """The kernel that reduces the last axis, and how many elements of it at once."""
    n = x.shape[-1]
    along = along_rows(x)
    if x.size < SHARED and n <= LIMIT:
        return rows if along else columns, n
    results = x.size // max(n, 1)
    if along:
        return rows, chunk_of_row(n, results == 1)
    strides = [abs(s) for s, size in zip(x.strides, x.shape, strict=True) if size > 1]
    return columns, chunk_of_columns(n, results, strides[-1:] == [max(strides, default=0)])


class _Unused(dict[Dtype, Array]):
    """For each dtype, the operand of those who need none."""

    def __missing__(self, dtype: Dtype) -> Array:
        zero = self[dtype] = np.zeros((), dtype)
        return zero


unused = _Unused()
"""What is given for the centre or the scale where a reduction has none, by dtype."""


def _grouped(x: Array, axes: Axes) -> tuple[Array, int]:
    """The kept axes of x, then the others, merged as strides allow; how many are kept."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    order = sorted(axes, key=lambda axis: -abs(x.strides[axis]))
    sizes: list[int] = []
    step = 0
    for axis in order:
        size, stride = x.shape[axis], x.strides[axis]
        if sizes and (size == 1 or step == size * stride or sizes[-1] == 1):
            sizes[-1] *= size
            step = step if size == 1 else stride
        else:
            sizes.append(size)
            step = stride
    shape = [x.shape[axis] for axis in kept] + (sizes or [1])
    return x.transpose(kept + order).reshape(shape), len(kept)
