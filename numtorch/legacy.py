"""The constructors of old programs: ``torch.Tensor(...)``, ``torch.FloatTensor(...)`` and kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numtorch_kernels import memory

from .creation import shape_of
from .data import data_array
from .dtype import DTYPES, TENSOR_TYPES, dtype, get_default_dtype, to_dtype
from .ops.apply import scalar_type
from .ops.conversion import cast, check_device
from .size import Size
from .tensor import Tensor, blank, wrap

Array = np.ndarray[Any, Any]


def _legacy(
    kind: dtype, args: tuple[Any, ...], any_dtype: bool = False, device: Any = None
) -> tuple[Array, dtype]:
    """The memory of ``Tensor(2, 3)``, unset, of ``Tensor([2, 3])``, with that data."""
    if device is not None:
        check_device("new", device)
    if len(args) == 1 and not isinstance(args[0], int | Size):
        (data,) = args
        if isinstance(data, Tensor) and data._array.ndim:
            if data.dtype is not kind and not any_dtype:
                raise TypeError(f"expected {scalar_type(kind)} (got {scalar_type(data.dtype)})")
            return data._array, data.dtype
        if isinstance(data, float):
            raise TypeError("new(): data must be a sequence (got float)")
        return data_array(data, kind)
    shape = shape_of("new", args) if args else (0,)
    return memory.empty(shape, kind.numpy), kind


def _construct(cls: type[Tensor], *args: Any, device: Any = None) -> Tensor:
    result = blank(cls)
    result._array, result.dtype = _legacy(get_default_dtype(), args, True, device)
    return result


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """``Tensor(...)`` in this tensor's dtype."""
    return wrap(*_legacy(self.dtype, args, False, device))


class tensortype(type):
    """The type of ``torch.FloatTensor`` and its kin, which are no classes of their own.

    Called, they make a :class:`Tensor`; tensors of their dtype count as their instances.
    """

    dtype: dtype

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        """A tensor of this type."""
        return wrap(*_legacy(cls.dtype, args, False, device))

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype


TYPES: dict[str, Any] = {
    name: tensortype(name.removeprefix("torch."), (), {"dtype": kind, "__module__": "torch"})
    for kind in DTYPES
    for name in (TENSOR_TYPES[kind.name],)
}


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type; or the tensor as another type, given by name or dtype.

    >>> import numtorch as torch
    >>> torch.ones(2).type()
    'torch.FloatTensor'
    """
    if dtype is None:
        return TENSOR_TYPES[self.dtype.name]
    if isinstance(dtype, str):
        if dtype not in TYPES:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = TYPES[dtype]
    if isinstance(dtype, tensortype):
        return cast(self, dtype.dtype)
    return cast(self, to_dtype(dtype, "type(): argument 'dtype'"))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    name.removeprefix("torch."): kind for name, kind in TYPES.items()
}
METHODS: dict[str, Callable[..., Any]] = {"__new__": _construct, "new": new, "type": type_}
