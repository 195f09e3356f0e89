"""One run of a function whose launches are put off, and what it did besides.

Python runs as always, operation after operation, on arrays that have shapes but no values yet.
Where it looks at values the launches so far are run: the graph breaks there, and goes on behind.
"""

from __future__ import annotations

import linecache
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from numtorch_kernels import deferral
from numtorch_kernels.launches import LaunchQueue

from ..ops.apply import Hook
from ..ops.table import Op
from . import segments
from .sources import Impure, Source, Sources, is_library

Array = np.ndarray[Any, Any]


class GraphBreak(RuntimeError):
    """Raised with ``fullgraph=True`` where a function looks at values."""


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def place_of_caller() -> Place:
    """The innermost line of code that is not this library's."""
    for frame, line in traceback.walk_stack(sys._getframe(1)):
        if not is_library(frame.f_globals.get("__name__")):
            file = frame.f_code.co_filename
            return Place(file, line, linecache.getline(file, line).strip())
    return Place("?", 0, "")


class Recorder(LaunchQueue):
    """A queue that runs segments, and notes where and, with ``fullgraph``, refuses to."""

    def __init__(self, fullgraph: bool) -> None:
        super().__init__(segments.run)
        self.fullgraph = fullgraph
        self.breaks: list[Place] = []

    def run(self) -> None:
        """Runs what was noted so far, because values are needed."""
        place = place_of_caller()
        if self.fullgraph:
            raise GraphBreak(
                f"fullgraph=True, but the graph breaks where values are needed: {place}"
            )
        self.breaks.append(place)
        super().run()

    def finish(self) -> None:
        """Runs what was noted, at the end."""
        super().run()


_active: list[Recorder] = []


def _compute(op: Any, arguments: tuple[Any, ...]) -> Any:
    """What a row computes: with launches that can be put off, where this thread defers."""
    if not deferral.deferring():
        return op.compute(arguments)
    recorder = _active[-1]
    outer, recorder.label = recorder.label, recorder.label or op.name
    try:
        return Op.compute(op, arguments)
    finally:
        recorder.label = outer


@contextmanager
def recording_to(recorder: Recorder) -> Iterator[bool]:
    """Puts launches off; says whether it does, which it does not where another thread is at it."""
    with deferral.deferred_to(recorder) as mine:
        if not mine:
            yield False
            return
        _active.append(recorder)
        outer, Hook.trace = Hook.trace, _compute
        try:
            yield True
        finally:
            Hook.trace = outer
            _active.pop()


class Change(NamedTuple):
    """What became of an attribute of a tensor: ``what`` is "array", "grad" or "version"."""

    source: Source
    what: str
    value: Any


def changes_of(sources: Sources) -> list[Change]:
    """What a run did to the tensors that it started from.

    Raises Impure for what cannot be done again by assigning an array or a gradient.
    """
    changes = []
    for source in sources.tensors:
        tensor = source.tensor
        if (tensor._node is None) is not source.leaf or tensor.requires_grad != source.needs_grad:
            raise Impure("it changes the graph of a tensor that it was given")
        if tensor._array is not source.array:
            changes.append(Change(source, "array", tensor._array))
        if tensor._grad is not source.grad:
            if not source.leaf:
                raise Impure("it stores a gradient in a tensor that was computed outside")
            changes.append(Change(source, "grad", tensor._grad))
        if tensor._version != source.version:
            changes.append(Change(source, "version", tensor._version - source.version))
    return changes


class Outside:
    """The state of what is neither tensors nor values that were followed."""

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy = _numpy_state()

    def is_same(self) -> bool:
        """Whether no random numbers were drawn since."""
        return random.getstate() == self._python and _numpy_state() == self._numpy


def _numpy_state() -> tuple[Any, ...]:
    """The state of NumPy's global generator, so that it can be compared."""
    state = np.random.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]
