"""Running launches between two looks at values: programs that are found again by their form."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from numtorch_kernels.launches import Launch, Requirement, Step, root_of
from numtorch_kernels.layout import data_address
from numtorch_kernels.program import Program

from .references import alive

Array = np.ndarray[Any, Any]

MOST = 256  # programs that are kept
_programs: OrderedDict[Any, tuple[Program, list[int]]] = OrderedDict()


def run(steps: Sequence[Step]) -> None:
    """Runs launches in order; where a requirement does not hold, calls what is to be called."""
    pending: list[Step] = []
    for step in steps:
        if isinstance(step, Requirement):
            _run(pending, [step.condition])
            pending = []
            if not step.condition:
                step.otherwise()
        else:
            pending.append(step)
    _run(pending, [])


def _run(steps: Sequence[Step], wanted: Sequence[Array]) -> None:
    """Runs launches, so that all memory that someone refers to is as they leave it."""
    launches = [step for step in steps if isinstance(step, Launch)]
    if not launches:
        return
    kept = alive(steps) | {id(root_of(array)) for array in wanted}
    roots: dict[int, Array] = {}
    numbers: dict[int, int] = {}
    form: list[Any] = []
    for launch in launches:
        form.append(launch.loop)
        for position, array in enumerate(launch.operands):
            root = root_of(array)
            if id(root) not in roots and position < launch.loop.inputs:
                kept.add(id(root))  # read before it is written
            roots[id(root)] = root
            number = numbers.setdefault(id(root), len(numbers))
            form.append(
                (number, array.shape, array.strides, data_address(array) - data_address(root))
            )
    bound = [root for key, root in roots.items() if key in kept]
    key = (tuple(form), tuple(numbers[id(root)] for root in bound))
    found = _programs.get(key)
    if found is None:
        program = Program(steps, [], bound)
        while program.starting:  # what is in part written before it is read
            kept.update(map(id, program.starting))
            bound = [root for key_, root in roots.items() if key_ in kept]
            program = Program(steps, [], bound)
        found = _programs[key] = (program, [numbers[id(root)] for root in bound])
        if len(_programs) > MOST:
            _programs.popitem(last=False)
    else:
        _programs.move_to_end(key)
    program, places = found
    every = list(roots.values())
    status = program.run(tuple([every[place] for place in places]))
    assert status == 0


def forget() -> None:
    """Drops all programs."""
    _programs.clear()
