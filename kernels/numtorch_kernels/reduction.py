"""One algorithm for all reductions: a loop bound to an operation, and its use over any set of axes.

The loop adds up rows of lanes. Lanes are neighbouring results where a kept axis is the adjacent
one, else shares of one result. Each lane takes eight elements at once by a tree, eight of those in
turn, and these blocks of 64 again by a tree (pairwise summation: Higham, "The accuracy of floating
point summation", 1993). What is longer than a loop takes is cut into chunks whose results are
reduced in turn. All of it depends on shapes and strides only, so the number of threads changes no
bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import memory
from .build import Loop, gufunc
from .drive import drive
from .intrinsics import BLOCK, buffer, cast, helper, levels, offset
from .layout import aligned

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Dtype = np.dtype[Any]
Layout = tuple[bool, bool]

SHARES = 64  # lanes of one result: enough to hide the latency of adding, few to add up
SHORT = 2 * SHARES  # below this length, rows are rather reduced side by side
LIMIT = 8192  # elements of a chunk: 128 blocks of 64 are what eight levels hold
SHARED_LIMIT = 4 * LIMIT  # up to this length, one stage costs less than two

# How lanes are chosen: whether they are shares of one result, and whether its elements are adjacent
SIDE_BY_SIDE: Layout = (False, False)
SHARED: Layout = (True, False)
ADJACENT: Layout = (True, True)


def reduction(  # type: ignore[no-untyped-def]
    count, n, x, x_outer, x_inner, centre, centre_outer, scale, scale_outer, out, out_outer
):
    """Finishes the combination of n transformed elements for each of ``count`` results.

    ``identity``, ``transform``, ``combine`` and ``finish`` define the operation; ``shared`` says
    whether the lanes are shares of one result, and ``unit`` whether its elements are adjacent.
    """
    stack, centres = levels(out), buffer(centre)
    width = SHARES if shared else BLOCK
    rows = n // SHARES if shared else n
    row_step = x_inner * SHARES if shared else x_inner
    step = (1 if unit else x_inner) if shared else x_outer
    start = 0
    while start < count:
        at = offset(x, start * x_outer)
        if not shared and count - start < BLOCK:
            width = count - start
        for j in range(width):
            centres[j] = centre[(start + (0 if shared else j)) * centre_outer]
        depth, row = 0, 0
        while True:
            top = offset(stack, depth * width)
            end = row + 64 if row + 64 < rows else rows
            for j in range(width):
                top[j] = identity(out)
            while row + 8 <= end:
                x0 = offset(at, row * row_step)
                x1, x2, x3 = offset(x0, row_step), offset(x0, 2 * row_step), offset(x0, 3 * row_step)
                x4 = offset(x3, row_step)
                x5, x6, x7 = offset(x4, row_step), offset(x4, 2 * row_step), offset(x4, 3 * row_step)
                for j in range(width):
                    i, c = j * step, centres[j]
                    a = combine(cast(out, transform(x0[i], c)), cast(out, transform(x1[i], c)))
                    b = combine(cast(out, transform(x2[i], c)), cast(out, transform(x3[i], c)))
                    d = combine(cast(out, transform(x4[i], c)), cast(out, transform(x5[i], c)))
                    e = combine(cast(out, transform(x6[i], c)), cast(out, transform(x7[i], c)))
                    top[j] = combine(top[j], combine(combine(a, b), combine(d, e)))
                row += 8
            while row < end:
                x0 = offset(at, row * row_step)
                for j in range(width):
                    top[j] = combine(top[j], cast(out, transform(x0[j * step], centres[j])))
                row += 1
            depth += 1
            blocks = row // 64
            while depth > 1 and (row == rows or blocks & 1 == 0):
                depth -= 1
                top, below = offset(stack, depth * width), offset(stack, (depth - 1) * width)
                for j in range(width):
                    below[j] = combine(below[j], top[j])
                blocks >>= 1
            if row == rows:
                break
        if shared:
            rest = offset(at, rows * row_step)
            for j in range(n - rows * SHARES):
                stack[j] = combine(stack[j], cast(out, transform(rest[j * step], centres[0])))
            half = SHARES // 2
            while half > 0:
                for j in range(half):
                    stack[j] = combine(stack[j], stack[half + j])
                half //= 2
        width_out = 1 if shared else width
        for j in range(width_out):
            factor = scale[(start + j) * scale_outer]
            out[(start + j) * out_outer] = finish(stack[j], centres[j], factor)
        start += width_out


@helper
def element(x, centre):  # type: ignore[no-untyped-def]
    """Transforms nothing."""
    return x


@helper
def total(combined, centre, scale):  # type: ignore[no-untyped-def]
    """Finishes nothing."""
    return combined


class Reduction:
    """A reduction of transformed elements, the combined total of which is finished.

    ``transform(x, centre)``, ``combine(a, b)`` (associative), ``finish(total, centre, scale)`` are
    compiled scalar functions, ``identity(pointer)`` is an intrinsic. ``centre`` is a number for each
    result and ``scale`` one for all, both of the result's dtype.
    """

    __slots__ = ("combine", "finish", "identity", "loops", "transform")

    def __init__(
        self,
        combine: Callable[..., Any],
        identity: Callable[..., Any],
        transform: Callable[..., Any] = element,
        finish: Callable[..., Any] = total,
    ) -> None:
        self.combine = combine
        self.identity = identity
        self.transform = transform
        self.finish = finish
        self.loops: dict[Any, Loop] = {}

    def loop(
        self, source: Dtype, target: Dtype, layout: Layout, first: bool = True, last: bool = True
    ) -> Loop:
        """The compiled loop of a stage; only the first transforms, only the last finishes."""
        key = (source, target, layout, first, last)
        loop = self.loops.get(key)
        if loop is None:
            shared, unit = layout
            bind = {
                "combine": self.combine,
                "identity": self.identity,
                "transform": self.transform if first else element,
                "finish": self.finish if last else total,
                "shared": shared,
                "unit": unit,
            }
            dtypes = (source, target, target, target)
            loop = self.loops[key] = gufunc(reduction, "(n),(),()->()", dtypes, bind=bind)
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
        """The reduction of x over ``axes``, sorted and not negative; ``centre`` lacks those axes."""
        if centre is None:
            centre = _unused[dtype]
        if scale is None:
            scale = _unused[dtype]
        if len(axes) == x.ndim and x.size <= SHARED_LIMIT and x.flags.forc:
            row = x if x.ndim == 1 else x.ravel("K")
            out = np.empty((), dtype)
            layout = ADJACENT if row.strides[0] == row.itemsize else SHARED
            self.loop(x.dtype, dtype, layout).ufunc(row, centre, scale, out)
        elif len(axes) == 1 and x.size <= LIMIT:
            rows = _last(x, axes[0])
            out = np.empty(rows.shape[:-1], dtype)
            self.loop(x.dtype, dtype, _layout(rows)).ufunc(rows, centre, scale, out)
        else:
            out = self._staged(*_grouped(aligned(x), axes), dtype, centre, scale)
        if keepdims:
            kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
            return out.reshape(kept)
        return out

    def _staged(self, x: Array, kept: int, dtype: Dtype, centre: Array, scale: Array) -> Array:
        """The reduction over all but the first ``kept`` axes, the longest of them first."""
        first = True
        while True:
            if x.ndim > kept + 1:
                x = _last(x, max(range(kept, x.ndim), key=x.shape.__getitem__))
            outer, n = x.shape[:-1], x.shape[-1]
            layout = _layout(x)
            cut = n > (LIMIT if layout is SIDE_BY_SIDE else SHARED_LIMIT)
            last = not cut and len(outer) == kept
            loop = self.loop(x.dtype, dtype, layout, first, last)
            each = centre
            if centre.ndim and not last:
                each = centre.reshape(centre.shape + (1,) * (len(outer) - kept))
            if not cut:
                out = memory.empty(outer, dtype)
                drive(loop, x, each, scale, out)
            else:
                whole = n // LIMIT
                out = _last(memory.empty((-(-n // LIMIT), *outer), dtype), 0)
                chunks = x[..., : whole * LIMIT].reshape(*outer, whole, LIMIT)
                drive(loop, chunks, each[..., None], scale, out[..., :whole])
                if n > whole * LIMIT:
                    drive(loop, x[..., whole * LIMIT :], each, scale, out[..., whole])
            if last:
                return out
            x, first = out, False


class _Unused(dict[Dtype, Array]):
    """For each dtype, the operand of those who need none."""

    def __missing__(self, dtype: Dtype) -> Array:
        zero = self[dtype] = np.zeros((), dtype)
        return zero


_unused = _Unused()


def _last(x: Array, axis: int) -> Array:
    """The array with an axis moved behind the others."""
    if axis == x.ndim - 1:
        return x
    order = [*range(x.ndim)]
    order.append(order.pop(axis))
    return x.transpose(order)


def _grouped(x: Array, axes: Axes) -> tuple[Array, int]:
    """x with the kept axes first, the others merged as far as strides allow; how many are kept."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    if len(axes) == 1:
        return x.transpose((*kept, *axes)), len(kept)
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
    shape = [x.shape[axis] for axis in kept] + sizes
    return x.transpose(kept + order).reshape(shape), len(kept)


def _layout(x: Array) -> Layout:
    """How the lanes of a reduction over the last axis are chosen."""
    *strides, step = x.strides
    if strides:
        if x.shape[-1] < SHORT:
            return SIDE_BY_SIDE
        kept = [abs(s) for s, size in zip(strides, x.shape, strict=False) if size != 1]
        if kept and abs(step) > min(kept):
            return SIDE_BY_SIDE
    return ADJACENT if step == x.itemsize else SHARED
