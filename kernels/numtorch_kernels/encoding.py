"""The words that describe a group to the interpreter: its units, blocks and loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from . import interpreter as I
from . import threads
from .build import Loop
from .costs import CACHED_BYTE, work
from .fusion import FusedLoop, Group, Placement, Stage, fused
from .launches import Node, Operand, Shape
from .memory import aligned_size
from .plan import Plan
from .pointwise import adjacent_loop_of, loop_of

_BLOCK_BYTES = 1 << 16  # of what a block of units touches: it stays in a second-level cache
_MATRIX_BYTES = 1 << 18  # the same of a group with a matrix product, which likes tall blocks
_ROWS = 6  # of a tile of a matrix product; shares of tasks are multiples
_LANES = 64  # elements that shares of pointwise work are multiples of
_NO_LIMIT = 1 << 62
_SHORT = 32  # elements; a loop along fewer costs more to call than to run

Stored = Mapping[tuple[int, int], bool]  # whether an output of a node must be in memory


class StageReport(NamedTuple):
    """What :meth:`Program.report` says of a stage."""

    labels: tuple[str, ...]
    loop: Loop
    group: int
    reads: int  # bytes of memory that is not the block's own
    writes: int


def cost_of(group: Group, stored: Stored) -> float:
    """Roughly the nanoseconds that a group takes on one thread."""
    total = 0.0
    for stage in group.stages:
        size = prod(stage.nodes[0].shape) * prod(stage.nodes[0].core)
        if stage.is_pointwise:
            computed = size * sum(work(node.loop) for node in stage.nodes)
            total += max(computed, CACHED_BYTE * _bytes_of(stage, stored))
        elif stage.nodes[0].loop.name == "multiply_in_place":
            total += size / 60
        else:
            total += size * (0.15 if stage.nodes[0].loop.name in ("rows", "columns") else 0.8)
    return total


def _bytes_of(stage: Stage, stored: Stored) -> int:
    """How many bytes of memory a pointwise stage reads and writes."""
    own = {id(x.root) for node in stage.nodes for x in node.outputs}
    read = {id(x.root): x.hi - x.lo for node in stage.nodes for x in node.inputs}
    written = sum(
        x.hi - x.lo
        for node in stage.nodes
        for i, x in enumerate(node.outputs, node.loop.inputs)
        if stored[id(node), i]
    )
    return written + sum(size for key, size in read.items() if key not in own)


class _Run(NamedTuple):
    """A loop over the operands of nodes: its shape, its core's sizes, and for which units it is."""

    loop: Any  # a Loop, or a FusedLoop
    operands: list[tuple[Node, int]]
    shape: Shape
    core: Shape
    units: tuple[int, int]


class GroupRecord:
    """Writes the record of a group, which threads may share."""

    def __init__(
        self,
        plan: Plan,
        group: Group,
        number: int,
        is_shared: bool,
    ) -> None:
        self.plan = plan
        self.group = group
        self.number = number
        self.reports: list[StageReport] = []
        self.grain = 1
        self.units = group.units
        if not group.units:
            self._choose_units()
        self.block = self._block()
        self.calls = 0  # of loops, in one run
        self.scratch = 0  # bytes of each task for what only this group uses
        self._offsets: dict[int, int] = {}  # of that, by the id of a root
        for key, (owner, step, start) in plan.local.items():
            if owner is group:
                self._offsets[key] = self.scratch
                self.scratch += aligned_size(start + self.block * step)
        self._stage_loops: list[Loop] = []
        stages = [record for stage in group.stages for record in self._records(stage)]
        workers = threads.concurrency() if is_shared else 1
        parts = -(-self.units // self.grain)
        self.tasks = max(1, min(workers, parts))
        self.words = [0] * I.GROUP_HEAD
        self.words[I.UNITS] = self.units
        self.words[I.BLOCK] = self.block
        self.words[I.TASKS] = self.tasks
        self.words[I.GRAIN] = self.grain
        self.words[I.STAGES] = len(stages)
        self.words[I.SCRATCH] = self.scratch
        self.loops: list[tuple[int, Loop]] = []  # whose address is wanted at which word
        for stage, loop in zip(stages, self._stage_loops, strict=True):
            self.loops.append((len(self.words) + I.LOOP, loop))
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

    def _records(self, stage: Stage) -> list[list[int]]:
        """The records of a stage: one, two where the last row of many is shorter, or none."""
        node = stage.nodes[0]
        if not stage.is_pointwise or self._is_alone(stage):
            places = [(node, i) for i in range(len(node.operands))]
            run = _Run(node.loop, places, stage.shape, node.core, (0, self.units))
            if not node.rest:
                return [self._encode(run, (node.label,))]
            whole = self.units - 1
            last = (node.rest, *node.core[1:])
            return [
                self._encode(run._replace(units=(0, whole)), (node.label,)),
                self._encode(run._replace(core=last, units=(whole, self.units)), ()),
            ]
        fusion = fused(stage, self.plan.stored, self.plan.constants)
        if not fusion.expressions:
            return []
        places = [*fusion.inputs, *fusion.outputs]
        labels = tuple(node.label for node in stage.nodes)
        return [self._encode(_Run(fusion, places, stage.shape, (), (0, self.units)), labels)]

    def _is_alone(self, stage: Stage) -> bool:
        """Whether a stage is a loop that eager execution has as well: one more is not compiled."""
        (node, *others), stored = stage.nodes, self.plan.stored
        count = node.loop.inputs
        return not others and all(stored[id(node), count + i] for i in range(node.loop.outputs))

    def _encode(self, run: _Run, labels: tuple[str, ...]) -> list[int]:
        operands = run.operands
        units, inner, strides, matrix = self._layout(operands, run.shape)
        outer, width, along, limit, own = 1, 1, 0, _NO_LIMIT, units
        if matrix:
            along = 1
        elif inner and _is_flat(units, inner, strides):
            width, limit = inner[0], prod(run.shape)
            own, inner, strides = [step for (step,) in strides], (), [()] * len(operands)
        elif inner and not _runs_across(inner, self.units):
            outer, inner, own, strides = _innermost(inner, strides)
            width = 0
        loop = run.loop if isinstance(run.loop, Loop) else _loop_for(run.loop, operands, own)
        core_steps = [step for node, i in operands for step in node.operands[i].core_strides]
        words = [0] * I.STAGE_HEAD
        self._stage_loops.append(loop)
        words[I.OPERANDS], words[I.SIZES], words[I.CORES] = len(operands), len(inner), len(run.core)
        words[I.CORE_STEPS] = len(core_steps)
        words[I.FIRST], words[I.LAST] = run.units
        words[I.OUTER], words[I.WIDTH], words[I.ALONG], words[I.LIMIT] = outer, width, along, limit
        words += [*inner, *run.core, *core_steps]
        for (node, i), unit, step, each in zip(operands, units, own, strides, strict=True):
            place, offset, local = self._place(node.operands[i])
            words += [place, offset, unit, step, local, *each]
        words[I.STAGE_LENGTH] = len(words)
        self.calls += (-(-self.units // self.block) if width else self.units) * prod(inner)
        if labels:
            self._report(loop, operands, labels)
        return words

    def _layout(
        self, operands: list[tuple[Node, int]], shape: tuple[int, ...]
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

    def _place(self, x: Operand) -> tuple[int, int, bool]:
        """The entry of the table, the offset from there, and whether it is the task's own."""
        offset = self._offsets.get(id(x.root))
        if offset is None:
            return *self.plan.place(x), False
        return I.SCRATCH_PLACE, offset + x.start, True

    def _report(
        self, loop: Loop, operands: list[tuple[Node, int]], labels: tuple[str, ...]
    ) -> None:
        sizes = [
            0
            if id(node.operands[i].root) in self._offsets
            else node.operands[i].hi - node.operands[i].lo
            for node, i in operands
        ]
        reads, writes = sum(sizes[: loop.inputs]), sum(sizes[loop.inputs :])
        self.reports.append(StageReport(labels, loop, self.number, reads, writes))


def _strides_in(place: Placement, i: int, inner: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an operand within a unit, over the shape in which its stage runs."""
    strides = place.strides[i]
    if len(strides) == len(inner):
        return strides
    (step,) = strides
    return tuple(step * prod(inner[axis + 1 :]) for axis in range(len(inner)))


def _is_flat(units: list[int], inner: Shape, strides: list[Shape]) -> bool:
    """Whether elements of adjacent units are as far apart as those of one, for all operands."""
    return len(inner) == 1 and all(
        unit == step * inner[0] for unit, (step,) in zip(units, strides, strict=True)
    )


def _runs_across(inner: Shape, units: int) -> bool:
    """Whether units are rather what a loop runs along, as they are many and all else is short."""
    return max(inner) < _SHORT <= units


def _innermost(inner: Shape, strides: list[Shape]) -> tuple[int, Shape, list[int], list[Shape]]:
    """The size and the strides of the dimension that a loop runs along, and the other ones."""
    last = len(inner) - 1
    chosen = last if inner[last] >= _SHORT else max(range(len(inner)), key=inner.__getitem__)
    others = [axis for axis in range(len(inner)) if axis != chosen]
    return (
        inner[chosen],
        tuple(inner[axis] for axis in others),
        [each[chosen] for each in strides],
        [tuple(each[axis] for axis in others) for each in strides],
    )


def _loop_for(loop: FusedLoop, operands: list[tuple[Node, int]], steps: Sequence[int]) -> Loop:
    """The compiled loop: one for adjacent operands, some of which may be one number, or for any."""
    count = len(loop.inputs)
    dtypes = tuple(node.operands[i].dtype for node, i in operands)
    scalars = frozenset(i for i in range(count) if steps[i] == 0)
    if all(step == dtypes[i].itemsize or i in scalars for i, step in enumerate(steps)):
        return adjacent_loop_of(loop.expressions, dtypes[:count], scalars)
    return loop_of(loop.expressions, dtypes[:count])
