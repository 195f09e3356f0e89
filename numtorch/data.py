"""What tensors are made of: numbers, nested sequences of them, ndarrays."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from numtorch_kernels import copying

from .dtype import (
    binary_result,
    dtype,
    from_numpy_dtype,
    get_default_dtype,
    scalar_dtype,
    type_name,
)
from .ops.conversion import copy_of, overflows
from .tensor import Tensor

Array = np.ndarray[Any, Any]

_NUMBERS = {int, float, bool}


def data_array(data: Any, kind: dtype | None) -> tuple[Array, dtype]:
    """A new array of the data, and its dtype: the given one, or that of the data."""
    if isinstance(data, Tensor):
        kind = kind or data.dtype
        return copy_of(data._array, kind.numpy), kind
    if isinstance(data, np.ndarray):
        check_ndarray(data)
        kind = kind or from_numpy_dtype(data.dtype)
        return copy_of(data, kind.numpy), kind
    if isinstance(data, str):
        raise TypeError(f"new(): invalid data type '{type_name(type(data))}'")
    return _nested_array(data, kind)


def check_ndarray(array: Array) -> None:
    """Refuses arrays whose memory tensors cannot share: of other dtypes, or with such strides."""
    from_numpy_dtype(array.dtype)
    if any(step < 0 for step in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    if any(step % array.itemsize for step in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy "
            "array to reallocate the memory."
        )


def _is_sequence(value: Any) -> bool:
    if value.__class__ in (list, tuple):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, Tensor | np.generic | str | dict)
    )


def _nested_array(data: Any, kind: dtype | None) -> tuple[Array, dtype]:
    """The array of a number or of sequences of numbers, nested to any depth.

    Level by level, so that the loops over elements are those of the interpreter's C code.
    """
    if data.__class__ in (list, tuple) and data:
        types = set(map(type, data))
        if types <= _NUMBERS:
            kind = kind or _dtype_of_numbers(types)
            return _stored(data, kind, float in types), kind
    shape = _nested_shape(data)
    level = [data]
    for dim, length in enumerate(shape):
        if 0 in shape:  # then PyTorch reads nothing
            level = []
            break
        if dim and isinstance(level[0], np.ndarray):
            _warn_arrays()
        if any(not _is_sequence(each) or len(each) != length for each in level):
            _refuse_uneven(data, shape)
        level = list(chain.from_iterable(level))
    types = set(map(type, level))
    if kind is None or not types <= _NUMBERS:
        kinds = {found for each in types for found in _kinds_of(each, level)}
        found = functools.reduce(binary_result, kinds) if kinds else get_default_dtype()
        kind = kind or found
    if not types <= _NUMBERS:
        level = [each.item() if isinstance(each, Tensor | np.generic) else each for each in level]
        types = set(map(type, level))
    array = _stored(level, kind, float in types)
    return array.reshape(shape), kind


def _dtype_of_numbers(types: set[type]) -> dtype:
    if float in types:
        return get_default_dtype()
    return scalar_dtype(0) if int in types else scalar_dtype(False)


def _nested_shape(data: Any) -> list[int]:
    """The lengths of the first sequences of each level."""
    shape = []
    while _is_sequence(data):
        shape.append(len(data))
        if not shape[-1]:
            break
        data = data[0]
    return shape


def _warn_arrays() -> None:
    warnings.warn(
        "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider "
        "converting the list to a single numpy.ndarray with numpy.array() before converting to a "
        "tensor.",
        stacklevel=6,
    )


def _refuse_uneven(data: Any, shape: Sequence[int], dim: int = 0) -> None:
    """Raises PyTorch's error for the first place, in depth, where a nested sequence is uneven."""
    if dim == len(shape):
        if isinstance(data, list | tuple):
            raise TypeError(f"'{type_name(type(data))}' object cannot be interpreted as an integer")
        return
    if not _is_sequence(data):
        raise TypeError("not a sequence")
    if len(data) != shape[dim]:
        raise ValueError(f"expected sequence of length {shape[dim]} at dim {dim} (got {len(data)})")
    for each in data:
        _refuse_uneven(each, shape, dim + 1)


def _kinds_of(found: type, level: Sequence[Any]) -> set[dtype]:
    """The dtypes of the elements of a type."""
    if issubclass(found, np.generic):
        return {from_numpy_dtype(np.dtype(found))}
    if issubclass(found, Tensor):
        return {each.dtype for each in level if isinstance(each, Tensor)}
    if issubclass(found, int | float):
        return {scalar_dtype(found())}
    if issubclass(found, str):
        raise ValueError(f"too many dimensions '{type_name(found)}'")
    if issubclass(found, list | tuple):
        raise TypeError(f"'{type_name(found)}' object cannot be interpreted as an integer")
    raise RuntimeError(f"Could not infer dtype of {type_name(found)}")


def _stored(values: Sequence[Any], kind: dtype, floats: bool) -> Array:
    """Python numbers as an array; RuntimeError where one does not fit."""
    try:
        if (floats and kind.category == 1) or kind.numpy == np.float32:
            wide = np.array(values, np.float64)
            if kind.category == 2:
                return copying.contiguous(wide, kind.numpy)
            if not any(overflows(each, kind) for each in values):
                return wide.astype(kind.numpy)
        else:
            return np.array(values, kind.numpy)
    except OverflowError:
        if kind.name == "int64":
            raise ValueError("Overflow when unpacking long long") from None
        if not any(overflows(each, kind) for each in values):
            return np.array(values, np.int64).astype(kind.numpy)
    raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow")
