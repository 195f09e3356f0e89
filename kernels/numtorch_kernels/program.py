"""From launches to a program: memory for what is in between, and the words that describe it all.

A program reads given arrays, writes given arrays, and keeps what is in between in memory of its own:
in the arena, or in a block's scratch where a group is the only one that needs it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import types

from . import interpreter as I
from . import threads
from .build import TASK, Loop, machine_code
from .expression import Expr
from .fusion import Barrier, Group, Part, Placement, Stage, fused, grouped
from .launches import Node, Operand, Step, address_of, nodes_of, root_of
from .memory import ALIGNMENT
from .pointwise import loop_of
from .simplification import needed, without_copies

Array = np.ndarray[Any, Any]

_BLOCK_BYTES = 1 << 16  # of what a block of units touches: it stays in a second-level cache
_MATRIX_BYTES = 1 << 18  # the same of a group with a matrix product, which likes tall blocks
_ROWS = 6  # of a tile of a matrix product; shares of tasks are multiples
_LANES = 64  # elements that shares of pointwise work are multiples of
_SHORT = 32  # elements; a loop along fewer costs more to call than to run
WORTH = 20_000  # nanoseconds of work from which a second thread pays
_PLACES = 3  # of the table, before those of bound arrays: absolute addresses, arena, scratch
_ABSOLUTE, _ARENA = 0, 1

# What an element of a pointwise loop costs, in nanoseconds, by its primitives; others 0.1.
_COSTS = {
    **dict.fromkeys(("exp", "exp2", "log", "log2", "log10", "sigmoid", "sin", "cos", "tanh"), 0.8),
    **dict.fromkeys(("expm1", "log1p", "erf", "erfc", "tan", "atan", "asin", "acos", "atan2"), 2.0),
    **dict.fromkeys(("pow", "sinh", "cosh", "erfinv", "asinh", "acosh", "atanh"), 3.0),
    **dict.fromkeys(("fmod", "remainder", "floor_divide"), 4.0),
}


class Refused(Exception):
    """Why launches cannot be made a program."""


class StageReport(NamedTuple):
    """What :meth:`Program.report` says of a stage."""

    labels: tuple[str, ...]
    loop: Loop
    group: int
    reads: int  # bytes of memory that is not the block's own
    writes: int


class _Memory:
    """Where each piece of memory is while a program runs."""

    def __init__(self, bound: Sequence[Array]) -> None:
        self.bound = list(bound)
        self.spans: dict[int, list[tuple[int, int, int]]] = {}
        for slot, array in enumerate(self.bound):
            root = root_of(array)
            start = address_of(array) - address_of(root)
            low, high = _span(array)
            self.spans.setdefault(id(root), []).append((start + low, start + high, slot))
            self.spans[id(root)].sort(key=lambda span: span[1] - span[0])
        self.starts = [address_of(array) - address_of(root_of(array)) for array in self.bound]
        self.arena: dict[int, int] = {}
        self.constants: dict[int, Array] = {}

    def place(self, x: Operand) -> tuple[int, int]:
        """The entry of the table and the offset from there."""
        for lo, hi, slot in self.spans.get(id(x.root), ()):
            if lo <= x.lo and x.hi <= hi:
                return _PLACES + slot, x.start - self.starts[slot]
        if id(x.root) in self.arena:
            return _ARENA, self.arena[id(x.root)] + x.start
        return _ABSOLUTE, address_of(x.root) + x.start


class Program:
    """Launches as one call, for arrays of certain shapes and strides.

    ``inputs`` are the arrays whose contents and place may differ from call to call, ``outputs``
    those that are to hold what the launches write to them. Memory that is neither, but is read
    before it is written, is taken for constant.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        self.lock = threading.Lock()
        self.reports: list[StageReport] = []
        self._keep: list[Any] = []
        self._memory = _Memory([*inputs, *outputs])
        self.checked = len(inputs)
        kept = {id(root_of(array)) for array in (*inputs, *outputs)}
        nodes = without_copies(needed(nodes_of(steps), kept), kept)
        effects = {id(root_of(array)) for array in inputs}
        initial = self._initial_values(nodes, kept)
        self.starting = [x.root for x in initial]
        self._parts = grouped(nodes, effects)
        self._stored = self._find_stored(kept)
        local = self._local_roots(kept | {id(x.root) for x in initial})
        self._arena = self._lay_out(kept, local, initial)
        self._write(local)
        self.initial = [
            (self._memory.arena[id(x.root)], x.root.copy().reshape(-1).view(np.uint8))
            for x in initial
        ]
        del self._parts, self._memory, self._stored

    # ------------------------------------------------------------------ memory

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
        self._constants = early.keys() - written.keys()
        self._keep += [early[key].root for key in self._constants]
        initial = [x for key, x in early.items() if key in written]
        if not all(x.root.flags.c_contiguous for x in initial):
            raise Refused("memory that is not contiguous starts with values")
        return initial

    def _find_stored(self, kept: set[int]) -> dict[tuple[int, int], bool]:
        """Which outputs of pointwise nodes must be in memory: for others than their own stage."""
        stored: dict[tuple[int, int], bool] = {}
        stages = [s for part in self._parts if isinstance(part, Group) for s in part.stages]
        reads: dict[int, list[tuple[Stage | None, Operand]]] = {}
        for stage in stages:
            for node in stage.nodes:
                for x in node.inputs:
                    reads.setdefault(id(x.root), []).append((stage, x))
        for part in self._parts:
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

    def _local_roots(self, kept: set[int]) -> dict[int, tuple[Group, int, int]]:
        """The memory that one group alone uses, unit by unit: its group, step and first byte."""
        found: dict[int, tuple[Group, int, int]] = {}
        barred = set(kept) | set(self._constants)
        for part in self._parts:
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
        for part in self._parts:
            if isinstance(part, Barrier):
                found.add(id(part.condition.root))
                continue
            for node in part.nodes():
                if node.is_pointwise:
                    count = node.loop.inputs
                    outputs = enumerate(node.outputs, count)
                    found |= {id(x.root) for i, x in outputs if self._stored[id(node), i]}
                else:
                    found |= {id(x.root) for x in node.operands}
        return found

    def _lay_out(
        self,
        kept: set[int],
        local: dict[int, tuple[Group, int, int]],
        initial: Sequence[Operand],
    ) -> Array:
        """Gives what is in between a place in the arena, which is free again after its last use."""
        first: dict[int, int] = {id(x.root): 0 for x in initial}
        last: dict[int, int] = {}
        roots: dict[int, Array] = {}
        placed = self._in_memory() | first.keys()
        placed -= kept | local.keys() | self._constants
        for number, part in enumerate(self._parts):
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
            length = -(-max(roots[key].nbytes, 1) // ALIGNMENT) * ALIGNMENT
            start = 0
            for low, high, _ in sorted(live):
                if low - start >= length:
                    break
                start = max(start, high)
            live.append((start, start + length, last[key]))
            self._memory.arena[key] = start
            size = max(size, start + length)
        return _aligned_bytes(size)

    # ------------------------------------------------------------------ words

    def _write(self, local: dict[int, tuple[Group, int, int]]) -> None:
        written = {
            id(x.root)
            for part in self._parts
            if isinstance(part, Group)
            for node in part.nodes()
            for x in node.outputs
        }
        records: list[list[int]] = []
        scratch_size = 0
        threaded = False
        for number, part in enumerate(self._parts):
            if isinstance(part, Barrier):
                place, offset = self._memory.place(part.condition)
                records.append([I.REQUIREMENT_HEAD, 0, place, offset])
                records[-1] += [0] * (I.REQUIREMENT_HEAD - len(records[-1]))
                continue
            encoded = _Encoder(self, part, local, number)
            records.append(encoded.words)
            scratch_size = max(scratch_size, encoded.scratch * encoded.tasks)
            threaded = threaded or encoded.tasks > 1
        self.memory = self._arena.size + scratch_size
        self.cost = sum(_cost(part) for part in self._parts if isinstance(part, Group))
        self._scratch = _aligned_bytes(scratch_size)
        bound = self._memory.bound
        self._table = np.zeros(_PLACES + len(bound), np.int64)
        self._table[_ARENA] = address_of(self._arena)
        self._table[I.SCRATCH_PLACE] = address_of(self._scratch)
        self._table[_PLACES:] = [address_of(array) for array in bound]
        table = address_of(self._table)
        words = [0] * I.HEAD
        words[I.ARRAYS], words[I.GROUPS], words[I.TABLE] = len(bound), len(records), table
        words[I.WORKERS], words[I.ITEMS], words[I.OBJECT] = 1, _TUPLE_HEAD, _OBJECT_HEAD
        if threaded and threads.concurrency() > 1:
            words[I.REGION], words[I.TASK] = threads.region_address(), _share_address()
        for slot, array in enumerate(bound):
            checked = slot < self.checked
            low, high = _span(array)
            words += [_PLACES + slot, checked, checked and id(root_of(array)) in written]
            words += [low, high, array.ndim, _kind(array.dtype)]
            words += [*array.shape, *array.strides]
        for record in records:
            if record[I.UNITS]:
                record[I.BASES] = table
            words += record
        self.words = np.array(words, np.int64)
        self.address = address_of(self.words)
        self.launches_threads = bool(words[I.REGION])

    # ------------------------------------------------------------------ running

    def restore(self) -> None:
        """Gives memory that launches add to the values that it starts with."""
        for place, values in self.initial:
            self._arena[place : place + values.size] = values

    def run(self, arrays: tuple[Array, ...]) -> int:
        """Runs the program on arrays like those it was made for; the result is a status.

        It is 0; the number of an array that is not of the expected shape, strides or dtype, and
        nothing has happened; or minus the number of a requirement that did not hold.
        """
        with self.lock:
            if self.initial:
                self.restore()
            return self.enter(arrays)

    def bind(self, arrays: tuple[Array, ...]) -> int:
        """Notes where arrays lie, without running anything; the status is that of :meth:`run`."""
        return _binding()(self.address, arrays)

    @property
    def is_short(self) -> bool:
        """Whether it runs on one thread, and so fast that others can wait for the GIL."""
        return not self.launches_threads and self.cost < WORTH

    def short_call(self) -> tuple[Any, int]:
        """The quickest call of a short program is ``f(address, arrays)``: f and the address."""
        return _entry(), self.address

    def enter(self, arrays: tuple[Array, ...]) -> int:
        """Likewise, for a caller who has taken the lock and restored what is to be restored."""
        if self.is_short:
            return _entry()(self.address, arrays)
        if not self.launches_threads:
            return _releasing_entry()(self.address, arrays)
        with threads.admission() as workers:
            self.words[I.WORKERS] = workers
            return _releasing_entry()(self.address, arrays)


def _span(array: Array) -> tuple[int, int]:
    """The first byte that an array uses, and the first behind it, from its first element on."""
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    if not array.size:
        return 0, 0
    return sum(min(each, 0) for each in reach), sum(max(each, 0) for each in reach) + array.itemsize


def _kind(dtype: np.dtype[Any]) -> int:
    """What the interpreter finds in the object of a dtype."""
    word = ctypes.c_int64.from_address(id(dtype) + _OBJECT_HEAD + 8 * I.KIND_WORD)
    return word.value & I.KIND_MASK


def _covered(x: Operand, written: Sequence[Operand]) -> bool:
    """Whether all bytes that an operand reaches over have been written."""
    reached = x.lo
    for other in sorted(written, key=lambda each: each.lo):
        if other.dense and other.lo <= reached:
            reached = max(reached, other.hi)
    return reached >= x.hi


def _aligned_bytes(size: int) -> Array:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address_of(memory) % ALIGNMENT
    return memory[start : start + size]


def _cost(group: Group) -> float:
    """Roughly the nanoseconds that a group takes on one thread."""
    total = 0.0
    for stage in group.stages:
        size = prod(stage.nodes[0].shape) * prod(stage.nodes[0].core)
        if stage.is_pointwise:
            total += size * sum(element_cost(node.loop) for node in stage.nodes)
        elif stage.nodes[0].loop.name == "multiply_in_place":
            total += size / 60
        else:
            total += size * (0.15 if stage.nodes[0].loop.name in ("rows", "columns") else 0.8)
    return total


def element_cost(loop: Loop) -> float:
    """Roughly the nanoseconds that a pointwise loop takes for an element in cache."""
    seen: dict[str, Expr] = {}
    pending = list(loop.expressions or ())
    while pending:
        each = pending.pop()
        if each.key not in seen:
            seen[each.key] = each
            pending += [x for x in each.arguments if isinstance(x, Expr)]
    return 0.1 + sum(_COSTS.get(each.name, 0.1) for each in seen.values())


class _Encoder:
    """Writes the record of a group."""

    def __init__(
        self,
        program: Program,
        group: Group,
        local: dict[int, tuple[Group, int, int]],
        number: int,
    ) -> None:
        self.program = program
        self.group = group
        self.number = number
        self.grain = 1
        self.units = group.units
        self.local = {key: entry for key, entry in local.items() if entry[0] is group}
        if not group.units:
            self._choose_units()
        self.block = self._block()
        stages = [self._stage(stage) for stage in group.stages]
        stages = [stage for stage in stages if stage]
        workers = threads.concurrency() if _cost(group) >= WORTH else 1
        parts = -(-self.units // self.grain)
        self.tasks = max(1, min(workers, parts))
        self.words = [0] * I.GROUP_HEAD
        self.words[I.UNITS] = self.units
        self.words[I.BLOCK] = self.block
        self.words[I.TASKS] = self.tasks
        self.words[I.GRAIN] = self.grain
        self.words[I.STAGES] = len(stages)
        self.words[I.SCRATCH] = self.scratch
        for stage in stages:
            self.words += stage
        self.words[I.LENGTH] = len(self.words)

    # ------------------------------------------------------------------ units and blocks

    def _choose_units(self) -> None:
        """Units of a single stage: pieces of a flat loop, else its first dimension."""
        (stage,) = self.group.stages
        shape = stage.shape
        if stage.is_pointwise and len(shape) == 1:
            self.units = -(-shape[0] // _LANES)
            self.group.chunk = _LANES
        else:
            self.units = shape[0] if shape else 1

    @property
    def scratch(self) -> int:
        """Bytes of each task for what only this group uses."""
        return sum(
            -(-(start + self.block * step) // ALIGNMENT) * ALIGNMENT
            for _, step, start in self.local.values()
        )

    def _block(self) -> int:
        """How many units pass through all stages together."""
        touched = 0
        matrix = any(place.along == "core" for place in self.group.placements.values())
        if matrix:
            self.grain = _ROWS
        if len(self.group.stages) == 1:
            return self.units
        for place in self.group.placements.values():
            touched += max(abs(step) for step in place.units)
        count = max(1, (_MATRIX_BYTES if matrix else _BLOCK_BYTES) // max(touched, 1))
        if matrix:
            count = max(count // _ROWS, 4) * _ROWS
        return min(count, self.units)

    # ------------------------------------------------------------------ stages

    def _stage(self, stage: Stage) -> list[int]:
        node = stage.nodes[0]
        if not stage.is_pointwise or self._is_alone(stage):
            return self._encode(
                node.loop,
                [(node, i) for i in range(len(node.operands))],
                stage.shape,
                (node.label,),
                node.core,
            )
        loop = fused(stage, self.program._stored, self.program._constants)
        if not loop.expressions:
            return []
        operands = [*loop.inputs, *loop.outputs]
        labels = tuple(node.label for node in stage.nodes)
        return self._encode(loop, operands, stage.shape, labels, ())

    def _is_alone(self, stage: Stage) -> bool:
        """Whether a stage is a loop that eager execution has as well: one more is not compiled."""
        (node, *others), stored = stage.nodes, self.program._stored
        count = node.loop.inputs
        return not others and all(stored[id(node), count + i] for i in range(node.loop.outputs))

    def _encode(
        self,
        loop: Any,
        operands: list[tuple[Node, int]],
        shape: tuple[int, ...],
        labels: tuple[str, ...],
        core: tuple[int, ...],
    ) -> list[int]:
        units, inner, strides, matrix = self._layout(operands, shape, core)
        limit = prod(shape)
        if matrix:
            mode = I.MATRIX
        elif core and operands[0][0].rest:
            node = operands[0][0]
            mode, limit = I.CHUNKS, (node.shape[0] - 1) * core[0] + node.rest
        else:
            mode, inner, strides = _mode(units, inner, strides, self.units)
        if not isinstance(loop, Loop):
            steps = units if mode == I.ACROSS else [each[-1] if each else 0 for each in strides]
            loop = self._compiled(loop, operands, steps)
        words = [0] * I.STAGE_HEAD
        words[I.LOOP] = loop.address
        words[I.MODE] = mode
        words[I.OPERANDS] = len(operands)
        words[I.SIZES] = len(inner)
        words[I.CORES] = len(core)
        words[I.LIMIT] = limit
        core_steps = [step for node, i in operands for step in node.operands[i].core_strides]
        words[I.CORE_STEPS] = len(core_steps) if core else 0
        words += [*inner, *core, *(core_steps if core else [])]
        for (node, i), unit, each in zip(operands, units, strides, strict=True):
            place, offset, own = self._place(node.operands[i])
            words += [place, offset, unit, own, *each]
        words[I.STAGE_LENGTH] = len(words)
        self._report(loop, operands, labels)
        return words

    def _layout(
        self, operands: list[tuple[Node, int]], shape: tuple[int, ...], core: tuple[int, ...]
    ) -> tuple[list[int], tuple[int, ...], list[tuple[int, ...]], bool]:
        """The operands' steps from unit to unit, and sizes and strides within a unit."""
        group = self.group
        if group.placements:
            places = [group.placements[node] for node, _ in operands]
            units = [place.units[i] for place, (_, i) in zip(places, operands, strict=True)]
            inner = max((place.inner for place in places), key=len)
            strides = [
                _strides_in(place, i, inner) for place, (_, i) in zip(places, operands, strict=True)
            ]
            return units, inner, strides, places[0].along == "core"
        found = []
        for node, i in operands:
            each = node.strides_in(shape, node.operands[i])
            assert each is not None
            found.append(each)
        if group.chunk:
            return [e[0] * group.chunk for e in found], (group.chunk,), found, False
        return [e[0] if e else 0 for e in found], shape[1:], [e[1:] for e in found], False

    def _compiled(self, loop: Any, operands: list[tuple[Node, int]], steps: Sequence[int]) -> Loop:
        count = len(loop.inputs)
        dtypes = tuple(node.operands[i].dtype for node, i in loop.inputs)
        scalars = frozenset(i for i in range(count) if steps[i] == 0)
        return loop_of(loop.expressions, dtypes, scalars)

    def _place(self, x: Operand) -> tuple[int, int, bool]:
        """The entry of the table, the offset from there, and whether it is the task's own."""
        if id(x.root) not in self.local:
            return *self.program._memory.place(x), False
        offset = 0
        for key, (_, step, start) in self.local.items():
            if key == id(x.root):
                break
            offset += -(-(start + self.block * step) // ALIGNMENT) * ALIGNMENT
        return I.SCRATCH_PLACE, offset + x.start, True

    def _report(
        self, loop: Loop, operands: list[tuple[Node, int]], labels: tuple[str, ...]
    ) -> None:
        sizes = [
            0
            if id(node.operands[i].root) in self.local
            else node.operands[i].hi - node.operands[i].lo
            for node, i in operands
        ]
        reads, writes = sum(sizes[: loop.inputs]), sum(sizes[loop.inputs :])
        self.program.reports.append(StageReport(labels, loop, self.number, reads, writes))


def _strides_in(place: Placement, i: int, inner: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an operand within a unit, over the shape in which its stage runs."""
    strides = place.strides[i]
    if len(strides) == len(inner):
        return strides
    (step,) = strides
    return tuple(step * prod(inner[axis + 1 :]) for axis in range(len(inner)))


def _mode(
    units: list[int], inner: tuple[int, ...], strides: list[tuple[int, ...]], count: int
) -> tuple[int, tuple[int, ...], list[tuple[int, ...]]]:
    """What a loop's own dimension is, and the sizes and strides in the order in which they run."""
    if len(inner) == 1 and all(
        unit == step * inner[0] for unit, (step,) in zip(units, strides, strict=True)
    ):
        return I.FLAT, inner, strides
    if not inner:
        return I.ACROSS, inner, strides
    longest = max(range(len(inner)), key=inner.__getitem__)
    if inner[-1] < _SHORT and inner[longest] < _SHORT <= count:
        return I.ACROSS, inner, strides
    if inner[-1] < _SHORT <= inner[longest]:
        order = [axis for axis in range(len(inner)) if axis != longest] + [longest]
        inner = tuple(inner[axis] for axis in order)
        strides = [tuple(each[axis] for axis in order) for each in strides]
    return I.INNER, inner, strides


# ---------------------------------------------------------------------- the compiled code

_OBJECT_HEAD = object.__basicsize__
_TUPLE_HEAD = tuple.__basicsize__
_SIGNATURE = (ctypes.c_int64, ctypes.c_int64, ctypes.py_object)


@cache
def _share_address() -> int:
    return machine_code(I.run_share, TASK)


@cache
def _entry() -> Any:
    """The interpreter, called without giving up the GIL: what is short is over before others wake."""
    return ctypes.PYFUNCTYPE(*_SIGNATURE)(machine_code(I.run_program, TASK, result=types.intp))


@cache
def _binding() -> Any:
    return ctypes.PYFUNCTYPE(*_SIGNATURE)(machine_code(I.bind_program, TASK, result=types.intp))


@cache
def _releasing_entry() -> Any:
    """The interpreter for what takes so long that other threads shall have the GIL meanwhile."""
    return ctypes.CFUNCTYPE(*_SIGNATURE)(machine_code(I.run_program, TASK, result=types.intp))
