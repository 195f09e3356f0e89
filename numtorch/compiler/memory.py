"""What a program binds for its results, and the code that makes arrays of that kind anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels.launches import Step, root_of
from numtorch_kernels.layout import data_address
from numtorch_kernels.memory import SMALLEST, empty

from .references import operands_of, place_of, written_roots

Array = np.ndarray[Any, Any]


class Results:
    """The memory that results are in, each piece of which every call makes anew."""

    def __init__(self, steps: Sequence[Step], bind: Callable[[Any], str]) -> None:
        self.bound: list[Array] = []  # what the program gets
        self.names: list[str] = []  # the variables that hold what a call gives it
        self.lines: list[str] = []  # the code that makes those
        self._bind = bind
        self._reach: dict[int, tuple[int, int]] = {}
        # By the id of a root, the variable of its bytes and the address where those begin: a
        # block's array begins where it is aligned, not where its root does.
        self._made: dict[int, tuple[str, int]] = {}
        self._whole: dict[int, str] = {}  # by the id of an array
        self._written = written_roots(steps).keys()
        for array in operands_of(steps):
            lo, hi = place_of(array)
            low, high = self._reach.get(id(root_of(array)), (lo, hi))
            self._reach[id(root_of(array))] = min(lo, low), max(hi, high)

    def variable(self, array: Array) -> str:
        """The variable that holds a result like this array."""
        if id(array) in self._whole:
            return self._whole[id(array)]
        root = root_of(array)
        number = len(self._whole)
        name = f"o{number}"
        if id(root) not in self._written:  # a constant
            self.lines.append(f"{name} = {self._bind(array.copy('K'))}.copy('K')")
            self._whole[id(array)] = name
            return name
        own = self._reach.get(id(root), place_of(array)) == place_of(array)
        if id(root) not in self._made and own and array.flags.c_contiguous:
            self._add(array, name, array.shape, array.dtype)
            self._made[id(root)] = name, data_address(array)
        else:
            if id(root) not in self._made:
                raw = np.ndarray((root.nbytes,), np.uint8, root)
                self._made[id(root)] = f"b{number}", data_address(root)
                self._add(raw, f"b{number}", raw.shape, raw.dtype)
            made, start = self._made[id(root)]
            place = data_address(array) - start
            layout = f"{array.shape}, {self._bind(array.dtype)}, {made}"
            ndarray = self._bind(np.ndarray)
            self.lines.append(f"{name} = {ndarray}({layout}, {place}, {array.strides})")
        self._whole[id(array)] = name
        return name

    def _add(self, array: Array, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        make = self._bind(np.empty if array.nbytes < SMALLEST else empty)
        self.lines.append(f"{name} = {make}({shape}, {self._bind(dtype)})")
        self.bound.append(array)
        self.names.append(name)
