"""A queue of launches that were put off, and what each of them reads and writes.

A :class:`Node` says of a launch which part of which memory each operand is, in terms that do not
depend on where that memory lies: this is what :mod:`.fusion` works on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .build import Loop
from .copying import conversion_loop
from .layout import broadcast_strides, common_shape, data_address, result

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


class Launch(NamedTuple):
    """A loop and its operands, inputs then outputs, and the name of what asked for it.

    ``numbers`` are the positions of the inputs that were not arrays.
    """

    loop: Loop
    operands: tuple[Array, ...]
    label: str = ""
    numbers: frozenset[int] = frozenset()

    @property
    def reads(self) -> tuple[Array, ...]:
        """The operands that the loop reads."""
        return self.operands if self.loop.updates else self.operands[: self.loop.inputs]

    @property
    def writes(self) -> tuple[Array, ...]:
        """The operands that the loop writes."""
        return self.operands[self.loop.inputs :]


class Requirement(NamedTuple):
    """A 0-d array without whose truth nothing after it may run; what to call if it is false."""

    condition: Array
    otherwise: Callable[[], None]


Step = Launch | Requirement


class LaunchQueue:
    """Takes launches; ``run`` is told by whoever makes the queue."""

    def __init__(self, execute: Callable[[list[Step]], None]) -> None:
        self.steps: list[Step] = []
        self.refreshed: list[tuple[Array, Callable[[], Any]]] = []
        self.label = ""
        self._execute = execute

    def put(self, loop: Loop, operands: tuple[Any, ...]) -> Any:
        """Notes a launch and gives its outputs, which are made if they are not given."""
        count = loop.inputs
        inputs = [
            self._fitting(x, dtype) for x, dtype in zip(operands, loop.dtypes[:count], strict=False)
        ]
        given = len(operands) > count
        outputs = operands[count:] if given else _outputs(loop, inputs)
        pairs = enumerate(operands[:count])
        numbers = frozenset(i for i, x in pairs if not isinstance(x, np.ndarray))
        self.steps.append(Launch(loop, (*inputs, *outputs), self.label, numbers))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _fitting(self, x: Any, dtype: np.dtype[Any]) -> Array:
        """An operand in the dtype of a loop, as NumPy would cast it."""
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
        if array.dtype == dtype:
            return array
        if not array.ndim and not isinstance(x, np.ndarray):
            return array.astype(dtype)
        converted: Array = self.put(conversion_loop(array.dtype, dtype), (array,))
        return converted

    def require(self, condition: Array, otherwise: Callable[[], None]) -> None:
        """Notes that what follows makes sense only if a 0-d array is true."""
        self.steps.append(Requirement(np.asarray(condition), otherwise))

    def refresh(self, array: Array, numbers: Callable[[], Any]) -> None:
        """Notes that an array holds numbers that are computed anew for each run."""
        self.refreshed.append((array, numbers))

    def run(self) -> None:
        """Runs what was noted, and forgets it."""
        steps, self.steps = self.steps, []
        if steps:
            self._execute(steps)


def _outputs(loop: Loop, inputs: Sequence[Array]) -> list[Array]:
    """Uninitialised outputs of the shapes that NumPy would give them."""
    if not any(loop.core):
        shape = common_shape(inputs)
        return [result(shape, dtype, inputs) for dtype in loop.dtypes[loop.inputs :]]
    outer, sizes = outer_shape(loop, inputs)
    return [
        result(outer + tuple(sizes[name] for name in names), dtype, ())
        for names, dtype in zip(loop.names[loop.inputs :], loop.dtypes[loop.inputs :], strict=True)
    ]


def outer_shape(loop: Loop, operands: Sequence[Array]) -> tuple[Shape, dict[str, int]]:
    """The shape that operands broadcast to without core dimensions, and the sizes of those."""
    shapes: list[Shape] = []
    sizes: dict[str, int] = {}
    for x, names in zip(operands, loop.names, strict=False):
        split = x.ndim - len(names)
        shapes.append(x.shape[:split])
        sizes |= zip(names, x.shape[split:], strict=True)
    return np.broadcast_shapes(*shapes), sizes


def base_of(array: Array) -> Array | None:
    """The array that an array is a view of; NumPy's ``as_strided`` puts an object in between."""
    base: Any = array.base
    if base is not None and not isinstance(base, np.ndarray):
        base = getattr(base, "base", None)
    return base if isinstance(base, np.ndarray) else None


def root_of(array: Array) -> Array:
    """The array that owns the memory, or is the first that refers to it."""
    while (base := base_of(array)) is not None:
        array = base
    return array


def span_of(array: Array) -> tuple[int, int]:
    """The first byte that an array uses, and the first behind it, from its first element on."""
    if not array.size:
        return 0, 0
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    return sum(min(each, 0) for each in reach), sum(max(each, 0) for each in reach) + array.itemsize


class Operand:
    """Which part of which memory an operand is: strides over a node's shape, then core strides.

    It lies between the bytes ``lo`` and ``hi`` of its root, all of which it fills if it is dense.
    """

    __slots__ = (
        "core_sizes",
        "core_strides",
        "dense",
        "dtype",
        "hi",
        "lo",
        "root",
        "start",
        "strides",
    )

    def __init__(self, array: Array, root: Array, shape: Shape, core: int) -> None:
        self.root = root
        self.start = data_address(array) - data_address(root)
        self.dtype = array.dtype
        self.strides = tuple(
            step
            for step, size in zip(broadcast_strides(array, shape, core), shape, strict=True)
            if size != 1
        )
        self.core_sizes = array.shape[array.ndim - core :]
        self.core_strides = array.strides[array.ndim - core :]
        low, high = span_of(array)
        self.lo, self.hi = self.start + low, self.start + high
        elements = prod(n for n, step in zip(array.shape, array.strides, strict=True) if step)
        self.dense = elements * array.itemsize == self.hi - self.lo

    def overlaps(self, other: Operand) -> bool:
        """Whether two operands may have bytes in common."""
        return self.root is other.root and self.lo < other.hi and other.lo < self.hi

    def extent(self, sizes: Shape, strides: Sequence[int]) -> int:
        """How many bytes the core, and dimensions of these sizes, reach over."""
        pairs = zip((*sizes, *self.core_sizes), (*strides, *self.core_strides), strict=True)
        return sum((n - 1) * abs(step) for n, step in pairs) + self.dtype.itemsize


class Node:
    """A launch: ``shape`` is what its loop runs over, without dimensions of size 1.

    ``rest`` is the size of the last, shorter row of a node whose rows are chunks of a long one.
    """

    def __init__(self, launch: Launch) -> None:
        self.loop = launch.loop
        self.label = launch.label
        outer, sizes = outer_shape(launch.loop, launch.operands)
        self.core = tuple(sizes.values())
        self.shape: Shape = tuple(size for size in outer if size != 1)
        self.operands = [
            Operand(array, root_of(array), outer, core)
            for array, core in zip(launch.operands, launch.loop.core, strict=True)
        ]
        self.numbers = launch.numbers
        self.rest = 0
        if self.is_pointwise and len(self.shape) > 1 and self._is_flat():
            self._flatten()

    @property
    def is_pointwise(self) -> bool:
        """Whether it is known what is computed for each element."""
        return self.loop.expressions is not None

    @cached_property
    def inputs(self) -> list[Operand]:
        """What is read."""
        return self.operands if self.loop.updates else self.operands[: self.loop.inputs]

    @cached_property
    def outputs(self) -> list[Operand]:
        """What is written."""
        return self.operands[self.loop.inputs :]

    def _packed(self, operand: Operand) -> bool:
        step = operand.dtype.itemsize
        for size, stride in zip(reversed(self.shape), reversed(operand.strides), strict=True):
            if stride != step:
                return False
            step *= size
        return True

    def _is_flat(self) -> bool:
        return all(not any(x.strides) or self._packed(x) for x in self.operands)

    def _flatten(self) -> None:
        self.shape = (prod(self.shape),)
        for x in self.operands:
            x.strides = (x.dtype.itemsize if any(x.strides) else 0,)

    def strides_in(self, shape: Shape, operand: Operand) -> tuple[int, ...] | None:
        """The operand's strides over another shape of as many elements; None if there are none."""
        if shape == self.shape:
            return operand.strides
        if len(self.shape) != 1 or prod(shape) != self.shape[0]:
            return None
        (step,) = operand.strides
        return tuple(step * prod(shape[axis + 1 :]) for axis in range(len(shape)))

    def takes_shape(self, shape: Shape) -> bool:
        """Whether it can run over a shape in the same order."""
        return shape == self.shape or (len(self.shape) == 1 and prod(shape) == self.shape[0])


def nodes_of(steps: Sequence[Step]) -> list[Node | Operand]:
    """The nodes of launches, of requirements what they read; those of no elements are left out."""
    nodes: list[Node | Operand] = []
    for step in steps:
        if isinstance(step, Requirement):
            nodes.append(Operand(step.condition, root_of(step.condition), (), 0))
            continue
        node = Node(step)
        if 0 in node.shape:
            continue
        last = nodes[-1] if nodes else None
        if not (isinstance(last, Node) and _continue(last, node)):
            nodes.append(node)
    return nodes


def _continue(last: Node, node: Node) -> bool:
    """Makes one node of the chunks of a long row and what is left over; says whether it did."""
    if (
        last.loop is not node.loop
        or last.rest
        or len(last.core) != 1
        or len(node.core) != 1
        or len(last.shape) > 1
        or node.shape
        or node.core[0] >= last.core[0]
    ):
        return False
    rows = prod(last.shape)
    steps = []
    for x, y in zip(last.operands, node.operands, strict=True):
        step = x.strides[0] if x.strides else y.start - x.start
        if x.root is not y.root or y.start != x.start + rows * step:
            return False
        if x.core_sizes and (
            x.core_strides != y.core_strides or step != x.core_sizes[0] * x.core_strides[0]
        ):
            return False
        steps.append(step)
    for x, y, step in zip(last.operands, node.operands, steps, strict=True):
        x.strides = (step,)
        x.hi = max(x.hi, y.hi)
    last.shape, last.rest = (rows + 1,), node.core[0]
    return True
