"""Where everything is while a program runs: what is constant, in registers, in scratch, in between.

What is in between lies in the arena, at places that are free again after the last use; or in a
block's scratch where one group is the only one that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .fusion import Barrier, Group, Stage, grouped
from .launches import Node, Operand, Step, nodes_of, root_of, span_of
from .layout import data_address
from .memory import ALIGNMENT, aligned_size
from .simplification import needed, without_copies

Array = np.ndarray[Any, Any]
Local = dict[int, tuple[Group, int, int]]

PLACES = 3  # entries of the table before those of bound arrays: absolute addresses, arena, scratch
ABSOLUTE, ARENA = 0, 1


class Refused(Exception):
    """Why launches cannot be made a program."""


class Plan:
    """The groups of launches, and the place of all memory that they use.

    ``inputs`` are the arrays whose contents and place may differ from call to call, ``outputs``
    those that are to hold what the launches write to them. Memory that is neither, but is read
    before it is written, is taken for constant.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        bound = (*inputs, *outputs)
        self._memory = _Memory(bound)
        kept = {id(root_of(array)) for array in bound}
        nodes = without_copies(needed(nodes_of(steps), kept), kept)
        self.initial = self._initial_values(nodes, kept)
        self.parts = grouped(nodes, {id(root_of(array)) for array in inputs})
        self.stored = self._find_stored(kept)
        self.local = self._local_roots(kept | {id(x.root) for x in self.initial})
        self.arena = self._lay_out(kept)
        self.written = {
            id(x.root)
            for part in self.parts
            if isinstance(part, Group)
            for node in part.nodes()
            for x in node.outputs
        }

    def place(self, x: Operand) -> tuple[int, int]:
        """The entry of the table from which an operand is found, and the offset from there."""
        return self._memory.place(x)

    def initial_values(self) -> list[tuple[int, Array]]:
        """The bytes that memory in between starts with, and where in the arena they go."""
        return [
            (self._memory.arena[id(x.root)], x.root.copy().reshape(-1).view(np.uint8))
            for x in self.initial
        ]

    def _initial_values(self, nodes: Sequence[Node | Operand], kept: set[int]) -> list[Operand]:
        """What is read before it is all written, and written later: it starts with its values.

        What is never written is constant, and stays where it is.
        """
        written: dict[int, list[Operand]] = {}
        early: dict[int, Operand] = {}
        for node in nodes:
            reads = node.inputs if isinstance(node, Node) else [node]
            for x in reads:
                if id(x.root) not in kept and not _covered(x, written.get(id(x.root), ())):
                    early[id(x.root)] = x
            if isinstance(node, Node):
                for x in node.outputs:
                    written.setdefault(id(x.root), []).append(x)
        self.constants = early.keys() - written.keys()
        self.kept_alive = [early[key].root for key in self.constants]
        initial = [x for key, x in early.items() if key in written]
        if not all(x.root.flags.c_contiguous for x in initial):
            raise Refused("memory that is not contiguous starts with values")
        return initial

    def _find_stored(self, kept: set[int]) -> dict[tuple[int, int], bool]:
        """Which outputs of pointwise nodes must be in memory: for others than their own stage."""
        stored: dict[tuple[int, int], bool] = {}
        stages = [s for part in self.parts if isinstance(part, Group) for s in part.stages]
        reads: dict[int, list[tuple[Stage | None, Operand]]] = {}
        for stage in stages:
            for node in stage.nodes:
                for x in node.inputs:
                    reads.setdefault(id(x.root), []).append((stage, x))
        for part in self.parts:
            if isinstance(part, Barrier):
                x = part.condition
                reads.setdefault(id(x.root), []).append((None, x))
        for stage in stages:
            for node in stage.nodes:
                for i, x in enumerate(node.outputs, node.loop.inputs):
                    stored[id(node), i] = id(x.root) in kept or any(
                        other is not stage and x.overlaps(read)
                        for other, read in reads.get(id(x.root), ())
                    )
        return stored

    def _local_roots(self, kept: set[int]) -> Local:
        """The memory that one group alone uses, unit by unit: its group, step and first byte."""
        found: Local = {}
        barred = set(kept) | set(self.constants)
        for part in self.parts:
            if isinstance(part, Barrier):
                barred.add(id(part.condition.root))
                continue
            for node in part.nodes():
                place = part.placements.get(node)
                if place is None:
                    barred.update(id(x.root) for x in node.operands)
                    continue
                for x, step, within in place.steps():
                    entry = (part, step, x.start)
                    if not within or step <= 0 or found.setdefault(id(x.root), entry) != entry:
                        barred.add(id(x.root))
        return {key: entry for key, entry in found.items() if key not in barred}

    def _in_memory(self) -> set[int]:
        """The ids of all memory that is not only in registers."""
        found = set()
        for part in self.parts:
            if isinstance(part, Barrier):
                found.add(id(part.condition.root))
                continue
            for node in part.nodes():
                if node.is_pointwise:
                    count = node.loop.inputs
                    outputs = enumerate(node.outputs, count)
                    found |= {id(x.root) for i, x in outputs if self.stored[id(node), i]}
                else:
                    found |= {id(x.root) for x in node.operands}
        return found

    def _lay_out(self, kept: set[int]) -> Array:
        """Gives what is in between a place in the arena, which is free again after its last use."""
        first: dict[int, int] = {id(x.root): 0 for x in self.initial}
        last: dict[int, int] = {}
        roots: dict[int, Array] = {}
        placed = self._in_memory() | first.keys()
        placed -= kept | self.local.keys() | self.constants
        for number, part in enumerate(self.parts):
            operands = (
                [part.condition]
                if isinstance(part, Barrier)
                else [x for node in part.nodes() for x in node.operands]
            )
            for x in operands:
                key = id(x.root)
                if key in placed:
                    first.setdefault(key, number)
                    last[key] = number
                    roots[key] = x.root
        size = 0
        live: list[tuple[int, int, int]] = []  # start, end, last use
        for key in sorted(first, key=lambda each: first[each]):
            live = [span for span in live if span[2] >= first[key]]
            length = aligned_size(max(roots[key].nbytes, 1))
            start = 0
            for low, high, _ in sorted(live):
                if low - start >= length:
                    break
                start = max(start, high)
            live.append((start, start + length, last[key]))
            self._memory.arena[key] = start
            size = max(size, start + length)
        return aligned_bytes(size)


class _Memory:
    """Which bound array, or which part of the arena, each piece of memory is in."""

    def __init__(self, bound: Sequence[Array]) -> None:
        self.bound = list(bound)
        self.spans: dict[int, list[tuple[int, int, int]]] = {}
        for slot, array in enumerate(self.bound):
            root = root_of(array)
            start = data_address(array) - data_address(root)
            low, high = span_of(array)
            self.spans.setdefault(id(root), []).append((start + low, start + high, slot))
            self.spans[id(root)].sort(key=lambda span: span[1] - span[0])
        self.starts = [data_address(array) - data_address(root_of(array)) for array in self.bound]
        self.arena: dict[int, int] = {}

    def place(self, x: Operand) -> tuple[int, int]:
        """The entry of the table and the offset from there."""
        spans = self.spans.get(id(x.root), ())
        for lo, hi, slot in spans:
            if lo <= x.lo and x.hi <= hi:
                return PLACES + slot, x.start - self.starts[slot]
        if spans and x.lo < x.hi:
            raise Refused("memory outside of an array that is bound is used")
        if id(x.root) in self.arena:
            return ARENA, self.arena[id(x.root)] + x.start
        return ABSOLUTE, data_address(x.root) + x.start


def _covered(x: Operand, written: Sequence[Operand]) -> bool:
    """Whether all bytes that an operand reaches over have been written."""
    reached = x.lo
    for other in sorted(written, key=lambda each: each.lo):
        if other.dense and other.lo <= reached:
            reached = max(reached, other.hi)
    return reached >= x.hi


def aligned_bytes(size: int) -> Array:
    """Uninitialised memory that begins with a cache line."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -data_address(memory) % ALIGNMENT
    return memory[start : start + size]
