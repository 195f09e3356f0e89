"""From launches to a program: one native call that runs them all.

A program reads and writes given arrays, and keeps what is in between in memory of its own.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np
from numba import types

from . import interim, objects, threads
from . import interpreter as I
from .build import TASK, Loop, MachineCode, compile_each
from .costs import GROUP_WORTH, WORTH
from .encoding import GroupRecord, StageReport, cost_of
from .fusion import Barrier, Group
from .launches import Step, root_of, span_of
from .layout import data_address
from .plan import ARENA, PLACES, Plan, Refused, aligned_bytes

Array = np.ndarray[Any, Any]


class Program:
    """Launches as one call, for arrays of certain shapes and strides.

    Arguments are those of a :class:`~numtorch_kernels.plan.Plan`. Loops are compiled, or read from
    disk, when it first runs, or by :meth:`compile`. A short program does not wait for the compiled
    interpreter.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        if not objects.are_as_expected():
            raise Refused("this build of Python or NumPy lays its objects out differently")
        self.lock = threading.Lock()
        self.reports: list[StageReport] = []
        self.checked = len(inputs)
        plan = Plan(steps, inputs, outputs)
        self.starting = [x.root for x in plan.initial]
        self._loops: list[tuple[int, Loop]] = []
        self._write(plan, [*inputs, *outputs])
        self.initial = plan.initial_values()
        self._alive = plan.kept_alive

    def _write(self, plan: Plan, bound: Sequence[Array]) -> None:
        """Writes the words, and makes the memory that they speak of."""
        records: list[list[int]] = []
        loops: dict[int, list[tuple[int, Loop]]] = {}
        scratch_size = calls = 0
        threaded = False
        costs = [cost_of(x, plan.stored) if isinstance(x, Group) else 0.0 for x in plan.parts]
        # where one is shared in any case, what it writes lies in the caches of all threads
        worth = WORTH if max(costs, default=0.0) >= GROUP_WORTH else GROUP_WORTH
        for number, (part, cost) in enumerate(zip(plan.parts, costs, strict=True)):
            if isinstance(part, Barrier):
                place, offset = plan.place(part.condition)
                records.append([I.REQUIREMENT_HEAD, 0, place, offset])
                continue
            record = GroupRecord(plan, part, number, cost >= worth)
            records.append(record.words)
            loops[len(records) - 1] = record.loops
            self.reports += record.reports
            calls += record.calls
            scratch_size = max(scratch_size, record.scratch * record.tasks)
            threaded = threaded or record.tasks > 1
        self._arena, self._scratch = plan.arena, aligned_bytes(scratch_size)
        self.memory = self._arena.size + scratch_size
        self.cost = sum(costs)
        self._table = np.zeros(PLACES + len(bound), np.int64)
        self._table[ARENA] = data_address(self._arena)
        self._table[I.SCRATCH_PLACE] = data_address(self._scratch)
        table = data_address(self._table)
        words = [0] * I.HEAD
        words[I.ARRAYS], words[I.GROUPS], words[I.TABLE] = len(bound), len(records), table
        words[I.WORKERS], words[I.ITEMS], words[I.OBJECT] = (
            1,
            objects.TUPLE_HEAD,
            objects.OBJECT_HEAD,
        )
        for slot, array in enumerate(bound):
            words += self._array_record(plan, slot, array)
        for number, record_words in enumerate(records):
            if record_words[I.UNITS]:
                record_words[I.BASES] = table
            self._loops += [(len(words) + place, loop) for place, loop in loops.get(number, ())]
            words += record_words
        self.words = np.array(words, np.int64)
        self.address = data_address(self.words)
        self.launches_threads = threaded and threads.concurrency() > 1
        regions = (threads.region_code(),) if self.launches_threads else ()
        self._interpreter = (_SHARE, _RUN, *regions)
        self._compiled = False
        self._can_wait = calls <= interim.MOST_CALLS
        self._entered = False  # by the compiled interpreter
        self._followers: list[Callable[[Any], None]] = []

    def _array_record(self, plan: Plan, slot: int, array: Array) -> list[int]:
        checked = slot < self.checked
        written = checked and id(root_of(array)) in plan.written
        head = [
            PLACES + slot,
            checked,
            written,
            *span_of(array),
            array.ndim,
            objects.kind_of(array.dtype),
        ]
        return [*head, *array.shape, *array.strides]

    def compile(self) -> None:
        """Fills in the addresses of all loops, which compiles those that are new."""
        waits = self._can_wait and not _are_at_hand(self._interpreter)
        loops = [loop.code for _, loop in self._loops]
        for code in (*(() if waits else self._interpreter), *loops):
            code.begin()
        for place, loop in reversed(self._loops):  # threads begin with the first
            self.words[place] = loop.address
        self._loops.clear()
        if not waits:
            self._take_interpreter()
        self._compiled = True

    def _take_interpreter(self) -> None:
        """Has the compiled interpreter run the program from now on."""
        self.words[I.TASK] = _SHARE.address
        if self.launches_threads:
            self.words[I.REGION] = threads.region_address()
        self._entered = True
        for follower in self._followers:
            follower(_entry())
        self._followers.clear()

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
            if not self._compiled:
                self.compile()
            if self.initial:
                self.restore()
            return self.enter(arrays)

    def bind(self, arrays: tuple[Array, ...]) -> int:
        """Notes where arrays lie, without running anything; the status is that of :meth:`run`."""
        bind = _binding() if self._entered else interim.bind_program
        return bind(self.address, arrays)

    @property
    def is_short(self) -> bool:
        """Whether it runs on one thread, and so fast that others can wait for the GIL."""
        return not self.launches_threads and self.cost < GROUP_WORTH

    def follow_entry(self, follower: Callable[[Any], None]) -> None:
        """Tells what ``f`` is in ``f(address, arrays)``, the quickest call of a short program.

        It tells it again when there is a quicker one.
        """
        if self._entered:
            follower(_entry())
        else:
            follower(lambda _, arrays: self.enter(arrays))
            self._followers.append(follower)

    def enter(self, arrays: tuple[Array, ...]) -> int:
        """Likewise, for a caller who has taken the lock and restored what is to be restored."""
        if not self._entered:
            if not _are_at_hand(self._interpreter):
                if next(_runs) >= LASTING:
                    _compile_meanwhile(self._interpreter)
                return interim.run_program(self.address, arrays)
            self._take_interpreter()
        if self.is_short:
            return _entry()(self.address, arrays)
        if not self.launches_threads:
            return _releasing_entry()(self.address, arrays)
        with threads.admission() as workers:
            self.words[I.WORKERS] = workers
            started = perf_counter()
            status = _releasing_entry()(self.address, arrays)
            if workers > 1:
                threads.judge(started, self.cost * 1e-9)
            return status


# ---------------------------------------------------------------------- the compiled code

_SIGNATURE = (ctypes.c_int64, ctypes.c_int64, ctypes.py_object)


_SHARE = MachineCode(I.run_share, TASK)
_RUN = MachineCode(I.run_program, TASK, result=types.intp)
_BIND = MachineCode(I.bind_program, TASK, result=types.intp)
_runs = count(1)  # in Python
LASTING = 4
"""So many runs in Python call for the compiled interpreter: more of them will come."""


def _are_at_hand(codes: Sequence[MachineCode]) -> bool:
    """Whether none of them need be compiled."""
    return all(code.is_at_hand() for code in codes)


@cache
def _compile_meanwhile(codes: tuple[MachineCode, ...]) -> None:
    """Compiles them in a thread of its own."""
    threading.Thread(target=compile_each, args=(codes,), name="compiles the interpreter").start()


@cache
def _entry() -> Any:
    """The interpreter for what is over before another thread that gets the GIL could wake up."""
    return ctypes.PYFUNCTYPE(*_SIGNATURE)(_RUN.address)


@cache
def _binding() -> Any:
    return ctypes.PYFUNCTYPE(*_SIGNATURE)(_BIND.address)


@cache
def _releasing_entry() -> Any:
    """The interpreter for what takes so long that other threads shall have the GIL meanwhile."""
    return ctypes.CFUNCTYPE(*_SIGNATURE)(_RUN.address)
