"""The compiled code that runs a program: binds arrays, then runs group after group of loops.

A program is an array of words that :mod:`.program` writes. One call runs all of it, so between
kernels there is no Python. Groups that are worth it go through the one parallel region; each task
takes a share of a group's units, block after block.
"""

from __future__ import annotations

from .intrinsics import (
    address_of,
    call_loop,
    call_region,
    call_task,
    helper,
    int64_at,
    offset,
    uint8_at,
    words,
)
from .objects import DATA, DESCRIPTION, KIND_MASK, KIND_WORD, NDIM, SHAPE, STRIDES

# Words of a program's head; behind it, a record for each bound array, then one for each group.
# ITEMS and OBJECT are the sizes of the heads of a tuple and of any Python object.
ARRAYS, GROUPS, TABLE, REGION, TASK, WORKERS, ITEMS, OBJECT, HEAD = range(9)

# Words of the record of a bound array; sizes and then strides follow. LOW and HIGH are the first
# byte that it uses and the first behind it, from its data on.
SLOT, CHECKED, WRITTEN, LOW, HIGH, DIMENSIONS, DTYPE, ARRAY_HEAD = range(8)

# Words of a group's record. A requirement has no units, and says where its condition is.
(LENGTH, UNITS, BLOCK, TASKS, GRAIN, BASES, STAGES, SCRATCH, GROUP_HEAD) = range(9)
CONDITION_PLACE, CONDITION_OFFSET, REQUIREMENT_HEAD = range(2, 5)

# Words of a stage's record; then sizes, core sizes, core steps, and the operands' records. It runs
# for the units from FIRST on and before LAST, at all places in those dimensions. OUTER is
# how many elements the loop takes; or, if a unit is WIDTH of them along its dimension ALONG, that
# many for each unit of a block, up to LIMIT in all.
(STAGE_LENGTH, LOOP, OPERANDS, SIZES, CORES, CORE_STEPS, FIRST, LAST, OUTER, WIDTH, ALONG, LIMIT,
 STAGE_HEAD) = range(13)  # fmt: skip

# Words of an operand's record; a stride for each size follows. OFFSET is from the PLACE in the
# table, STEP from unit to unit, OWN from element to element. LOCAL memory is a task's own, and as
# large as a block.
PLACE, OFFSET, STEP, OWN, LOCAL, OPERAND_HEAD = range(6)

SCRATCH_PLACE = 2  # the entry of the table for memory that each task has its own of


@helper
def run_stage(stage, bases, start, end, index, scratch, frame):
    """Runs one loop over a block of units."""
    begin = max(start, stage[FIRST])
    count = min(end, stage[LAST]) - begin
    if count <= 0:
        return
    dims, steps, pointers = frame, offset(frame, 16), offset(frame, 256)
    operands, sizes, width = stage[OPERANDS], stage[SIZES], stage[WIDTH]
    inner = offset(stage, STAGE_HEAD)
    fixed = offset(inner, sizes)
    dims[0] = stage[OUTER]
    for k in range(stage[CORES]):
        dims[1 + k] = fixed[k]
    fixed = offset(fixed, stage[CORES])
    for k in range(stage[CORE_STEPS]):
        steps[operands + k] = fixed[k]
    repeats = count
    if width > 0:
        dims[stage[ALONG]] = min(count * width, stage[LIMIT] - begin * width)
        repeats = 1
    for axis in range(sizes):
        repeats *= inner[axis]
    for repeat in range(repeats):
        entry = offset(fixed, stage[CORE_STEPS])
        for k in range(operands):
            place, unit = bases[entry[PLACE]] + entry[OFFSET], repeat
            for axis in range(sizes - 1, -1, -1):
                place += unit % inner[axis] * entry[OPERAND_HEAD + axis]
                unit //= inner[axis]
            unit += begin
            if entry[LOCAL]:
                place += index * scratch
                unit -= start
            pointers[k] = place + unit * entry[STEP]
            steps[k] = entry[OWN]
            entry = offset(entry, OPERAND_HEAD + sizes)
        call_loop(stage[LOOP], pointers, dims, steps)


def run_share(descriptor, index):
    """One task: its share of a group's units, block by block through all stages."""
    group = int64_at(descriptor)
    bases = int64_at(group[BASES])
    frame = words()
    tasks, grain = group[TASKS], group[GRAIN]
    parts = -(-group[UNITS] // grain)
    start, end = parts * index // tasks * grain, parts * (index + 1) // tasks * grain
    end = min(end, group[UNITS])
    while start < end:
        stop = min(start + group[BLOCK], end)
        stage = offset(group, GROUP_HEAD)
        for _ in range(group[STAGES]):
            run_stage(stage, bases, start, stop, index, group[SCRATCH], frame)
            stage = offset(stage, stage[STAGE_LENGTH])
        start = stop


@helper
def is_shared(program, table, number, written):
    """Whether a bound array that is written overlaps another that is checked."""
    start, end = table[written[SLOT]] + written[LOW], table[written[SLOT]] + written[HIGH]
    record = offset(program, HEAD)
    for i in range(program[ARRAYS]):
        if record[CHECKED] and i != number:
            place = table[record[SLOT]]
            if place + record[LOW] < end and start < place + record[HIGH]:
                return True
        record = offset(record, ARRAY_HEAD + 2 * record[DIMENSIONS])
    return False


@helper
def bind_arrays(program, items, head, table):
    """Notes where arrays lie; gives the number of the first that is not as expected, or 0."""
    record = offset(program, HEAD)
    for i in range(program[ARRAYS]):
        array = int64_at(items[i] + head)
        ndim = record[DIMENSIONS]
        if record[CHECKED]:
            kind = int64_at(array[DESCRIPTION] + head)[KIND_WORD] & KIND_MASK
            if (array[NDIM] & 0xFFFFFFFF) != ndim or kind != record[DTYPE]:
                return i + 1
            shape, strides = int64_at(array[SHAPE]), int64_at(array[STRIDES])
            for k in range(ndim):
                size = record[ARRAY_HEAD + k]
                if shape[k] != size:
                    return i + 1
                stride = record[ARRAY_HEAD + ndim + k]
                if size > 1 and strides[k] != stride and record[HIGH] != record[LOW]:
                    return i + 1
        table[record[SLOT]] = array[DATA]
        record = offset(record, ARRAY_HEAD + 2 * ndim)
    record = offset(program, HEAD)
    for i in range(program[ARRAYS]):
        if record[WRITTEN] and is_shared(program, table, i, record):
            return i + 1
        record = offset(record, ARRAY_HEAD + 2 * record[DIMENSIONS])
    return 0


def bind_program(descriptor, arrays):
    """Binds the arrays of a tuple, of which it gets the address; see :func:`run_program`."""
    program = int64_at(descriptor)
    items = int64_at(arrays + program[ITEMS])
    return bind_arrays(program, items, program[OBJECT], int64_at(program[TABLE]))


def run_program(descriptor, arrays):
    """Binds the arrays of a tuple, of which it gets the address, and runs all groups.

    Gives 0; or, before anything is run, the number of an array that is not as expected; or minus
    the number of a requirement that did not hold.
    """
    program = int64_at(descriptor)
    table = int64_at(program[TABLE])
    items = int64_at(arrays + program[ITEMS])
    wrong = bind_arrays(program, items, program[OBJECT], table)
    if wrong != 0:
        return wrong
    record = offset(program, HEAD)
    for _ in range(program[ARRAYS]):
        record = offset(record, ARRAY_HEAD + 2 * record[DIMENSIONS])
    requirements = 0
    for _ in range(program[GROUPS]):
        if record[UNITS] == 0:
            requirements += 1
            if uint8_at(table[record[CONDITION_PLACE]] + record[CONDITION_OFFSET])[0] == 0:
                return -requirements
        else:
            planned = record[TASKS]
            record[TASKS] = min(planned, program[WORKERS])
            if record[TASKS] > 1:
                call_region(program[REGION], program[TASK], address_of(record), record[TASKS])
            else:
                call_task(program[TASK], address_of(record), 0)
            record[TASKS] = planned
        record = offset(record, record[LENGTH])
    return 0
