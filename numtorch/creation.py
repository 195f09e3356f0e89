"""Tensors made from data, from numbers alone, and in the likeness of other tensors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided

from numtorch_kernels import copying, index, layout, memory, sequence

from .data import check_ndarray, data_array
from .dtype import (
    DTYPES,
    dtype,
    from_numpy_dtype,
    get_default_dtype,
    scalar_dtype,
    to_dtype,
    type_name,
)
from .ops.apply import scalar_type, write
from .ops.conversion import cast, check_device, number_array, overflows
from .ops.signature import must_be_tensor, unexpected
from .size import Size
from .tensor import Tensor, wrap

Array = np.ndarray[Any, Any]

_SHAPES = (tuple, list, Size)
_IGNORED = ("layout", "pin_memory", "memory_format", "names")

# ---------------------------------------------------------------------- arguments


def _dtype_of(function: str, given: Any, otherwise: dtype) -> dtype:
    if given is None:
        return otherwise
    return given if given.__class__ is dtype else to_dtype(given, f"{function}(): argument 'dtype'")


def _made(
    function: str, array: Array, kind: dtype, requires_grad: bool, place: dict[str, Any],
    out: Any = None, given: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor of a new array, or ``out``; ``place`` holds device=, layout= and such."""
    if out is not None:
        return _written(function, out, array, given)
    if place:
        _check_place(function, place)
    result = wrap(array, kind)
    if requires_grad:
        if kind.category != 2:
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        result._needs_grad = True
    return result


def _check_place(function: str, place: dict[str, Any]) -> None:
    """Refuses unknown keywords, and devices other than the CPU."""
    for name, value in place.items():
        if name == "device":
            if value is not None:
                check_device(function, value)
        elif name not in _IGNORED:
            unexpected(function, name)


def shape_of(function: str, given: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    """The shape of ``zeros(2, 3)``, ``zeros((2, 3))`` and ``zeros(size=(2, 3))`` alike.

    Raises TypeError for what is no tuple of ints, RuntimeError for negative sizes.
    """
    sizes = given[0] if len(given) == 1 and given[0].__class__ in _SHAPES else given
    if given and size is None:
        for n in sizes:
            if n.__class__ is not int or n < 0:
                break
        else:
            return tuple(sizes)
    if size is not None:
        given = (*given, size)
    elif not given:
        raise TypeError(f'{function}() missing 1 required positional arguments: "size"')
    if given[0].__class__ in _SHAPES:
        if len(given) > 1:
            raise TypeError(f"{function}() takes 1 positional argument but {len(given)} were given")
        shape = tuple([_size(function, n, at) for at, n in enumerate(given[0])])
    else:
        shape = tuple([_size(function, n, None) for n in given])
    if shape and min(shape) < 0:
        _refuse_negative(function, shape)
    return shape


def _size(function: str, n: Any, at: int | None) -> int:
    if n.__class__ is not int:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            found = type_name(type(n))
            what = (
                f", but found element of type {found} at pos {at}"
                if at is not None
                else f", not {found}"
            )
            raise TypeError(
                f"{function}(): argument 'size' (position 1) must be tuple of ints{what}"
            )
        n = n.__index__()
    return n


def _refuse_negative(function: str, shape: tuple[int, ...]) -> NoReturn:
    if function == "zeros":
        raise RuntimeError("zeros: Dimension size must be non-negative.")
    worst = next(n for n in shape if n < 0)
    raise RuntimeError(f"Trying to create tensor with negative dimension {worst}: {list(shape)}")


def _number(function: str, name: str, position: int, value: Any) -> Any:
    """A Number argument as a Python number."""
    if value.__class__ in (int, float, bool):
        return value
    if isinstance(value, np.generic | Tensor) and np.ndim(value) == 0:
        return value.item()
    if isinstance(value, int | float):
        return value
    raise TypeError(
        f"{function}(): argument '{name}' (position {position}) must be Number, "
        f"not {type_name(type(value))}"
    )


def _count(function: str, name: str, position: int, value: Any) -> int:
    """An int argument."""
    if value.__class__ is not int and (isinstance(value, bool) or not hasattr(value, "__index__")):
        raise TypeError(
            f"{function}(): argument '{name}' (position {position}) must be int, "
            f"not {type_name(type(value))}"
        )
    return int(value)


def _written(function: str, out: Tensor, array: Array, given: Any) -> Tensor:
    """``out`` with the result of a creation written to it."""
    if given is not None and given is not out.dtype:
        raise RuntimeError(
            f"dtype {scalar_type(given)} does not match dtype of out parameter "
            f"({scalar_type(out.dtype)})"
        )
    if out._array.shape != array.shape:
        out._array = memory.empty(array.shape, out._array.dtype)
    write(out._array, array)
    out._bump_version()
    return out


# ---------------------------------------------------------------------- data


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False, **place: Any) -> Tensor:
    """A new tensor that holds a copy of numbers, nested sequences, an ndarray or a tensor.

    The dtype is that of the data: float numbers have the default dtype, ints int64.
    Raises ValueError for sequences of unequal length, TypeError for what are no numbers,
    RuntimeError for numbers that the dtype does not hold.

    >>> import numtorch as torch
    >>> torch.tensor([[1, 2], [3, 4.5]])
    tensor([[1.0000, 2.0000],
            [3.0000, 4.5000]])
    """
    return _new_tensor("tensor", "torch.tensor", data, dtype, requires_grad, place)


def _new_tensor(
    function: str, spelled: str, data: Any, given: Any, requires_grad: bool, place: dict[str, Any]
) -> Tensor:
    kind = None if given is None else _dtype_of(function, given, get_default_dtype())
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or sourceTensor.detach().clone().requires_grad_(True), "
            f"rather than {spelled}(sourceTensor).",
            stacklevel=3,
        )
    array, kind = data_array(data, kind)
    return _made(function, array, kind, requires_grad, place)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a tensor, which shares the memory of a tensor or ndarray of that dtype.

    >>> import numpy, numtorch as torch
    >>> array = numpy.zeros(2)
    >>> torch.as_tensor(array)[0] = 1
    >>> array
    array([1., 0.])
    """
    if device is not None:
        check_device("as_tensor", device)
    kind = None if dtype is None else _dtype_of("as_tensor", dtype, get_default_dtype())
    if isinstance(data, np.ndarray):
        data = from_numpy(data)
    if isinstance(data, Tensor):
        return data if kind is None else cast(data, kind)
    return wrap(*data_array(data, kind))


def asarray(
    obj: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The object as a tensor, with its memory where possible, unless ``copy``.

    Raises ValueError if ``copy`` is False and the memory cannot be shared.
    """
    result = as_tensor(obj, dtype, device)
    source = obj._array if isinstance(obj, Tensor) else obj
    shared = isinstance(source, np.ndarray) and np.may_share_memory(result._array, source)
    if copy and shared:
        result = wrap(copying.contiguous(result._array), result.dtype)
    if copy is False and not shared:
        raise ValueError(
            f"can't alias arbitrary sequence or cast {type_name(type(obj))} without a copy"
        )
    if isinstance(obj, Tensor) and requires_grad != result._needs_grad:
        result = result.detach()
    if requires_grad:
        result.requires_grad_()
    return result


class _ReadOnly:
    """Whether the program was told about read-only arrays."""

    warned = False


class _Writable:
    """Offers the memory of a read-only array for writing, and keeps the array alive."""

    def __init__(self, array: Array) -> None:
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self.array = array


def from_numpy(ndarray: Any) -> Tensor:
    """The tensor of an ndarray's memory: what is written to one is seen in the other.

    Raises TypeError for what is no ndarray and for element types that tensors cannot hold,
    ValueError for negative strides and foreign byte order. Warns once of a read-only array.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type_name(type(ndarray))})")
    kind = from_numpy_dtype(ndarray.dtype)
    check_ndarray(ndarray)
    if ndarray.flags.writeable:
        return wrap(np.asarray(ndarray), kind)
    if not _ReadOnly.warned:
        _ReadOnly.warned = True
        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable "
            "tensors. This means writing to this tensor will result in undefined behavior. You may "
            "want to copy the array to protect its data or make it writable before converting it "
            "to a tensor. This type of warning will be suppressed for the rest of this program.",
            stacklevel=2,
        )
    return wrap(np.asarray(_Writable(ndarray)), kind)


# ---------------------------------------------------------------------- constants


def _full(
    function: str, shape: tuple[int, ...], value: Any, given: Any, out: Any, *options: Any
) -> Tensor:
    """A tensor of a number, which is checked."""
    kind = _dtype_of(function, given, get_default_dtype() if out is None else out.dtype)
    if value < 0 or overflows(value, kind):
        value = number_array(value, kind)
    return _constant(function, shape, value, kind, out, *options)


def _constant(
    function: str, shape: tuple[int, ...], value: Any, given: Any, out: Any, requires_grad: bool,
    place: dict[str, Any],
) -> Tensor:  # fmt: skip
    """A tensor of a number that its dtype holds, or of what a 0-d array of its dtype does."""
    kind = _dtype_of(function, given, get_default_dtype() if out is None else out.dtype)
    array = sequence.full(shape, value, kind.numpy)
    return _made(function, array, kind, requires_grad, place, out, given)


def zeros(
    *shape: Any, size: Any = None, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor of zeros, of the default dtype unless another is given.

    >>> import numtorch as torch
    >>> torch.zeros(2, 2)
    tensor([[0., 0.],
            [0., 0.]])
    """
    sizes = shape_of("zeros", shape, size)
    return _constant("zeros", sizes, 0, dtype, out, requires_grad, place)


def ones(
    *shape: Any, size: Any = None, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor of ones, of the default dtype unless another is given."""
    sizes = shape_of("ones", shape, size)
    return _constant("ones", sizes, 1, dtype, out, requires_grad, place)


def empty(
    *shape: Any, size: Any = None, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor whose elements are not set to anything."""
    sizes = shape_of("empty", shape, size)
    if out is not None:
        out._array = memory.empty(sizes, out._array.dtype)
        return out
    kind = _dtype_of("empty", dtype, get_default_dtype())
    return _made("empty", memory.empty(sizes, kind.numpy), kind, requires_grad, place)


def full(
    size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor of one number, of the number's dtype unless another is given.

    Raises RuntimeError for a number that the dtype does not hold.
    """
    value = _number("full", "fill_value", 2, fill_value)
    if size.__class__ not in _SHAPES:
        raise TypeError(
            "full(): argument 'size' (position 1) must be tuple of ints, "
            f"not {type_name(type(size))}"
        )
    kind = scalar_dtype(value) if dtype is None and out is None else dtype
    return _full("full", shape_of("full", (size,)), value, kind, out, requires_grad, place)


def empty_strided(
    size: Sequence[int], stride: Sequence[int], *, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor with given strides, in elements, whose elements are not set to anything."""
    kind = _dtype_of("empty_strided", dtype, get_default_dtype())
    shape = shape_of("empty_strided", (size,))
    if len(shape) != len(stride):
        raise RuntimeError(
            f"mismatch in length of strides and shape: {len(stride)} and {len(shape)}"
        )
    held = (
        0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    )
    flat = memory.empty((held,), kind.numpy)
    array = as_strided(flat, shape, [step * kind.itemsize for step in stride])
    return _made("empty_strided", array, kind, requires_grad, place)


def eye(
    n: int, m: int | None = None, *, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """A matrix [n, m] with ones on the diagonal and zeros elsewhere; m is n by default."""
    rows = _count("eye", "n", 1, n)
    columns = rows if m is None else _count("eye", "m", 2, m)
    if rows < 0 or columns < 0:
        name, value = ("n", rows) if rows < 0 else ("m", columns)
        raise RuntimeError(f"{name} must be greater or equal to 0, got {value}")
    kind = _dtype_of("eye", dtype, get_default_dtype() if out is None else out.dtype)
    array = sequence.eye(rows, columns, kind.numpy)
    return _made("eye", array, kind, requires_grad, place, out, dtype)


# ---------------------------------------------------------------------- progressions


def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """start, start + step, ... as long as it is below end; ``arange(end)`` starts at 0.

    int64 if all arguments are integers, else the default dtype. Raises RuntimeError for a step of
    0, a step away from the end and ends that are not finite.

    >>> import numtorch as torch
    >>> torch.arange(1, 2, 0.25)
    tensor([1.0000, 1.2500, 1.5000, 1.7500])
    """
    if end is None:
        start, end = None, start
    start = 0 if start is None else start
    if end is None:
        raise TypeError("arange() received an invalid combination of arguments - got ()")
    whole = start.__class__ is end.__class__ is step.__class__ is int
    if not whole:
        start = _number("arange", "start", 1, start)
        end = _number("arange", "end", 1 if start == 0 else 2, end)
        step = _number("arange", "step", 3, step)
        whole = not any(isinstance(each, float) for each in (start, end, step))
    inferred = DTYPES[2] if whole else get_default_dtype()
    kind = _dtype_of("arange", dtype, inferred if out is None else out.dtype)
    if not whole and not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if kind.category == 0:
        raise NotImplementedError("\"arange_cpu\" not implemented for 'Bool'")
    if kind.category == 2:
        length = math.ceil((end - start) / step)
    else:
        if not whole:
            start, end, step = int(start), int(end), int(step)
            if step == 0:
                raise ValueError("step must be nonzero")
        length = -((start - end) // step)
    array = sequence.arange(start, step, length, kind.numpy)
    return _made("arange", array, kind, requires_grad, place, out, dtype)


def linspace(
    start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """``steps`` numbers from start to end, both included, at equal distances."""
    first, last, kind = _ends("linspace", start, end, steps, out, dtype)
    array = sequence.linspace(first, last, int(steps), kind.numpy)
    return _made("linspace", array, kind, requires_grad, place, out, dtype)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None,
    requires_grad: bool = False, **place: Any,
) -> Tensor:  # fmt: skip
    """``base`` to the power of each of ``steps`` numbers from start to end."""
    first, last, kind = _ends("logspace", start, end, steps, out, dtype)
    array = sequence.logspace(first, last, int(steps), base, kind.numpy)
    return _made("logspace", array, kind, requires_grad, place, out, dtype)


def _ends(
    function: str, start: Any, end: Any, steps: Any, out: Any, given: Any
) -> tuple[Any, Any, dtype]:
    first = _number(function, "start", 1, start)
    last = _number(function, "end", 2, end)
    if _count(function, "steps", 3, steps) < 0:
        raise RuntimeError("number of steps must be non-negative")
    kind = _dtype_of(function, given, get_default_dtype() if out is None else out.dtype)
    return (first, last, kind) if kind.category == 2 else (int(first), int(last), kind)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **place: Any) -> Tensor:
    """The row and column indices [2, n] of the lower triangle of a matrix [row, col]."""
    return _triangle("tril_indices", copying.tril, row, col, offset, dtype, place)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **place: Any) -> Tensor:
    """The row and column indices [2, n] of the upper triangle of a matrix [row, col]."""
    return _triangle("triu_indices", copying.triu, row, col, offset, dtype, place)


def _triangle(
    function: str, part: Any, row: int, col: int, offset: int, given: Any, place: dict[str, Any]
) -> Tensor:
    for name, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{name} must be non-negative, got{n}")
    kind = _dtype_of(function, given, DTYPES[2])
    found = index.nonzero(part(sequence.full((row, col), True, np.dtype(np.bool_)), offset))
    return _made(function, copying.contiguous(found.T, kind.numpy), kind, False, place)


def scalar_tensor(
    s: Any, *, dtype: Any = None, requires_grad: bool = False, **place: Any
) -> Tensor:
    """A 0-d tensor of a number, of the default dtype unless another is given."""
    value = _number("scalar_tensor", "s", 1, s)
    return _full("scalar_tensor", (), value, dtype, None, requires_grad, place)


# ---------------------------------------------------------------------- in the likeness of others


def _like(function: str, value: Any) -> Callable[..., Tensor]:
    def creation(
        input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **place: Any
    ) -> Tensor:
        return _alike(function, input, value, dtype, requires_grad, place)

    creation.__name__ = creation.__qualname__ = function
    what = "unset elements" if value is None else f"{function.removesuffix('_like')}"
    creation.__doc__ = f"A tensor of {what} with the shape, and by default the dtype, of another."
    return creation


def _alike(
    function: str, input: Any, value: Any, given: Any, requires_grad: bool, place: dict[str, Any]
) -> Tensor:
    if not isinstance(input, Tensor):
        must_be_tensor(function, "input", 1, input)
    kind = _dtype_of(function, given, input.dtype)
    array = layout.result(input._array.shape, kind.numpy, (input._array,))
    if value is not None:
        sequence.fill(array, value)
    return _made(function, array, kind, requires_grad, place)


zeros_like = _like("zeros_like", 0)
ones_like = _like("ones_like", 1)
empty_like = _like("empty_like", None)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **place: Any
) -> Tensor:
    """A tensor of one number with the shape, and by default the dtype, of another."""
    value = _number("full_like", "fill_value", 2, fill_value)
    result = _alike("full_like", input, None, dtype, requires_grad, place)
    sequence.fill(result._array, number_array(value, result.dtype))
    return result


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False, **place: Any
) -> Tensor:
    """A copy of the data, by default in this tensor's dtype."""
    kind = self.dtype if dtype is None else dtype
    return _new_tensor("new_tensor", "tensor.new_tensor", data, kind, requires_grad, place)


def _new(function: str, value: Any) -> Callable[..., Tensor]:
    def method(
        self: Tensor,
        *shape: Any,
        size: Any = None,
        dtype: Any = None,
        requires_grad: bool = False,
        **place: Any,
    ) -> Tensor:
        sizes = shape_of(function, shape, size)
        kind = self.dtype if dtype is None else dtype
        if value is None:
            return empty(sizes, dtype=kind, requires_grad=requires_grad, **place)
        return _constant(function, sizes, value, kind, None, requires_grad, place)

    method.__name__ = method.__qualname__ = function
    what = "unset elements" if value is None else function.removeprefix("new_")
    method.__doc__ = f"A tensor of {what}, by default in this tensor's dtype."
    return method


def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False,
    **place: Any,
) -> Tensor:  # fmt: skip
    """A tensor of one number, by default in this tensor's dtype."""
    value = _number("new_full", "fill_value", 2, fill_value)
    kind = self.dtype if dtype is None else dtype
    sizes = shape_of("new_full", (size,))
    return _full("new_full", sizes, value, kind, None, requires_grad, place)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        tensor, as_tensor, asarray, from_numpy, zeros, ones, empty, full, empty_strided, eye,
        arange, linspace, logspace, tril_indices, triu_indices, scalar_tensor,
        zeros_like, ones_like, empty_like, full_like,
    )
}  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    "new_tensor": new_tensor,
    "new_full": new_full,
    "new_zeros": _new("new_zeros", 0),
    "new_ones": _new("new_ones", 1),
    "new_empty": _new("new_empty", None),
}
