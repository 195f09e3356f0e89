"""Which launches run together: chains of pointwise ones as one loop, others row by row in cache.

A *stage* is one loop: a kernel as it is, or any number of pointwise nodes fused. A *group* is a
sequence of stages that all run over the same units (rows of their operands, or elements): a block
of units passes through all stages while it is in cache, and blocks are shared out among threads. A
node may join a group if nothing it touches is touched by other units there, and if no later group
stands in between.

Kernels and blocks are those of eager execution, so every element is computed by the same operations
in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ctypes import string_at
from math import prod
from typing import Any

import numpy as np

from .expression import Expr, constant, nodes_of, substituted, symbol
from .launches import Node, Operand, Shape
from .layout import data_address

Array = np.ndarray[Any, Any]

MOST_OPERANDS = 24  # of a fused loop: more streams than that and the CPU's prefetchers lose track
MOST_NODES = 64  # of a fused loop, which keeps its registers and its compilation bounded
_FEW = 4096  # elements of a loop that costs little more than its call
_MATRIX = "(m,k),(k,n)->(m,n)"
_BY_VECTOR = "(m,k),(k)->(m)"


class Placement:
    """How a node runs over units: each operand's step from unit to unit, and what is within one.

    ``along`` is where units are: "outer" dimensions, or "core", the kernel's first core dimension.
    """

    __slots__ = ("along", "inner", "node", "strides", "units")

    def __init__(
        self,
        node: Node,
        units: Sequence[int],
        inner: Shape,
        strides: Sequence[tuple[int, ...]],
        along: str = "outer",
    ) -> None:
        self.node = node
        self.units = units
        self.inner = inner
        self.strides = strides
        self.along = along

    def steps(self) -> Iterator[tuple[Operand, int, bool]]:
        """Of each operand its step from unit to unit, and whether a unit keeps within that step."""
        core = self.along == "core"
        for x, unit, strides in zip(self.node.operands, self.units, self.strides, strict=True):
            extent = x.extent(self.inner, strides)
            if core and unit:
                extent -= (x.core_sizes[0] - 1) * abs(unit)
            yield x, unit, extent <= abs(unit)


def placed(node: Node, units: int, chunk: int) -> Placement | None:
    """The node over a number of units; of ``chunk`` elements each, if they are parts of a row."""
    if node.loop.signature in (_MATRIX, _BY_VECTOR):
        if node.shape or node.core[0] != units:
            return None
        first, *_, last = node.operands
        return Placement(
            node, [first.core_strides[0], 0, last.core_strides[0]], (), [()] * 3, "core"
        )
    if node.rest:
        if node.shape[0] != units or node.core[0] != chunk:
            return None
        return Placement(node, [x.strides[0] for x in node.operands], (), [()] * len(node.operands))
    if not node.shape:
        return None
    if chunk:
        return _of_chunks(node, units, chunk)
    if node.is_pointwise and len(node.shape) == 1 and node.shape[0] != units:
        if node.shape[0] % units:
            return None
        inner = node.shape[0] // units
        steps = [x.strides[0] for x in node.operands]
        return Placement(
            node, [step * inner for step in steps], (inner,), [(step,) for step in steps]
        )
    for depth in range(1, len(node.shape) + 1):
        if prod(node.shape[:depth]) == units:
            merged = [_merged(x.strides[:depth], node.shape[:depth]) for x in node.operands]
            if None in merged:
                return None
            return Placement(
                node,
                [step for step in merged if step is not None],
                node.shape[depth:],
                [x.strides[depth:] for x in node.operands],
            )
    return None


def _of_chunks(node: Node, units: int, chunk: int) -> Placement | None:
    if node.is_pointwise and len(node.shape) == 1 and -(-node.shape[0] // chunk) == units:
        steps = [x.strides[0] for x in node.operands]
        return Placement(
            node, [step * chunk for step in steps], (chunk,), [(step,) for step in steps]
        )
    return None


def _merged(strides: Sequence[int], shape: Shape) -> int | None:
    """The one step of dimensions that can be merged; None if they cannot."""
    for axis in range(len(shape) - 1):
        if strides[axis] != strides[axis + 1] * shape[axis + 1]:
            return None
    return strides[-1]


def _candidates(node: Node) -> list[int]:
    """Numbers of units that would suit a node."""
    if node.loop.signature in (_MATRIX, _BY_VECTOR):
        return [] if node.shape else [node.core[0]]
    if not node.shape:
        return []
    return list(dict.fromkeys([prod(node.shape), node.shape[0]]))


def conflicts(node: Node, other: Node) -> list[tuple[int, int]]:
    """The pairs of operands, by position, of which one is written where the other is used."""
    pairs = []
    for i, x in enumerate(node.operands):
        x_written = i >= node.loop.inputs
        for j, y in enumerate(other.operands):
            if (x_written or j >= other.loop.inputs) and x.overlaps(y):
                pairs.append((i, j))
    return pairs


class Stage:
    """Nodes that become one loop: pointwise ones over one shape, or a single other one."""

    def __init__(self, node: Node) -> None:
        self.nodes = [node]
        self.shape = node.shape

    @property
    def is_pointwise(self) -> bool:
        """Whether it is made of pointwise nodes."""
        return self.nodes[0].is_pointwise

    def common_shape(self, node: Node) -> Shape | None:
        """The shape that all nodes and another one can run over, if there is one."""
        if not (self.is_pointwise and node.is_pointwise) or len(self.nodes) >= MOST_NODES:
            return None
        if node.takes_shape(self.shape):
            shape = self.shape
        elif all(each.takes_shape(node.shape) for each in self.nodes):
            shape = node.shape
        else:
            return None
        used = {key for each in (*self.nodes, node) for key in keys(each, shape)}
        return shape if len(used) <= MOST_OPERANDS else None

    def is_aligned(self, node: Node, shape: Shape) -> bool:
        """Whether no element of a node meets another element of this stage."""
        own = keys(node, shape)
        for each in self.nodes:
            others = keys(each, shape)
            if any(own[i] != others[j] for i, j in conflicts(node, each)):
                return False
        return True

    def add(self, node: Node, shape: Shape) -> None:
        """Takes a node in."""
        self.nodes.append(node)
        self.shape = shape


Key = tuple[int, int, str, tuple[int, ...]]


def keys(node: Node, shape: Shape) -> list[Key]:
    """What tells a node's operands over a shape apart: equal keys are the same elements."""
    found = []
    for x in node.operands:
        strides = node.strides_in(shape, x)
        assert strides is not None
        found.append((id(x.root), x.start, x.dtype.char, strides))
    return found


class Group:
    """Stages that run over the same units; 0 units while that is open, for one pointwise stage."""

    def __init__(self, node: Node) -> None:
        self.stages = [Stage(node)]
        self.units = 0
        self.chunk = 0
        self.placements: dict[Node, Placement] = {}
        if not node.is_pointwise:
            self._settle_on(node, [node])

    def nodes(self) -> Iterator[Node]:
        """All nodes, in order."""
        for stage in self.stages:
            yield from stage.nodes

    def _settle_on(self, node: Node, nodes: Iterable[Node]) -> bool:
        """Chooses units that a node and others can run over."""
        everyone = list(nodes)
        for units in _candidates(node):
            chunk = node.core[0] if node.rest else 0
            found = {each: placed(each, units, chunk) for each in everyone}
            if None not in found.values() and units > 1:
                self.units, self.chunk = units, chunk
                self.placements = {n: place for n, place in found.items() if place is not None}
                return True
        return False

    def join(self, node: Node) -> bool:
        """Takes a node in, if that is possible."""
        if not self.units:
            stage = self.stages[0]
            if not stage.is_pointwise:
                return False
            shape = stage.common_shape(node)
            if shape is not None and stage.is_aligned(node, shape):
                stage.add(node, shape)
                return True
            if not self._settle_on(node, [*self.nodes(), node]):
                return False
            if not self._fits(self.placements[node]):
                self.units, self.chunk, self.placements = 0, 0, {}
                return False
        else:
            place = placed(node, self.units, self.chunk)
            if place is None or not self._fits(place):
                return False
            self.placements[node] = place
        self._insert(node)
        return True

    def _fits(self, place: Placement) -> bool:
        """Whether no unit of a node meets another unit of the nodes that are here."""
        own = list(place.steps())
        for each in self.nodes():
            if each is place.node:
                continue
            pairs = conflicts(place.node, each)
            if not pairs:
                continue
            others = list(self.placements[each].steps())
            for i, j in pairs:
                (x, step, within), (y, other, other_within) = own[i], others[j]
                if not (within and other_within and x.start == y.start and step == other):
                    return False
        return True

    def _insert(self, node: Node) -> None:
        """Puts a node into the first stage that it may be part of, or makes a stage of it."""
        chosen = None
        for stage in reversed(self.stages):
            shape = stage.common_shape(node)
            meets = any(conflicts(node, each) for each in stage.nodes)
            if shape is not None and (not meets or stage.is_aligned(node, shape)):
                chosen = stage, shape
            if meets:
                break
        if chosen is None:
            self.stages.append(Stage(node))
        else:
            chosen[0].add(node, chosen[1])


class Barrier:
    """A requirement between groups."""

    def __init__(self, condition: Operand) -> None:
        self.condition = condition


Part = Group | Barrier


def grouped(nodes: Sequence[Node | Operand], effects: set[int]) -> list[Part]:
    """The nodes in groups. ``effects`` are the ids of the memory that requirements protect."""
    parts: list[Part] = []
    for node in nodes:
        if isinstance(node, Operand):
            parts.append(Barrier(node))
        elif not _joined(parts, node, effects):
            parts.append(Group(node))
    return parts


def _joined(parts: Sequence[Part], node: Node, effects: set[int]) -> bool:
    protected = any(id(x.root) in effects for x in node.outputs)
    open_to: Group | None = None
    for part in reversed(parts):
        if isinstance(part, Barrier):
            relies = protected or not node.is_pointwise  # as on indices that are in range
            if relies or any(x.overlaps(part.condition) for x in node.outputs):
                break
            continue
        meets = any(conflicts(node, each) for each in part.nodes())
        if meets:
            return part.join(node) or (open_to is not None and open_to.join(node))
        if open_to is None and _related(part, node):
            open_to = part
    return open_to is not None and open_to.join(node)


def _related(group: Group, node: Node) -> bool:
    """Whether to join a group saves a node reading memory again, or a call that is all it costs."""
    small = prod(node.shape) <= _FEW and not group.units
    if small and group.stages[0].common_shape(node) is not None:
        return True
    roots = {id(x.root) for each in group.nodes() for x in each.operands if x.hi - x.lo > 8}
    return any(id(x.root) in roots for x in node.operands)


# ---------------------------------------------------------------------- one loop of a stage


class FusedLoop:
    """The expressions of a pointwise stage: what is read, what is computed, where it goes."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Node, int]] = []  # a node and which of its operands
        self.outputs: list[tuple[Node, int]] = []
        self.expressions: list[Expr] = []


def literal(x: Operand, constants: set[int]) -> Expr | None:
    """The 0 or 1 that all elements of an operand always are, if they are; it is part of the code.

    What it is starts with is mostly the gradient of a sum. Other numbers are read, as they may
    depend on sizes, of which the code shall be independent.
    """
    if id(x.root) not in constants or x.lo == x.hi:
        return None
    raw, size = string_at(data_address(x.root) + x.lo, x.hi - x.lo), x.dtype.itemsize
    if raw != raw[:size] * (len(raw) // size):
        return None
    for value in (0, 1):
        if raw[:size] == np.array(value, x.dtype).tobytes():
            return constant(value, x.dtype)
    return None


def fused(stage: Stage, stored: dict[tuple[int, int], bool], constants: set[int]) -> FusedLoop:
    """The loop of a pointwise stage; ``stored`` says which outputs of which nodes are wanted."""
    known: dict[Key, Expr] = {}
    sources: dict[str, tuple[Node, int]] = {}
    results: dict[Key, tuple[Expr, Node, int]] = {}
    for node in stage.nodes:
        places = keys(node, stage.shape)
        inputs: dict[str, Expr] = {}
        for i, x in enumerate(node.operands[: node.loop.inputs]):
            value = known.get(places[i])
            if value is None and i not in node.numbers:
                value = literal(x, constants)
            if value is None:
                value = symbol(len(sources), x.dtype)
                sources[value.key] = (node, i)
            known[places[i]] = value
            inputs[symbol(i, x.dtype).key] = value
        assert node.loop.expressions is not None
        values = substituted(node.loop.expressions, inputs)
        for i, value in enumerate(values, node.loop.inputs):
            known[places[i]] = value
            results.pop(places[i], None)
            if stored[id(node), i]:
                results[places[i]] = (value, node, i)
    loop = FusedLoop()
    wanted = [value for value, _, _ in results.values()]
    used = [node.key for node in nodes_of(*wanted) if node.key in sources]
    renamed = {key: symbol(i, _dtype(sources[key])) for i, key in enumerate(used)}
    loop.inputs = [sources[key] for key in used]
    loop.outputs = [(node, i) for _, node, i in results.values()]
    loop.expressions = substituted(wanted, renamed)
    return loop


def _dtype(place: tuple[Node, int]) -> np.dtype[Any]:
    node, i = place
    dtype: np.dtype[Any] = node.operands[i].dtype
    return dtype
