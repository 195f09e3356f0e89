"""The compiled code that runs a program: binds arrays, then runs group after group of loops.

A program is an array of words that :mod:`.program` writes. One call runs all of it, so between
kernels there is no Python. Groups that are worth it go through the one parallel region; each task
takes a share of a group's units, block after block.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .intrinsics import address_of, call_loop, helper, int64_at, offset, uint8_at, words

# Words of a program's head; behind it, a record for each bound array, then one for each group.
# ITEMS and OBJECT are the sizes of the heads of a tuple and of any Python object.
ARRAYS, GROUPS, TABLE, REGION, TASK, WORKERS, ITEMS, OBJECT, HEAD = range(9)

# Words of the record of a bound array; sizes and then strides follow. LOW and HIGH are the first
# byte that it uses and the first behind it, from its data on.
SLOT, CHECKED, WRITTEN, LOW, HIGH, DIMENSIONS, DTYPE, ARRAY_HEAD = range(8)

# Words of a group's record. A requirement has no units, and says where its condition is.
(LENGTH, UNITS, BLOCK, TASKS, GRAIN, BASES, STAGES, SCRATCH, GROUP_HEAD) = range(9)
CONDITION_PLACE, CONDITION_OFFSET, REQUIREMENT_HEAD = range(2, 5)

# Words of a stage's record; then sizes, core sizes, core steps, and the operands' records.
(STAGE_LENGTH, LOOP, MODE, OPERANDS, SIZES, CORES, CORE_STEPS, LIMIT, STAGE_HEAD) = range(9)

# Words of an operand's record; a stride for each size follows.
PLACE, OFFSET, STEP, LOCAL, OPERAND_HEAD = range(5)

# What a loop's own dimension is: elements of adjacent units; the last size; units; the units are
# rows of a matrix; units are rows of which the last is shorter.
FLAT, INNER, ACROSS, MATRIX, CHUNKS = range(5)

SCRATCH_PLACE = 2  # the entry of the table for memory that each task has its own of

# Where things lie in CPython's and NumPy's objects, counted in words from the object's head.
DATA, NDIM, SHAPE, STRIDES, _BASE, DESCRIPTION = range(6)

# The word of a dtype's object that says what it is: all but a byte of flags.
KIND_WORD, KIND_MASK = 1, ~0xFF000000


@intrinsic
def call_region(_context, region, task, descriptor, tasks):
    """Calls the parallel region at an address."""

    def codegen(context, builder, _signature, arguments):
        word = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [word] * 3).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), arguments[1:])
        return context.get_dummy_value()

    return types.void(region, task, descriptor, tasks), codegen


# Places in the frame of a task, in words: what loops get, and the counters of other dimensions.
DIMS, STEPS, POINTERS, COUNTERS, ORIGINS = 0, 16, 160, 208, 256


@helper
def point_to(stage, bases, start, index, scratch, frame):
    """Fills in where a block's operands begin, and the steps and sizes that loops get."""
    operands, sizes, mode = stage[OPERANDS], stage[SIZES], stage[MODE]
    dims, steps = offset(frame, DIMS), offset(frame, STEPS)
    pointers, origins = offset(frame, POINTERS), offset(frame, ORIGINS)
    fixed = offset(stage, STAGE_HEAD + sizes)
    for k in range(stage[CORES]):
        dims[1 + k] = fixed[k]
    for k in range(stage[CORE_STEPS]):
        steps[operands + k] = fixed[stage[CORES] + k]
    entry = offset(fixed, stage[CORES] + stage[CORE_STEPS])
    for k in range(operands):
        place = bases[entry[PLACE]] + entry[OFFSET]
        place += index * scratch if entry[LOCAL] else start * entry[STEP]
        origins[k] = pointers[k] = place
        if mode == FLAT:
            steps[k] = entry[OPERAND_HEAD]
        elif mode == INNER:
            steps[k] = entry[OPERAND_HEAD + sizes - 1]
        else:
            steps[k] = entry[STEP]
        entry = offset(entry, OPERAND_HEAD + sizes)


@helper
def run_chunks(stage, start, count, frame):
    """Runs a loop over rows of which the very last is shorter."""
    dims, pointers, origins = offset(frame, DIMS), offset(frame, POINTERS), offset(frame, ORIGINS)
    length = offset(stage, STAGE_HEAD + stage[SIZES])[0]
    whole = min(count, stage[LIMIT] // length - start)
    dims[0] = whole
    call_loop(stage[LOOP], pointers, dims, offset(frame, STEPS))
    if whole < count:
        width = OPERAND_HEAD + stage[SIZES]
        table = offset(stage, STAGE_HEAD + stage[SIZES] + stage[CORES] + stage[CORE_STEPS])
        for k in range(stage[OPERANDS]):
            pointers[k] = origins[k] + whole * table[k * width + STEP]
        dims[0], dims[1] = 1, stage[LIMIT] % length
        call_loop(stage[LOOP], pointers, dims, offset(frame, STEPS))


@helper
def run_nested(stage, count, frame):
    """Runs a loop for each place in the other dimensions: units, if it is not along them, first."""
    dims, pointers, origins = offset(frame, DIMS), offset(frame, POINTERS), offset(frame, ORIGINS)
    sizes, along_units, counters = stage[SIZES], stage[MODE] == ACROSS, offset(frame, COUNTERS)
    inner, width = offset(stage, STAGE_HEAD), OPERAND_HEAD + sizes
    table = offset(inner, sizes + stage[CORES] + stage[CORE_STEPS])
    last = sizes if along_units else sizes - 1
    repeats = 1 if along_units else count
    dims[0] = count if along_units else inner[sizes - 1]
    for k in range(last):
        repeats *= inner[k]
        counters[k] = 0
    unit = 0
    for _ in range(repeats):
        for k in range(stage[OPERANDS]):
            entry = offset(table, k * width)
            place = origins[k] + unit * entry[STEP]
            for axis in range(last):
                place += counters[axis] * entry[OPERAND_HEAD + axis]
            pointers[k] = place
        call_loop(stage[LOOP], pointers, dims, offset(frame, STEPS))
        axis = last - 1
        while axis >= 0 and counters[axis] + 1 == inner[axis]:
            counters[axis] = 0
            axis -= 1
        if axis >= 0:
            counters[axis] += 1
        else:
            unit += 1


@helper
def run_stage(stage, bases, start, count, index, scratch, frame):
    """Runs one loop over a block of units."""
    dims, pointers = offset(frame, DIMS), offset(frame, POINTERS)
    point_to(stage, bases, start, index, scratch, frame)
    if stage[MODE] == FLAT:
        size = offset(stage, STAGE_HEAD)[0]
        dims[0] = min(count * size, stage[LIMIT] - start * size)
        call_loop(stage[LOOP], pointers, dims, offset(frame, STEPS))
    elif stage[MODE] == MATRIX:
        dims[0], dims[1] = 1, count
        call_loop(stage[LOOP], pointers, dims, offset(frame, STEPS))
    elif stage[MODE] == CHUNKS:
        run_chunks(stage, start, count, frame)
    else:
        run_nested(stage, count, frame)


@helper
def share(group, index):
    """One task's share of a group's units, block by block through all stages."""
    bases = int64_at(group[BASES])
    frame = words()
    tasks, grain = group[TASKS], group[GRAIN]
    parts = -(-group[UNITS] // grain)
    start, end = parts * index // tasks * grain, parts * (index + 1) // tasks * grain
    end = min(end, group[UNITS])
    while start < end:
        count = min(group[BLOCK], end - start)
        stage = offset(group, GROUP_HEAD)
        for _ in range(group[STAGES]):
            run_stage(stage, bases, start, count, index, group[SCRATCH], frame)
            stage = offset(stage, stage[STAGE_LENGTH])
        start += count


def run_share(descriptor, index):
    """What the parallel region calls."""
    share(int64_at(descriptor), index)


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
            kind = int64_at(array[DESCRIPTION] + head)[1] & KIND_MASK
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
                share(record, 0)
            record[TASKS] = planned
        record = offset(record, record[LENGTH])
    return 0
