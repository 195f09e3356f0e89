"""Serial or parallel: one ``prange`` region for every kernel, and when it may be entered.

PyPI's Numba brings OpenMP on Linux (several threads may enter it; a forked child may not), whose
team :mod:`.team` asks for with less ado, and ``workqueue`` elsewhere (one caller at a time).
Whoever may not enter runs its tasks serially, with the same result: how work is cut into tasks
never changes a bit of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Any

import numba
import numpy as np
from numba import jit, prange
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

from . import team
from .build import REGION, MachineCode
from .intrinsics import call_task
from .target import OPTIONS

Array = np.ndarray[Any, Any]

SHORTEST_PAUSE, LONGEST_PAUSE = 4e-3, 0.25  # seconds without launches; a failed one costs 8 ms
TIME_SLICE = 2e-3  # seconds: less than the system lets another process run for
DELAY, MOST_DELAYED = 2e-4, 4  # seconds: more than a thread takes to wake; how often in a row


class _State:
    """How many threads are wanted, and what keeps this process from using them."""

    wanted: int = numba.config.NUMBA_NUM_THREADS
    launched: bool = False
    forked: bool = False
    exclusive: bool = False
    entry = threading.Lock()


def get_num_threads() -> int:
    """How many threads kernels use at most."""
    return _State.wanted


def set_num_threads(count: int) -> None:
    """Sets how many threads kernels use at most; more than the machine has cores is its count."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(count).__name__}")
    if count <= 0:
        raise RuntimeError(f"set_num_threads expects a positive integer, but got {count}")
    _State.wanted = min(count, numba.config.NUMBA_NUM_THREADS)
    _publish()


def concurrency() -> int:
    """How many tasks are worth making: 1 where only serial execution is possible."""
    return 1 if _State.forked else _State.wanted


def threading_layer() -> str:
    """Numba's threading layer in use: "omp", "tbb" or "workqueue"."""
    _region()
    return numba.threading_layer()


def _after_fork() -> None:
    _State.forked = _State.forked or _State.launched
    _State.entry = threading.Lock()
    _publish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Numba's own target has an intrinsic of its own: what it finds for one is kept with that,
# by types, and code that our target compiles later would take it for what that had found.
_call_task = intrinsic(call_task._defn)


@jit(parallel=True, **OPTIONS)
def _run(task: int, descriptor: int, tasks: int) -> None:
    for index in prange(tasks):
        _call_task(task, descriptor, index)


def region(task: int, descriptor: int, tasks: int) -> None:
    """What is compiled: a C function that enters the region."""
    _run(task, descriptor, tasks)


NUMBAS_REGION = MachineCode(region, REGION, parallel=True)


@cache
def region_code() -> MachineCode:
    """What becomes the parallel region; from now on there may be threads."""
    _launch_threads()
    _State.launched = True
    layer = numba.threading_layer()
    _State.exclusive = layer == "workqueue"
    return team.TEAM_CODE if layer == "omp" and team.is_available() else NUMBAS_REGION


@cache
def region_address() -> int:
    """The address of the parallel region, compiled once for all kernels."""
    state[ENTRY] = region_code().address
    _publish()
    return int(state[ENTRY])


@cache
def _region() -> Callable[[int, int, int], None]:
    """The parallel region, to be called from Python."""
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, word, word, word)(region_address())


WORKERS, UNTIL, DELAYED, ENTRY = range(4)
state = np.zeros(4, np.int64)
"""For compiled code: how many threads it may use (0: Python has to say); that there are to be no
launches before a time of the monotonic clock, in nanoseconds; how many of the last were delayed;
where the parallel region is, if it may use several threads."""


def _publish() -> None:
    """Writes the state for compiled code, which knows the clock of Linux only."""
    workers = concurrency()
    able = workers == 1 or (_State.launched and not _State.exclusive)
    state[WORKERS] = workers if able and sys.platform == "linux" else 0


_publish()


def clock() -> int:
    """The address of Linux's function that reads a clock; 0 elsewhere."""
    if sys.platform != "linux":
        return 0
    return ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0


class _Backoff:
    """How long launches are left alone after one that waited for a core that others use.

    OpenMP's barriers wait out a time slice, 8 ms, where the work may take 50 us.
    """

    until = 0.0
    pause = SHORTEST_PAUSE


def judge(started: float, expected: float) -> None:
    """Backs off from launches if one, begun at a time, took far longer than expected; seconds.

    Or if it is one of several in a row that took longer than they should.
    """
    taken = perf_counter() - started
    state[DELAYED] = state[DELAYED] + 1 if taken > 3 * expected + DELAY else 0
    if taken > 3 * expected + TIME_SLICE or state[DELAYED] >= MOST_DELAYED:
        back_off()


def back_off() -> None:
    """Has no launches for a pause; twice the last one if that helped for no longer than it took."""
    now = perf_counter()
    relapse = now < _Backoff.until + _Backoff.pause
    _Backoff.pause = min(2 * _Backoff.pause, LONGEST_PAUSE) if relapse else SHORTEST_PAUSE
    _Backoff.until = now + _Backoff.pause
    state[UNTIL], state[DELAYED] = int(1e9 * _Backoff.until), 0


def may_enter() -> bool:
    """Whether code may enter the region without :func:`admission`."""
    if _State.forked:
        return False
    region_address()
    return not _State.exclusive


def free() -> int:
    """How many threads loops may be shared by at the moment."""
    return 1 if perf_counter() < _Backoff.until else concurrency()


@contextmanager
def admission() -> Iterator[int]:
    """How many threads code that enters the region itself may ask for, while it runs."""
    if perf_counter() < _Backoff.until:
        yield 1
    elif _State.forked or not _State.exclusive:
        yield concurrency()
    elif _State.entry.acquire(blocking=False):
        try:
            yield concurrency()
        finally:
            _State.entry.release()
    else:
        yield 1


_serial_type = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


def parallel_for(task: int, descriptor: Array, tasks: int, expected: float = 0.0) -> None:
    """Runs the compiled ``task(descriptor address, index)`` for each index below ``tasks``.

    ``task`` is an address that :func:`numtorch_kernels.build.task` gave; the GIL is released.
    ``expected`` is about how many nanoseconds a task takes, if that is known: after a launch that
    took far longer, as where other processes have the cores, such tasks run serially for a while.
    """
    address = descriptor.ctypes.data
    backing_off = expected and perf_counter() < _Backoff.until
    if tasks > 1 and not _State.forked and not backing_off:
        enter = _region()
        if not _State.exclusive:
            started = perf_counter()
            enter(task, address, tasks)
            if expected:
                judge(started, expected * 1e-9)
            return
        if _State.entry.acquire(blocking=False):
            try:
                enter(task, address, tasks)
            finally:
                _State.entry.release()
            return
    serial = _serial_type(task)
    for index in range(tasks):
        serial(address, index)
