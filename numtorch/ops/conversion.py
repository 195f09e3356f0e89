"""Rows: copies, casts between dtypes, and filling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numtorch_kernels import copying, layout, sequence
from numtorch_kernels.calls.pointwise import PointwiseCalls
from numtorch_kernels.deferral import settle

from ..dtype import ALIASES, BY_NUMPY, DTYPES, dtype, to_dtype, type_name
from ..size import contiguous_format, device
from ..tensor import Tensor
from .signature import must_be_tensor
from .table import Update, op, register_rows

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------------- numbers

_C_NAMES = {"int8": "int8_t", "int16": "int16_t", "int32": "int", "int64": "int64_t"}
_C_NAMES |= {"uint8": "uint8_t", "float32": "float", "float64": "double"}


def _limits(kind: dtype) -> tuple[Any, Any]:
    limits: Any = np.finfo(kind.numpy) if kind.category == 2 else np.iinfo(kind.numpy)
    return (
        (float(limits.min), float(limits.max)) if kind.category == 2 else (limits.min, limits.max)
    )


_LIMITS = {kind: _limits(kind) for kind in DTYPES if kind.category}


def overflows(value: Any, kind: dtype) -> bool:
    """Whether a Python number lies beyond what a dtype holds.

    Negative integers wrap around in an unsigned dtype, as far as its maximum.
    """
    if kind.category == 0:
        return False
    low, high = _LIMITS[kind]
    if kind.category == 2:
        return high < abs(value) < math.inf
    if not kind.is_signed and not isinstance(value, float):
        low = -high
    return not low <= value <= high


def number_array(value: Any, kind: dtype) -> Array:
    """A Python number, or a tensor or array of one element, as a 0-d array of a dtype.

    Raises RuntimeError for a number that the dtype does not hold.
    """
    if isinstance(value, np.ndarray):
        settle()
    number = value if value.__class__ in (int, float, bool) else value.item()
    try:
        if not overflows(number, kind):
            wraps = number < 0 and not kind.is_signed
            return np.array(number).astype(kind.numpy) if wraps else np.array(number, kind.numpy)
    except OverflowError:  # an int beyond float64
        pass
    raise RuntimeError(f"value cannot be converted to type {_C_NAMES[kind.name]} without overflow")


def is_number(value: Any) -> bool:
    """Whether PyTorch takes a value for a Number: not an array, unless of one NumPy scalar."""
    return isinstance(value, int | float | np.generic) or (
        isinstance(value, Tensor) and not value._array.ndim
    )


# ---------------------------------------------------------------------- copies


def copy_of(x: Array, kind: np.dtype[Any] | None = None) -> Array:
    """A copy, in a dtype if one is given, with its dimensions in the same order in memory."""
    return copying.copy_into(layout.result(x.shape, kind or x.dtype, (x,)), x)


def _clone(x: Array, *, memory_format: Any = None) -> Array:
    return copying.contiguous(x) if memory_format is contiguous_format else copy_of(x)


def _copy_into(x: Array, src: Any, non_blocking: bool = False) -> None:
    if not isinstance(src, np.ndarray):
        if not isinstance(src, int | float | np.generic):
            must_be_tensor("copy_", "other", 1, src)
        src = number_array(src, BY_NUMPY[x.dtype])
    if src.shape != x.shape:
        try:
            src = np.broadcast_to(src, x.shape)
        except ValueError:
            _refuse_copy(x, src)
    copying.copy_into(x, src)


def _refuse_copy(x: Array, src: Array) -> None:
    """Raises PyTorch's error where a source does not broadcast to its target."""
    if src.ndim > x.ndim:
        raise RuntimeError(
            f"output with shape {list(x.shape)} doesn't match the broadcast shape "
            f"{list(np.broadcast_shapes(x.shape, src.shape))}"
        )
    pairs = list(zip(reversed(x.shape), reversed(src.shape), strict=False))
    place = next(place for place, (n, m) in enumerate(pairs) if m not in (1, n))
    raise RuntimeError(
        f"The size of tensor a ({pairs[place][0]}) must match the size of tensor b "
        f"({pairs[place][1]}) at non-singleton dimension {x.ndim - 1 - place}"
    )


def _fill(x: Array, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.ndim:
        raise RuntimeError(
            "fill_ only supports 0-dimension value tensor but got tensor with "
            f"{value.ndim} dimensions."
        )
    if not isinstance(value, int | float | np.generic | np.ndarray):
        raise TypeError(
            f"fill_(): argument 'value' (position 1) must be Number, not {type_name(type(value))}"
        )
    sequence.fill(x, number_array(value, BY_NUMPY[x.dtype]))


def _zero(x: Array) -> None:
    sequence.fill(x, 0)


_to_copy = op(
    lambda x, kind: copy_of(x, kind.numpy),
    node="ToCopyBackward0",
    x=lambda g, x_dtype: g.to(x_dtype),
)
clone = op(_clone, x=lambda g: g)
_copy = Update(
    _copy_into,
    {
        "x": lambda g: g.new_zeros(g.shape),
        "src": lambda g, src_shape, src_dtype: g.sum_to_size(src_shape).to(src_dtype),
    },
    node="CopyBackwards",
)
fill = Update(
    _fill,
    {"x": lambda g: g.new_zeros(g.shape), "value": lambda g: g.sum()},
    node=lambda x, value: "FillBackward3" if isinstance(value, Tensor) else "FillBackward2",
)
zero = Update(_zero, {"x": lambda g: g.new_zeros(g.shape)}, node="ZeroBackward0")


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Writes a tensor's elements, broadcast and cast, to this tensor's memory.

    A number is one of one element. Raises RuntimeError if the shapes do not broadcast to this
    tensor's.
    """
    return _copy.inplace(self, src)


def contiguous(self: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """The tensor itself, if its memory is in row-major order without gaps; else a copy that is."""
    if self._array.flags.c_contiguous:
        return self
    return clone.function(self, memory_format=contiguous_format)


# ---------------------------------------------------------------------- casts


def cast(self: Tensor, kind: dtype, copy: bool = False) -> Tensor:
    """The tensor in a dtype: itself if that is its own, unless a copy is wanted."""
    if kind is self.dtype and not copy:
        return self
    return _to_copy.function(self, kind)


def _caster(name: str) -> Callable[..., Tensor]:
    kind = CASTS[name]
    known: set[dtype] = set()

    def note(place: int, x: Tensor, result: Tensor) -> None:
        _to_copy.note(place, (x, kind), result)

    calls = PointwiseCalls(1, note)

    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        result = cast(self, kind)
        if result is not self and self.dtype not in known:
            known.add(self.dtype)
            loop = copying.copy_loop(self.dtype.numpy, kind.numpy)
            calls.add_plan((self.dtype,), loop, kind)
        calls.learn_launches()
        return result

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor as {kind}; itself if that is its dtype."
    return calls.entry(method)


def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    other: Tensor | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """The tensor in a dtype, that of another tensor, or on a device, which is always the CPU.

    ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``, each with
    ``non_blocking, copy`` following. Gives the tensor itself where nothing changes, unless
    ``copy``.

    >>> import numtorch as torch
    >>> torch.tensor([1.5, 2.5]).to(torch.int64)
    tensor([1, 2])
    """
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and not _is_dtype(rest[0]):
        device = rest.pop(0)
    if rest and other is None and (_is_dtype(rest[0]) or rest[0] is None):
        dtype = rest.pop(0)
    if rest:
        copy = (*rest[1:], copy)[0]
    if device is not None:
        check_device("to", device)
    if other is not None:
        dtype = other.dtype
    return cast(
        self, self.dtype if dtype is None else to_dtype(dtype, "to(): argument 'dtype'"), copy
    )


def _is_dtype(value: Any) -> bool:
    return isinstance(value, dtype) or value in (float, int, bool)


def check_device(function: str, value: Any) -> None:
    """Raises PyTorch's errors for what is not the CPU."""
    if not isinstance(value, str | device):
        raise TypeError(
            f"{function}(): argument 'device' must be torch.device, not {type_name(type(value))}"
        )
    device(value).require_cpu()


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in another's dtype."""
    return cast(self, other.dtype)


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself."""
    return self


fill.refuses_overlap = zero.refuses_overlap = False
register_rows(globals())

CASTS = ALIASES | {"char": ALIASES["int8"], "byte": ALIASES["uint8"]}
FUNCTIONS: dict[str, Callable[..., Any]] = {"fill_": fill.inplace, "zero_": zero.inplace}
METHODS: dict[str, Callable[..., Any]] = {
    "copy_": _copy.entry(copy_, inplace=True),
    "contiguous": contiguous,
    "to": to,
    "type_as": type_as,
    "cpu": cpu,
    **{
        name: _caster(name)
        for name in ("float", "double", "int", "long", "short", "bool", "char", "byte")
    },
}
