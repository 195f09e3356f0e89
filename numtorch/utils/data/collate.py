"""Samples put together to a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ...creation import as_tensor, tensor
from ...dtype import float64
from ...ops.joining import stack
from ...tensor import Tensor


def _refuse(kind: Any) -> TypeError:
    return TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {kind}"
    )


def default_collate(batch: Sequence[Any]) -> Any:
    """Tensors and arrays stacked, numbers in a tensor, dictionaries and sequences by their items.

    Raises TypeError for samples of other kinds, RuntimeError where they do not fit together.

    >>> from numtorch.utils.data import default_collate
    >>> default_collate([(0, 1), (2, 3)])
    [tensor([0, 2]), tensor([1, 3])]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise _refuse(first.dtype)
        return stack([as_tensor(array) for array in batch], 0)
    if isinstance(first, float) and not isinstance(first, np.generic):
        return tensor(list(batch), dtype=float64)
    if isinstance(first, np.bool_ | np.number):
        return as_tensor(np.array(batch))
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _rebuilt(
            first, {key: default_collate([sample[key] for sample in batch]) for key in first}
        )
    if isinstance(first, Sequence):
        return _collated_sequences(first, batch)
    raise _refuse(type(first))


def _collated_sequences(first: Sequence[Any], batch: Sequence[Any]) -> Any:
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    columns = [default_collate(samples) for samples in zip(*batch, strict=True)]
    if hasattr(first, "_fields"):  # a named tuple
        return type(first)(*columns)
    return columns if isinstance(first, tuple) else _rebuilt(first, columns)


def default_convert(data: Any) -> Any:
    """A sample with its arrays and NumPy numbers turned into tensors."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _rebuilt(data, [default_convert(value) for value in data])
    return data


def _rebuilt(model: Any, values: Any) -> Any:
    """A mapping or sequence of the class of a model, if its class can be made of the values."""
    result: Any
    try:
        if isinstance(model, MutableMapping):
            result = copy.copy(model)
            result.update(values)
            return result
        if isinstance(model, MutableSequence):
            result = copy.copy(model)
            for i, value in enumerate(values):
                result[i] = value
            return result
        return type(model)(values)
    except TypeError:
        return values
