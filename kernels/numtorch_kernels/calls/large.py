"""Launches on large arrays from compiled calls: memory from the pool, work for several threads.

What is done is what :mod:`..memory` and :mod:`..drive` do; but after a loop over megabytes Python's
code has left the caches, and its way there takes 30 us.
"""

from __future__ import annotations

from .. import threads
from ..costs import WORTH
from ..drive import CHUNK, cut_up
from ..intrinsics import address_of, call_region, call_task, helper, int64_at, offset, words
from ..memory import SMALLEST
from .holders import (
    BACK_OFF,
    CLOCK,
    MISS,
    NDARRAY,
    NEW_ARRAY,
    POOL,
    SET_BASE,
    THREADS,
    c_function,
    call_address,
    call_python,
    hold,
    new_array,
    release,
)

_OWNED = 0x501  # NumPy's flags: without gaps, aligned, writable
_CLOCK = 1  # CLOCK_MONOTONIC, which time.perf_counter reads
_SECOND = 1_000_000_000
TIME_SLICE, DELAY = int(threads.TIME_SLICE * _SECOND), int(threads.DELAY * _SECOND)

save_thread = c_function("PyEval_SaveThread", 0)
restore_thread = c_function("PyEval_RestoreThread", 1)


@helper
def now(t):
    """Nanoseconds of the monotonic clock."""
    time = words()
    call_address(t[CLOCK], (_CLOCK, address_of(time)))
    return time[0] * _SECOND + time[1]


@helper
def large_array(t, description, rank, sizes, size):
    """A new array, if large in a block of the pool; 0 after an error, MISS where none is free."""
    if size < SMALLEST:
        return new_array(t, description, rank, sizes)
    pool = int64_at(t[POOL])
    for k in range(pool[0]):
        entry = offset(pool, 1 + 3 * k)
        spare = entry[0] - size  # a block of the size's class has a quarter of it at most
        if 0 <= spare <= size >> 2 and int64_at(entry[1])[0] & 0xFFFFFFFF == 1:
            hold(description)
            made = call_address(
                t[NEW_ARRAY], (t[NDARRAY], description, rank, sizes, 0, entry[2], _OWNED, 0)
            )
            if made != 0:
                hold(entry[1])
                call_address(t[SET_BASE], (made, entry[1]))
            return made
    return MISS


@helper
def tasks_for(t, cost):
    """How many threads are to share work of so many nanoseconds; 0 if Python has to say."""
    state = int64_at(t[THREADS])
    workers = state[threads.WORKERS]
    if workers > 1 and (cost < WORTH or now(t) < state[threads.UNTIL]):
        workers = 1
    return min(workers, (2 * cost + WORTH - 1) // WORTH)


@helper
def enter(t, task, descriptor, tasks, expected):
    """Runs a task on so many threads, without Python's lock; says if all went well.

    The work should take so many nanoseconds of one thread; if it takes far longer, it waited for
    a core, and there are no launches for a while, as :func:`threads.judge` has it. A single task is
    no launch: OpenMP's barrier waits for all threads, with or without work.
    """
    state, thread = int64_at(t[THREADS]), save_thread()
    started = now(t)
    if tasks == 1:
        call_task(task, address_of(descriptor), 0)
    else:
        call_region(state[threads.ENTRY], task, address_of(descriptor), tasks)
    taken = now(t) - started
    restore_thread(thread)
    late = taken - 3 * expected // tasks
    if tasks > 1:
        state[threads.DELAYED] = state[threads.DELAYED] + 1 if late > DELAY else 0
    if tasks == 1 or (late <= TIME_SLICE and state[threads.DELAYED] < threads.MOST_DELAYED):
        return True
    frame = words()
    done = call_python(t[BACK_OFF], address_of(frame), 0, 0)
    if done == 0:
        return False
    release(done)
    return True


@helper
def share(t, template, descriptor, size, rows, tasks, unit, expected):
    """Runs a loop over rows on several threads; see :func:`enter`."""
    cut_up(descriptor, template, size, rows, tasks, unit)
    return enter(t, template[CHUNK], descriptor, tasks, expected)
