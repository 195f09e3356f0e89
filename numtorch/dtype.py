"""Element types: what they are, how they promote, and the limits of the numbers they hold."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import Any, NoReturn, TypeAlias, final

import numpy as np

# Promotion never leaves the higher of two categories: bool < integer < floating point.
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}


class _Immutable:
    """Base of objects whose attributes are filled once, through ``__dict__``."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        kind = type(self).__name__
        raise AttributeError(f"attribute '{name}' of 'torch.{kind}' objects is not writable")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)


@final
class dtype(_Immutable):
    """The element type of a tensor, such as ``torch.float32``; each exists once.

    Attributes
    ----------
    name : the canonical name, without ``torch.``
    numpy : the `numpy.dtype` of the memory
    itemsize : bytes of one element
    is_floating_point, is_complex, is_signed : what the elements can be
    category : rank in promotion; 0 bool, 1 integer, 2 floating point

    >>> import numtorch as torch
    >>> torch.long, torch.long.itemsize, torch.long.is_floating_point
    (torch.int64, 8, False)
    """

    name: str
    numpy: np.dtype[Any]
    itemsize: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool
    category: int

    def __init__(self, name: str, numpy: np.dtype[Any]) -> None:
        self.__dict__.update(
            name=name,
            numpy=numpy,
            itemsize=numpy.itemsize,
            is_floating_point=numpy.kind == "f",
            is_complex=False,
            is_signed=numpy.kind in "if",
            category=_CATEGORY[numpy.kind],
        )

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _named, (self.name,)


DTypeLike: TypeAlias = dtype | type[float] | type[int] | type[bool]

float64 = dtype("float64", np.dtype(np.float64))
float32 = dtype("float32", np.dtype(np.float32))
int64 = dtype("int64", np.dtype(np.int64))
int32 = dtype("int32", np.dtype(np.int32))
int16 = dtype("int16", np.dtype(np.int16))
int8 = dtype("int8", np.dtype(np.int8))
uint8 = dtype("uint8", np.dtype(np.uint8))
bool_ = dtype("bool", np.dtype(np.bool_))

DTYPES = (float64, float32, int64, int32, int16, int8, uint8, bool_)

ALIASES: dict[str, dtype] = {
    **{each.name: each for each in DTYPES},
    "double": float64,
    "float": float32,
    "long": int64,
    "int": int32,
    "short": int16,
}

# PyTorch's names of the types of tensors, which its messages use.
TENSOR_TYPES: dict[str, str] = {
    "float32": "torch.FloatTensor",
    "float64": "torch.DoubleTensor",
    "int8": "torch.CharTensor",
    "int16": "torch.ShortTensor",
    "int32": "torch.IntTensor",
    "int64": "torch.LongTensor",
    "uint8": "torch.ByteTensor",
    "bool": "torch.BoolTensor",
}

BY_NUMPY: dict[np.dtype[Any], dtype] = {each.numpy: each for each in DTYPES}
_BY_PYTHON: dict[object, dtype] = {float: float64, int: int64, bool: bool_}

# The dtypes of Python numbers among operands; that of `float` is the default dtype.
_BY_NUMBER: dict[type, dtype] = {float: float32, int: int64, bool: bool_}

# NumPy scalars by kind, as the Python number they pass for; numpy.bool passes for a float.
_SCALAR_KINDS: dict[str, type] = {"f": float, "i": int, "u": int, "b": float}


def _named(name: str) -> dtype:
    """Return the dtype of a canonical name: how pickles and copies find the singleton."""
    return ALIASES[name]


# --- conversion -------------------------------------------------------------------------------


def type_name(kind: type) -> str:
    """Name a type as error messages do: qualified if it comes from a compiled module."""
    defined_in_python = kind.__flags__ & (1 << 9)  # Py_TPFLAGS_HEAPTYPE
    if defined_in_python or kind.__module__ == "builtins":
        return kind.__name__
    return f"{kind.__module__}.{kind.__name__}"


def to_dtype(value: object, argument: str = "argument 'dtype'") -> dtype:
    """Return the dtype that a dtype or one of the Python types float, int and bool stands for.

    Raises TypeError for anything else; `argument` opens its message, as in
    ``"zeros(): argument 'dtype'"``.
    """
    if isinstance(value, dtype):
        return value
    found = _BY_PYTHON.get(value) if isinstance(value, type) else None
    if found is None:
        raise TypeError(f"{argument} must be torch.dtype, not {type_name(type(value))}")
    return found


def from_numpy_dtype(numpy: np.dtype[Any]) -> dtype:
    """Return the dtype of an ndarray's memory.

    Raises TypeError for element types that tensors cannot hold, ValueError for foreign byte order.
    """
    found = BY_NUMPY.get(numpy)
    if found is not None:
        return found
    if numpy.newbyteorder("=") in BY_NUMPY:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. "
            "Conversion between byte orders is currently not supported."
        )
    *names, last = (each.name for each in DTYPES)
    raise TypeError(
        f"can't convert np.ndarray of type {type_name(numpy.type)}. "
        f"The only supported types are: {', '.join(names)}, and {last}."
    )


# --- promotion --------------------------------------------------------------------------------


@cache
def binary_result(a: dtype, b: dtype) -> dtype:
    """Promote two operands of equal standing: `promote_types` for arguments known to be dtypes."""
    if a.category != b.category:
        return a if a.category > b.category else b
    return BY_NUMPY[np.promote_types(a.numpy, b.numpy)]


def promote_types(type1: DTypeLike, type2: DTypeLike) -> dtype:
    """Return the smallest dtype of the higher category that holds both types.

    Raises TypeError if an argument is not a dtype.

    >>> import numtorch as torch
    >>> torch.promote_types(torch.uint8, torch.int8), torch.promote_types(torch.int64, torch.float)
    (torch.int16, torch.float32)
    """
    return binary_result(
        to_dtype(type1, "promote_types(): argument 'type1' (position 1)"),
        to_dtype(type2, "promote_types(): argument 'type2' (position 2)"),
    )


def can_cast(from_: DTypeLike, to: DTypeLike) -> bool:
    """Tell whether a `from_` result may be stored as `to`: not if that lowers the category.

    Raises TypeError if an argument is not a dtype.

    >>> import numtorch as torch
    >>> torch.can_cast(torch.double, torch.float), torch.can_cast(torch.float, torch.int)
    (True, False)
    """
    source = to_dtype(from_, "can_cast(): argument 'from_' (position 1)")
    target = to_dtype(to, "can_cast(): argument 'to' (position 2)")
    return source.category <= target.category


def result_of(dims: dtype | None, zero_dim: dtype | None, wrapped: type | None) -> dtype:
    """Promote three groups of operands, each of one dtype already, to the dtype of a result.

    The groups are tensors with dimensions, 0-d tensors and Python numbers (given by their type).
    At least one is not None. The earliest group wins, unless a later one has a higher category.
    """
    number = None if wrapped is None else _number_dtype(wrapped)
    return _first_of_highest_category(dims, zero_dim, number)


@cache
def _first_of_highest_category(*groups: dtype | None) -> dtype:
    """Return the dtype of the highest category, the first among equals."""
    return max((each for each in groups if each is not None), key=attrgetter("category"))


def scalar_dtype(value: object) -> dtype:
    """Return the dtype of a Python number or NumPy scalar; floats have the default dtype.

    Raises TypeError for anything else.
    """
    return _number_dtype(type(value))


def _number_dtype(kind: type) -> dtype:
    """Return the `scalar_dtype` of the instances of a type."""
    found = _BY_NUMBER.get(kind)
    return _BY_NUMBER[_python_number(kind)] if found is None else found


@cache
def _python_number(kind: type) -> type:
    """Return the number type that a subclass of one, or a NumPy scalar type, passes for."""
    if issubclass(kind, np.generic):
        number = _SCALAR_KINDS.get(np.dtype(kind).kind)
    else:
        number = next((base for base in (int, float) if issubclass(kind, base)), None)
    if number is None:
        raise TypeError(f"expected a Python number, but got {type_name(kind)}")
    return number


# --- default dtype ----------------------------------------------------------------------------


def get_default_dtype() -> dtype:
    """Return the dtype of tensors made from Python floats and of true quotients of integers.

    >>> import numtorch as torch
    >>> torch.get_default_dtype()
    torch.float32
    """
    return _BY_NUMBER[float]


def set_default_dtype(d: dtype, /) -> None:
    """Set what `get_default_dtype` returns, for all threads.

    Raises TypeError if `d` is not a floating-point dtype; the Python type float is refused too.

    >>> import numtorch as torch
    >>> torch.set_default_dtype(torch.float64)
    >>> torch.promote_types(torch.get_default_dtype(), torch.int8)
    torch.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    if not isinstance(d, dtype):
        raise TypeError(
            "invalid dtype object: only floating-point types are supported as the default type"
        )
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _BY_NUMBER[float] = d


# --- limits -----------------------------------------------------------------------------------


class _Limits(_Immutable):
    """What `finfo` and `iinfo` share: read-only, and equal where kind and dtype are."""

    bits: int
    dtype: str

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((type(self), self.dtype))


_DEFAULT: Any = object()


@final
class finfo(_Limits):
    """The numerical limits of a floating-point dtype, by default of the default dtype.

    Attributes
    ----------
    bits : width of one number
    dtype : the name, as a string
    min, max : the smallest and largest finite number
    eps : the distance from 1 to the next larger number
    tiny, smallest_normal : the smallest positive number of full precision
    resolution : 10 to the minus number of decimal digits that survive a round trip

    Raises TypeError for other dtypes.

    >>> import numtorch as torch
    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    min: float
    max: float
    eps: float
    tiny: float
    smallest_normal: float
    resolution: float

    def __init__(self, type: DTypeLike = _DEFAULT) -> None:
        if type is _DEFAULT:
            type = get_default_dtype()
        kind = to_dtype(type, "finfo(): argument 'type' (position 1)")
        if not kind.is_floating_point:
            raise TypeError(
                "torch.finfo() requires a floating point input type. "
                "Use torch.iinfo to handle 'torch.finfo'"
            )
        limits = np.finfo(kind.numpy)
        self.__dict__.update(
            bits=limits.bits,
            dtype=kind.name,
            min=float(limits.min),
            max=float(limits.max),
            eps=float(limits.eps),
            tiny=float(limits.smallest_normal),
            smallest_normal=float(limits.smallest_normal),
            resolution=10.0**-limits.precision,
        )

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


@final
class iinfo(_Limits):
    """The range of an integer dtype.

    Attributes
    ----------
    bits : width of one number
    dtype : the name, as a string
    min, max : the smallest and largest number

    Raises TypeError for other dtypes.

    >>> import numtorch as torch
    >>> torch.iinfo(torch.uint8).max
    255
    """

    min: int
    max: int

    def __init__(self, type: DTypeLike) -> None:
        kind = to_dtype(type, "iinfo(): argument 'type' (position 1)")
        if kind.is_floating_point:
            raise TypeError(
                "torch.iinfo() requires an integer input type. "
                "Use torch.finfo to handle 'torch.iinfo'"
            )
        if kind is bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        limits = np.iinfo(kind.numpy)
        self.__dict__.update(bits=limits.bits, dtype=kind.name, min=limits.min, max=limits.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
