"""What a row of the table of tests says about an operation, and how samples are made."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOATS = ("float32", "float64")
THRIFTY = ("float32", "float64", "int64")  # each dtype of each operation is one compilation
INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
EVERY = (*FLOATS, *INTEGERS, "bool")


class Call:
    """Arguments, in which ndarrays stand for tensors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    def on(self, change: Callable[[Array], Any]) -> Call:
        """The call with every ndarray replaced."""
        return Call(
            *[replaced(x, change) for x in self.args],
            **{name: replaced(x, change) for name, x in self.kwargs.items()},
        )

    def size(self) -> int:
        """How many floating numbers there are in the arguments."""
        sizes: list[int] = []

        def count(x: Array) -> Array:
            sizes.append(x.size if x.dtype.kind == "f" else 0)
            return x

        self.on(count)
        return sum(sizes)

    def __repr__(self) -> str:
        keywords = [f"{name}={x!r}" for name, x in self.kwargs.items()]
        return ", ".join([*map(repr, self.args), *keywords])


def replaced(x: Any, change: Callable[[Array], Any]) -> Any:
    """An argument with the ndarrays in it replaced."""
    if isinstance(x, np.ndarray):
        return change(x)
    if isinstance(x, tuple | list):
        return type(x)(replaced(each, change) for each in x)
    return x


class Make:
    """Makes the arrays of samples, of one dtype, the same in every run."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(1)

    def __call__(self, *shape: int, low: float = -3, high: float = 3) -> Array:
        """Numbers between low and high, of the dtype."""
        if self.dtype.kind == "b":
            return np.asarray(self.random.integers(0, 2, shape), "bool")
        if self.dtype.kind == "f":
            return np.asarray(self.random.uniform(low, high, shape), self.dtype)
        least = max(low, 0) if self.dtype.kind == "u" else low
        return np.asarray(
            self.random.integers(int(np.ceil(least)), int(high) + 1, shape), self.dtype
        )

    def index(self, *shape: int, below: int) -> Array:
        """Integers from 0, as indices."""
        return np.asarray(self.random.integers(0, below, shape), "int64")

    def mask(self, *shape: int) -> Array:
        """Truth values."""
        return np.asarray(self.random.integers(0, 2, shape), "bool")

    def distinct(self, *shape: int) -> Array:
        """Numbers of which no two are equal or close."""
        count = int(np.prod(shape))
        return np.asarray(self.random.permutation(count) - count // 2, self.dtype).reshape(shape)


Samples = Callable[[Make], list[Call]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One operation: its name in numtorch's table, and everything the generic tests vary."""

    name: str
    calls: Samples
    path: str = ""  # where the function is, if it is not the module's attribute `name`
    dtypes: tuple[str, ...] = THRIFTY
    gradient: bool = True  # whether PyTorch differentiates it
    second: bool = True  # and its derivative
    special: int = 0  # of a function of scalars: of how many
    integers: tuple[int, ...] = ()  # the special values of int64
    signed_zeros: bool = True  # whether PyTorch's own results agree on the sign of a zero
    promotes: bool = False  # whether operands of several dtypes have a common one
    layouts: bool = True  # whether results must not depend on the memory layout of the inputs
    inplace: bool = True
    refused: Samples = lambda make: []  # calls that PyTorch refuses

    def function(self, torch: ModuleType) -> Callable[..., Any]:
        """The operation, of numtorch or of the oracle."""
        path = self.path or self.name
        return functools.reduce(getattr, path.split("."), torch)  # type: ignore[return-value]

    def __str__(self) -> str:
        return self.path or self.name


def unary(name: str, low: float = -3, high: float = 3, **others: Any) -> Row:
    """A row of a function of one scalar, sampled between low and high."""

    def calls(make: Make) -> list[Call]:
        wide = functools.partial(make, low=low, high=high)
        return [Call(wide(3, 4)), Call(wide()), Call(wide(0)), Call(wide(2, 1, 5)), Call(wide(70))]

    defaults = {"special": 1, "integers": (0, 1, -1, 2, 127, 2**62, -(2**63))}
    return Row(name=name, calls=calls, **(defaults | others))


def binary(
    name: str, low: float = -3, high: float = 3, least: float | None = None, **others: Any
) -> Row:
    """A row of a function of two scalars; the second is not below ``least``."""

    def calls(make: Make) -> list[Call]:
        one = functools.partial(make, low=low, high=high)
        two = functools.partial(make, low=low if least is None else least, high=high)
        number = two().item()
        return [
            Call(one(3, 4), two(3, 4)),
            Call(one(3, 1), two(4)),
            Call(one(3), two()),
            Call(one(), two(3)),
            Call(one(), two()),
            Call(one(3), number),
            Call(one(0, 3), two(1, 3)),
            Call(one(2, 1, 3), two(5, 1)),
        ]

    def refused(make: Make) -> list[Call]:
        two = functools.partial(make, low=low if least is None else least, high=high)
        return [Call(make(3), two(4)), Call(make(2, 3), two(2)), Call("three", two(3)), Call()]

    defaults = {
        "special": 2,
        "integers": (0, 1, -1, 2, 3, -7, 2**62, -(2**62)),
        "promotes": True,
        "refused": refused,
    }
    return Row(name=name, calls=calls, **(defaults | others))


SPECIAL_FLOATS = (
    *(float(x) for x in ("nan", "inf", "-inf", "0", "-0.0", "1", "-1", "0.5", "-2.5", "3", "2.5")),
    *(float(x) for x in ("1e-8", "88", "-88", "1e10")),
)
EXTREMES = (1e-40, -3e38)  # PyTorch's float32 remainder of such numbers is nan


def special_arrays(row: Row, dtype: str) -> Iterator[Array]:
    """The special values for each operand: every combination of them."""
    values: tuple[Any, ...] = row.integers if dtype == "int64" else SPECIAL_FLOATS
    if row.special == 1 and dtype != "int64":
        values += EXTREMES
    for operand in zip(*itertools.product(values, repeat=row.special), strict=True):
        yield np.array(operand, dtype)
