"""Which memory someone else than a queue of launches refers to, by CPython's reference counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from numtorch_kernels import memory
from numtorch_kernels.launches import Launch, Step, base_of, root_of, span_of
from numtorch_kernels.layout import data_address

from ..autograd.graph import Node
from ..autograd.saved import SavedResult
from ..ops.apply import OpNode
from ..tensor import Tensor
from .sources import Impure

Array = np.ndarray[Any, Any]


def operands_of(steps: Sequence[Step]) -> Iterator[Array]:
    """All arrays that steps use."""
    for step in steps:
        if isinstance(step, Launch):
            yield from step.operands
        else:
            yield step.condition


def written_roots(steps: Sequence[Step]) -> dict[int, Array]:
    """The memory that launches write to, by id."""
    found = {}
    for step in steps:
        if isinstance(step, Launch):
            for array in step.writes:
                root = root_of(array)
                found[id(root)] = root
    return found


def place_of(array: Array) -> tuple[int, int]:
    """The address of the first byte that an array uses, and of the first behind it."""
    low, high = span_of(array)
    return data_address(array) + low, data_address(array) + high


def reach_of(steps: Sequence[Step], root: Array) -> tuple[int, int]:
    """The span of all operands that are parts of a piece of memory."""
    spans = [place_of(x) for x in operands_of(steps) if root_of(x) is root]
    return min(low for low, _ in spans), max(high for _, high in spans)


def _references(objects: dict[int, Any]) -> dict[int, int]:
    return {key: sys.getrefcount(each) for key, each in objects.items()}


def _own_references() -> int:
    """What :func:`_references` says of an object that only its argument refers to."""
    alone = np.empty(0)
    objects: dict[int, Any] = {id(alone): alone}
    key = id(alone)
    del alone
    return _references(objects)[key]


_OWN = _own_references()


def _collect(steps: Sequence[Step], objects: dict[int, Array], slots: dict[int, int]) -> None:
    """Notes all arrays of steps and what they are views of, and how often steps refer to each."""
    for array in operands_of(steps):
        slots[id(array)] = slots.get(id(array), 0) + 1
        objects[id(array)] = array
    pending = list(objects.values())
    while pending:
        base = base_of(pending.pop())
        if base is not None:
            slots[id(base)] = slots.get(id(base), 0) + 1
            if id(base) not in objects:
                objects[id(base)] = base
                pending.append(base)


def held_by_graph(results: Sequence[Tensor], first_node: int) -> dict[int, int]:
    """How often nodes from a number on refer to each array, by id, through what they saved.

    A tensor that someone else refers to is not theirs alone, nor is its array. Raises Impure for a
    graph with nodes of other kinds than operations.
    """
    tensors: dict[int, Tensor] = {}
    uses: dict[int, int] = {}
    held: dict[int, int] = {}
    pending = [x._node for x in results]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        node = node[0] if isinstance(node, tuple) else node
        if not isinstance(node, Node) or id(node) in seen or node.number < first_node:
            continue
        seen.add(id(node))
        if not isinstance(node, OpNode):
            raise Impure(f"its graph has a {type(node).__name__}")
        pending += node.edges
        _collect_saved(node.saved, tensors, uses, held)
    for key, count in _references(tensors).items():
        if count == _OWN + uses[key]:
            array = tensors[key]._array
            held[id(array)] = held.get(id(array), 0) + 1
    return held


def _collect_saved(
    values: Any, tensors: dict[int, Tensor], uses: dict[int, int], held: dict[int, int]
) -> None:
    """Notes the tensors among saved values, and how often they occur; and arrays of results."""
    for value in values or ():
        if isinstance(value, SavedResult):
            held[id(value.array)] = held.get(id(value.array), 0) + 1
        elif isinstance(value, Tensor):
            if id(value) not in tensors and value._view is not None:
                _collect_saved((value._view.base,), tensors, uses, held)
            tensors[id(value)] = value
            uses[id(value)] = uses.get(id(value), 0) + 1
        elif isinstance(value, tuple | list):
            _collect_saved(value, tensors, uses, held)


def alive(steps: Sequence[Step], held: Mapping[int, int] | None = None) -> set[int]:
    """The ids of the memory that someone else than the steps refers to.

    ``held`` says how often each array is referred to by who does not count.
    """
    slots: dict[int, int] = dict(held or {})
    objects: dict[int, Array] = {}
    _collect(steps, objects, slots)
    found = set()
    counts = _references(objects)
    pooled = memory.pooled_ids()
    for key, count in counts.items():
        if count - _OWN - slots[key] - (key in pooled) > 0:
            found.add(id(root_of(objects[key])))
    return found
