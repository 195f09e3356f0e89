"""A recorded run as code: checks, one native call, and what the run did to tensors besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from numtorch_kernels.build import define
from numtorch_kernels.launches import Step, root_of
from numtorch_kernels.program import Program

from ..autograd.graph import Run
from ..autograd.mode import mode
from ..dtype import get_default_dtype
from ..nn.members import Members
from ..tensor import Tensor, Version
from .backward import Backward
from .memory import Results
from .recording import Change
from .sources import Impure, Source, Sources
from .structure import code_of

Array = np.ndarray[Any, Any]

MISS = object()
"""What a replay gives for a call that it was not made for."""

FAILED = object()
"""What it gives where values are not as they must be; nothing was changed."""


class Recorded:
    """What a run left behind: launches, changes, a result; and what it started from."""

    def __init__(
        self,
        sources: Sources,
        steps: list[Step],
        refreshed: list[tuple[Array, Callable[[], Any]]],
        changes: list[Change],
        optimizers: list[tuple[Any, int]],
        result: Any,
        results: list[Tensor],
    ) -> None:
        self.sources = sources
        self.steps = steps
        self.refreshed = refreshed
        self.changes = changes
        self.optimizers = optimizers
        self.result = result
        self.results = results
        self.inputs = inputs_of(sources)
        self._refuse_shared_memory()

    def _refuse_shared_memory(self) -> None:
        seen: dict[int, int] = {}
        for _, array in self.inputs:
            root = id(root_of(array))
            if seen.setdefault(root, id(array)) != id(array):
                raise Impure("tensors that it uses share memory")
        for tensor in self.results:
            if id(root_of(tensor._array)) in seen and not self.source_of(tensor):
                raise Impure("it gives a view of a tensor that it was given")

    def source_of(self, tensor: Tensor) -> Source | None:
        """The source that a tensor of the result is."""
        for source in self.sources.tensors:
            if source.tensor is tensor:
                return source
        return None

    def new_arrays(self) -> list[Array]:
        """The arrays of the results, and of what tensors are changed to."""
        found = [x._array for x in self.results if self.source_of(x) is None]
        for change in self.changes:
            if change.what == "array":
                found.append(change.value)
            elif change.what == "grad" and change.value is not None:
                found.append(change.value._array)
        return found


def inputs_of(sources: Sources) -> list[tuple[str, Array]]:
    """The code of each array that a run starts from, and the array; each array once."""
    found: dict[int, tuple[str, Array]] = {}
    for source in sources.tensors:
        found.setdefault(id(source.array), (f"{source.name}._array", source.array))
    for name, array in sources.arrays:
        found.setdefault(id(array), (name, array))
    return list(found.values())


class Replay:
    """Does again what a recorded run did, for arguments like those of that run."""

    def __init__(
        self,
        recorded: Recorded,
        backward: Backward | None = None,
    ) -> None:
        self._recorded = recorded
        self._names: dict[str, Any] = dict(recorded.sources.names)
        self._bound: dict[int, str] = {}
        self._results = Results(recorded.steps, self._bind)
        self._backward = backward
        self._made: dict[int, str] = {}  # by the id of a tensor of the run, its variable
        effects = self._effects()
        result = self._result()
        inputs = [array for _, array in recorded.inputs]
        self.program = Program(recorded.steps, inputs, self._results.bound)
        self.program.compile()
        self.first_arrays: tuple[Array, ...] = (*inputs, *self._results.bound)
        self.source = self._code(effects, result)
        self._names |= {
            "mode": mode,
            "MISS": MISS,
            "FAILED": FAILED,
            "Tensor": Tensor,
            "new": object.__new__,
            "Members": Members,
            "get_default_dtype": get_default_dtype,
            "Run": Run,
            "program": self.program,
            "lock": self.program.lock,
            "changes": [Members.changes],
        }
        self.call: Callable[[tuple[Any, ...], dict[str, Any]], Any] = define(
            self.source, "replay", self._names
        )
        if self.program.is_short:
            self.program.follow_entry(partial(self.call.__globals__.__setitem__, "native"))
        del self._recorded, self._results, self._backward, self._bound, self._made

    def take_first_arrays(self) -> tuple[Array, ...]:
        """The arrays of the recorded run, which are not kept any longer."""
        arrays = self.first_arrays
        self.first_arrays = ()
        return arrays

    def _bind(self, value: Any) -> str:
        """A name for an object in the code."""
        name = self._bound.get(id(value))
        if name is None:
            name = self._bound[id(value)] = f"r{len(self._names)}"
            self._names[name] = value  # which keeps its id its own
        return name

    # ------------------------------------------------------------------ after the native call

    def _effects(self) -> list[str]:
        lines = []
        for source, what, value in self._recorded.changes:
            name = source.name
            if what == "array":
                lines.append(f"{name}._array = {self._results.variable(value)}")
            elif what == "version":
                counter = f"{name}._version_counter"
                lines.append(f"if {counter} is None: {counter} = {self._bind(Version)}()")
                lines.append(f"{counter}.number += {value}")
            elif value is None:
                lines.append(f"{name}._grad = None")
            else:
                lines += self._new_tensor(value)
                lines.append(f"{name}._grad = {self._made[id(value)]}")
        for optimizer, taken in self._recorded.optimizers:
            lines.append(f"{self._bind(optimizer)}._steps_taken += {taken}")
        return lines

    def _new_tensor(self, like: Tensor) -> list[str]:
        """The code that makes a tensor like one of the run, unless that is made already."""
        if id(like) in self._made:
            return []
        name = self._made[id(like)] = f"y{len(self._made)}"
        return [
            f"{name} = new(Tensor)",
            f"{name}._array = {self._results.variable(like._array)}",
            f"{name}.dtype = {self._bind(like.dtype)}",
            f"{name}._needs_grad, {name}._output = False, 0",
            f"{name}._view = {name}._version_counter = {name}._node = None",
        ]

    def _result(self) -> list[str]:
        """The code that makes the result, its last line an expression."""
        lines: list[str] = []
        for tensor in self._recorded.results:
            if self._recorded.source_of(tensor) is None:
                lines += self._new_tensor(tensor)

        def code(tensor: Tensor) -> str:
            source = self._recorded.source_of(tensor)
            return self._made[id(tensor)] if source is None else source.name

        if self._backward is not None:
            lines += self._place_in_graph(self._backward)
        return [*lines, code_of(self._recorded.result, code, self._bind)]

    def _place_in_graph(self, backward: Backward) -> list[str]:
        """The code that makes results the outputs of a node."""
        linked = [self._made[id(x)] for x in backward.results]
        if backward.spent:
            node = self._bind(backward.spent_node())
            return [
                f"{name}._node, {name}._output, {name}._needs_grad = {node}, {output}, True"
                for output, name in enumerate(linked)
            ]
        saved = [self._results.variable(x) for x in backward.saved]
        wanted = [source.name for source in backward.wanted]
        watched = [source.name for source in backward.watched]
        tuples = ", ".join(map(_tuple_of, (linked, saved, wanted, watched)))
        return [f"{self._bind(backward.link)}({tuples}, arrays, (args, kwargs))"]

    # ------------------------------------------------------------------ the function

    def _code(self, effects: Sequence[str], result: Sequence[str]) -> str:
        sources = self._recorded.sources
        *made, value = result
        arrays = [code for code, _ in self._recorded.inputs] + self._results.names
        dtype = self._bind(get_default_dtype())
        checks = [
            f"if mode.recording is not {mode.recording} or mode.anomaly: return None",
            f"if get_default_dtype() is not {dtype}: return None",
            *([] if Run.hooked_leaves else ["if Run.hooked_leaves: return None"]),
            *sources.lines,
        ]
        if sources.settled:
            checks.append("if Members.changes != changes[0]:")
            checks += [f"    {line}" for line in sources.settled]
            checks.append("    changes[0] = Members.changes")
        checks += sources.checks
        body = [
            *self._results.lines,
            f"arrays = {_tuple_of(arrays)}",
            *self._native(),
            *effects,
            *made,
            f"return {value}",
        ]
        return "\n".join(
            [
                "def replay(args, kwargs):",
                "    try:",
                *[f"        {line.replace('return None', 'return MISS')}" for line in checks],
                "    except (AttributeError, IndexError, KeyError, TypeError):",
                "        return MISS",
                *[f"    {line}" for line in body],
            ]
        )

    def _native(self) -> list[str]:
        """The native call; what is refreshed is so once it is sure that it will happen."""
        refreshed = self._recorded.refreshed
        lines = ["with lock:"]
        if self.program.initial:
            lines.append("    program.restore()")
        if refreshed:
            lines.append("    if program.bind(arrays): return MISS")
            lines += [
                f"    {self._bind(array)}[...] = {self._bind(numbers)}()"
                for array, numbers in refreshed
            ]
        if self.program.is_short:
            call = f"native({self.program.address}, arrays)"
        else:
            call = "program.enter(arrays)"
        lines.append(f"    status = {call}")
        lines.append("if status: return MISS if status > 0 else FAILED")
        return lines


def _tuple_of(names: Sequence[str]) -> str:
    """The code of a tuple."""
    return f"({''.join(name + ', ' for name in names)})"
