"""Shapes and strides: what broadcasts, what merges, how a result is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import memory
from .deferral import settle

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

SHORT = 32  # elements; a loop along fewer costs more to call than to run
LONG = 512  # elements of short rows that are worth running along at once


def common_shape(arrays: Sequence[Any]) -> Shape:
    """The shape that arrays broadcast to; ValueError where there is none."""
    shape: Shape = ()
    for x in arrays:
        if x.shape != shape and x.shape:
            if shape:
                return np.broadcast_shapes(*(each.shape for each in arrays))  # 3 us
            shape = x.shape
    return shape


def broadcast_strides(array: Array, shape: Shape, core: int = 0) -> list[int]:
    """The byte strides of an array's outer dimensions when broadcast to ``shape``."""
    outer = array.ndim - core
    missing = len(shape) - outer
    strides = [0] * missing
    for size, stride, wanted in zip(
        array.shape[:outer], array.strides[:outer], shape[missing:], strict=True
    ):
        strides.append(0 if size == 1 and wanted != 1 else stride)
    return strides


def merge(shape: Shape, strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The fewest dimensions that visit the same elements of all operands, largest strides first.

    The last dimension is the one that a loop runs along: the one with the smallest strides, or a
    much longer one where that is short.
    """
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda axis: tuple(-abs(each[axis]) for each in reversed(strides)))
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for axis in axes:
        size = shape[axis]
        if sizes and all(
            kept[-1] == each[axis] * size for kept, each in zip(merged, strides, strict=True)
        ):
            sizes[-1] *= size
            for kept, each in zip(merged, strides, strict=True):
                kept[-1] = each[axis]
        else:
            sizes.append(size)
            for kept, each in zip(merged, strides, strict=True):
                kept.append(each[axis])
    if not sizes:
        return [1], [[0] for _ in strides]
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    if sizes[-1] < SHORT <= sizes[longest]:
        for row in (sizes, *merged):
            row.append(row.pop(longest))
    return sizes, merged


def with_long_rows(operands: Sequence[Array]) -> list[list[Array]]:
    """Operands of a pointwise loop, inputs and then outputs, cut so that it runs along many rows.

    Of shapes (65536, 3) and (3,) come (385, 510) and (510,), and what remains. Other operands
    than whole contiguous ones, one short row and numbers are left as they are.
    """
    shape = operands[-1].shape
    width = shape[-1] if len(shape) > 1 else 0
    rows = [x for x in operands if x.size == width > 1]
    if (
        not rows
        or width >= SHORT
        or not all(
            x.size == 1
            or (x.size == width and x.shape[-1] == width)
            or (x.shape == shape and x.flags.c_contiguous)
            for x in operands
        )
    ):
        return [list(operands)]
    repeats = LONG // width
    split = operands[-1].size // (repeats * width) * repeats * width
    whole: list[Array] = []
    rest: list[Array] = []
    for x in operands:
        flat = x.reshape(-1)
        if x.size == 1:
            whole.append(flat)
            rest.append(flat)
        elif x.size == width:
            whole.append(np.broadcast_to(flat, (repeats, width)).reshape(-1))
            rest.append(flat)
        else:
            whole.append(flat[:split].reshape(-1, repeats * width))
            rest.append(flat[split:].reshape(-1, width))
    return [whole, rest]


def result(shape: Shape, dtype: np.dtype[Any], inputs: Sequence[Array]) -> Array:
    """An uninitialised array whose dimensions are ordered in memory like those of the inputs."""
    for x in inputs:
        if not x.flags.c_contiguous:
            return ordered(shape, dtype, memory_order(shape, inputs))
    return memory.empty(shape, dtype)


def ordered(shape: Shape, dtype: np.dtype[Any], order: Sequence[int]) -> Array:
    """An uninitialised array whose axes lie in memory in an order, the slowest first."""
    packed = memory.empty(tuple(shape[axis] for axis in order), dtype)
    return packed if list(order) == sorted(order) else packed.transpose(np.argsort(order))


def memory_order(shape: Shape, arrays: Sequence[Array]) -> list[int]:
    """The axes of a common shape from the slowest to the fastest in memory, as PyTorch has them.

    The first array decides in which two axes have steps that differ; where arrays are broadcast,
    they have none.
    """
    steps = [broadcast_strides(x, shape, 0) for x in arrays]
    order = list(range(len(shape)))[::-1]
    for last in range(1, len(shape)):
        place = last
        for before in range(last - 1, -1, -1):
            relation = _relation(shape, steps, order[before], order[place])
            if relation > 0:
                order[before], order[place] = order[place], order[before]
                place = before
            elif relation < 0:
                break
    return order[::-1]


def _relation(shape: Shape, steps: Sequence[Sequence[int]], one: int, other: int) -> int:
    """Whether an axis is slower (1) or faster (-1) than another; 0 where nothing tells."""
    for own in steps:
        a, b = abs(own[one]), abs(own[other])
        if a and b and a != b:
            return 1 if a > b else -1
        if a and b and shape[one] > shape[other]:
            return 1
    return 0


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's order of bytes: the object that NumPy itself has of it."""
    return np.dtype(dtype.type)


def data_address(array: Array) -> int:
    """Where an array's first element is; without the objects that its ``ctypes`` makes."""
    address: int = array.__array_interface__["data"][0]
    return address


def aligned(array: Array) -> Array:
    """The array itself, or a copy where kernels could not read it in place."""
    size, flags = array.itemsize, array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    if flags.aligned and all(stride % size == 0 for stride in array.strides):
        if array.dtype.isnative:
            return array
        settle()
        return array.astype(native(array.dtype))
    settle()
    return np.array(array, dtype=native(array.dtype))
