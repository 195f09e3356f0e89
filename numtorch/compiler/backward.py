"""The backward of a compiled function: what forward saves for it, and the node that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels.copying import contiguous, conversion_loop
from numtorch_kernels.costs import element_cost
from numtorch_kernels.launches import Launch, Step, root_of
from numtorch_kernels.layout import data_address, memory_order, ordered, result
from numtorch_kernels.program import Program

from ..autograd.calls import grad as gradients
from ..autograd.graph import Grads, Node, edge_of, run_backward
from ..autograd.mode import enable_grad, mode
from ..autograd.saved import FREED
from ..tensor import Tensor, wrap
from .recording import Recorder
from .references import place_of, reach_of, written_roots
from .sources import Impure, Source, Sources
from .structure import tensors_in

Array = np.ndarray[Any, Any]

# Nanoseconds an element from which a value is rather saved than computed again: to write a float32
# to memory and to read it takes as long on one core.
DEAR = 0.9


class Pass:
    """The launches of a backward pass for some of the results, and the gradients that they give."""

    def __init__(
        self, wanted: Sequence[Source], results: Sequence[Tensor], chosen: tuple[bool, ...]
    ) -> None:
        self.chosen = chosen
        self.seeds = [
            np.empty(x._array.shape, x._array.dtype)
            for x, is_chosen in zip(results, chosen, strict=True)
            if is_chosen
        ]
        self.seed_forms = [(x.shape, x.dtype) for x in self.seeds]
        self.wanted = list(wanted)
        self.grads: list[Tensor | None] = []
        self.steps: list[Step] = []

    def record(self, recorder: Recorder, results: Sequence[Tensor], first_node: int) -> None:
        """Computes the gradients, while launches are put off; they are taken off the queue."""
        before = len(recorder.steps)
        roots = [x for x, is_chosen in zip(results, self.chosen, strict=True) if is_chosen]
        recorder.label = "backward"
        try:
            self.grads = run_backward(
                [(edge_of(x), wrap(g, x.dtype)) for x, g in zip(roots, self.seeds, strict=True)],
                retain_graph=True,
                create_graph=False,
                inputs=[source.tensor for source in self.wanted],
                accumulate=False,
                first_node=first_node,
            )
        finally:
            recorder.label = ""
            if not recorder.breaks:
                self.steps = recorder.steps[before:]
                del recorder.steps[before:]

    def arrays(self) -> list[Array]:
        """The gradients that there are."""
        return [g._array for g in self.grads if g is not None]

    def finish(self, again: Sequence[Launch], bound: Sequence[Array]) -> None:
        """Makes the program, which is compiled when it first runs."""
        steps = [*again, *self.steps]
        bound = [*bound, *self.seeds]
        outputs, copies = _outputs(steps, self.arrays(), {id(root_of(x)) for x in bound})
        self.program = Program([*steps, *copies], bound, outputs)
        self.targets = [(x.shape, x.dtype, memory_order(x.shape, (x,))) for x in outputs]
        self.kinds = [None if g is None else g.dtype for g in self.grads]
        self.grads, self.steps, self.seeds = [], [], []

    def run(self, kept: tuple[Array, ...], grads: Grads) -> list[Tensor | None]:
        """The gradients of the wanted tensors, given those of the chosen results."""
        chosen = [g for g, is_chosen in zip(grads, self.chosen, strict=True) if is_chosen]
        seeds = [
            g._array
            if g is not None and g._array.flags.c_contiguous
            else _contiguous(g, *self.seed_forms[i])
            for i, g in enumerate(chosen)
        ]
        outputs = [ordered(*target) for target in self.targets]
        if self.program.run((*kept, *seeds, *outputs)):
            raise RuntimeError("a gradient has another shape or dtype than its tensor")
        arrays = iter(outputs)
        return [None if kind is None else wrap(next(arrays), kind) for kind in self.kinds]


class Backward:
    """What a function's results need to be differentiated: of the forward pass, and passes back.

    There is a pass for gradients of all results, and one for that of the only 0-d one: a loss is
    mostly differentiated alone, and gradients that are zero would be added to it in vain.
    """

    def __init__(
        self,
        recorder: Recorder,
        results: Sequence[Tensor],
        sources: Sources,
        inputs: Sequence[Array],
        first_node: int,
    ) -> None:
        """Records the passes, while launches are put off.

        ``first_node`` is the number of the first node of the function's own graph.
        """
        self.forward = list(recorder.steps)
        self.results = [x for x in results if x.requires_grad]
        self.wanted = [s for s in sources.tensors if s.needs_grad]
        self.spent = False  # whether the function itself has freed its graph
        self.passes: dict[tuple[bool, ...], Pass] = {}
        self._record(recorder, first_node)
        self._divide({id(root_of(x)) for x in inputs})
        self._inputs = [x for x in inputs if id(root_of(x)) in self._used]
        self.watched = [s for s in sources.tensors if id(root_of(s.array)) in self._used]
        self.input_places = [i for i, x in enumerate(inputs) if id(root_of(x)) in self._used]

    def _record(self, recorder: Recorder, first_node: int) -> None:
        losses = tuple(not x._array.ndim for x in self.results)
        for chosen in {(True,) * len(losses), *([losses] if sum(losses) == 1 else [])}:
            one = self.passes[chosen] = Pass(self.wanted, self.results, chosen)
            try:
                one.record(recorder, self.results, first_node)
            except RuntimeError as error:
                if str(error) != FREED:
                    raise
                self.spent = True
            if recorder.breaks:  # where all of forward was run
                recorder.steps.clear()
                raise Impure("its backward looks at values")
        if self.spent:
            self.passes, self.wanted = {}, []

    def _divide(self, given: set[int]) -> None:
        """Decides what is saved and what is computed again."""
        writers: dict[int, list[Launch]] = {}
        for step in self.forward:
            if isinstance(step, Launch):
                for x in step.writes:
                    writers.setdefault(id(root_of(x)), []).append(step)
        needs = {one: _needs(one) for one in self.passes.values()}
        self._used = set().union(*needs.values())
        if any(key in given and key in writers for key in self._used):
            raise Impure("it changes an input that its backward needs")
        wanted = {key for key in self._used if key in writers}
        chains = {key: _recomputed(key, writers, wanted, given) for key in wanted}
        self.saved = [
            _whole(self.forward, key, writers[key]) for key in wanted if chains[key] is None
        ]
        self._again: dict[Pass, list[Launch]] = {}
        for one, keys in needs.items():
            again = {id(s): s for key in keys & wanted for s in _closure(key, chains)}
            self._again[one] = [s for s in self.forward if id(s) in again]  # type: ignore[misc]
            self._used |= _read_first(self._again[one])

    def finish(self, run: Callable[..., Any]) -> None:
        """Makes the programs; ``run`` is the function itself, for derivatives of higher order."""
        for one in self.passes.values():
            one.finish(self._again[one], [*self._inputs, *self.saved])
        self.run = run
        self.forward, self._again, self._inputs = [], {}, []

    def programs(self) -> list[Program]:
        """The programs of the passes, that for fewest results first."""
        return [self.passes[chosen].program for chosen in sorted(self.passes)]

    def launches(self) -> list[Step]:
        """The launches of all passes."""
        return [step for one in self.passes.values() for step in one.steps]

    def gradients(self) -> list[Array]:
        """The arrays of gradients of all passes."""
        return [x for one in self.passes.values() for x in one.arrays()]

    def spent_node(self) -> CompiledFunctionBackward:
        """The node of results whose graph the function itself has freed."""
        node = CompiledFunctionBackward((), len(self.results))
        node.plan, node.kept, node.inputs = self, None, ()
        return node

    def link_first(self, arrays: tuple[Array, ...], call: tuple[Any, Any]) -> None:
        """:meth:`link` for the recorded run itself, whose tensors are not kept any longer."""
        wanted, watched = (
            tuple([source.tensor for source in each]) for each in (self.wanted, self.watched)
        )
        self.link(tuple(self.results), tuple(self.saved), wanted, watched, arrays, call)
        self.results, self.saved, self.wanted, self.watched = [], [], [], []

    def link(
        self,
        results: tuple[Tensor, ...],
        saved: tuple[Array, ...],
        wanted: tuple[Tensor, ...],
        watched: tuple[Tensor, ...],
        arrays: tuple[Array, ...],
        call: tuple[Any, Any],
    ) -> None:
        """Makes results the outputs of a node."""
        node = CompiledFunctionBackward(tuple([edge_of(x) for x in wanted]), len(results))
        node.plan = self
        kept = (*[arrays[place] for place in self.input_places], *saved)
        node.kept = None if self.spent else kept
        node.inputs = wanted
        node.watched = [(x, x._version) for x in watched]
        node.call = call
        for output, tensor in enumerate(results):
            tensor._node = node
            tensor._output = output
            tensor._needs_grad = True


class CompiledFunctionBackward(Node):
    """The node of a call of a compiled function."""

    __slots__ = ("call", "inputs", "kept", "plan", "watched")
    plan: Backward
    kept: tuple[Array, ...] | None
    inputs: tuple[Tensor, ...]  # whose gradients it gives
    watched: list[tuple[Tensor, int]]  # whose values it needs, and their versions
    call: tuple[Any, Any]

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The gradients of the inputs, by the compiled backward or through a graph of their own."""
        if self.kept is None:
            raise RuntimeError(FREED)
        for tensor, version in self.watched:
            if tensor._version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: it is at version {tensor._version}; expected version "
                    f"{version} instead."
                )
        if create_graph:
            return self._differentiable(grads)
        passes = self.plan.passes
        one = passes.get(tuple([g is not None for g in grads])) or passes[(True,) * len(grads)]
        return one.run(self.kept, grads)

    def _differentiable(self, grads: Grads) -> Sequence[Tensor | None]:
        """The gradients of the same results computed once more, as differentiable tensors."""
        args, kwargs = self.call
        with enable_grad():
            again = [x for x in tensors_in(self.plan.run(*args, **kwargs)) if x.requires_grad]
        pairs = [(x, g) for x, g in zip(again, grads, strict=True) if g is not None]
        found = gradients(
            [x for x, _ in pairs],
            self.inputs,
            [g for _, g in pairs],
            create_graph=mode.recording,
            allow_unused=True,
        )
        return list(found)

    def release(self) -> None:
        """Lets go of what was saved."""
        self.kept = None


def _contiguous(g: Tensor | None, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    """A gradient in the layout in which a program expects it; zeros where there is none."""
    return np.zeros(shape, kind) if g is None else contiguous(g._array)


def _outputs(
    steps: Sequence[Step], grads: Sequence[Array], taken: set[int]
) -> tuple[list[Array], list[Step]]:
    """Arrays that every call makes anew, and the launches that copy to them what must be copied.

    A gradient that is all of a piece of memory, and its only one, is written where it goes.
    """
    written = written_roots(steps)
    outputs: list[Array] = []
    copies: list[Step] = []
    for x in grads:
        root = root_of(x)
        own = id(root) in written.keys() - taken and reach_of(steps, root) == place_of(x)
        if own and x.transpose(memory_order(x.shape, (x,))).flags.c_contiguous:
            taken.add(id(root))
            outputs.append(x)
        else:
            outputs.append(result(x.shape, x.dtype, (x,)))
            copies.append(Launch(conversion_loop(x.dtype, x.dtype), (x, outputs[-1]), ""))
    return outputs, copies


def _needs(one: Pass) -> set[int]:
    """The ids of memory that a pass needs from outside."""
    return _read_first(one.steps) | {id(root_of(x)) for x in one.arrays()}


def _closure(key: int, chains: dict[int, list[Launch] | None]) -> list[Launch]:
    """The launches that compute memory again, those for what they read included."""
    found: list[Launch] = []
    for launch in chains[key] or ():
        for x in launch.reads:
            other = id(root_of(x))
            if other != key and other in chains:
                found += _closure(other, chains)
        found.append(launch)
    return found


def _read_first(steps: Sequence[Step]) -> set[int]:
    """The ids of memory that launches read before they write it."""
    written: set[int] = set()
    read: set[int] = set()
    for step in steps:
        if not isinstance(step, Launch):
            read.add(id(root_of(step.condition)))
            continue
        read |= {id(root_of(x)) for x in step.reads} - written
        written |= {id(root_of(x)) for x in step.writes}
    return read


def _recomputed(
    key: int, writers: dict[int, list[Launch]], wanted: set[int], given: set[int]
) -> list[Launch] | None:
    """The launches that compute memory again from what backward has anyway; None if they cost.

    What was changed meanwhile is of no use: it has one writer, or none if it was given.
    """
    if key in given or len(writers[key]) != 1:
        return None
    (launch,) = writers[key]
    if launch.loop.expressions is None or element_cost(launch.loop) > DEAR:
        return None
    chain = [launch]
    for x in launch.reads:
        other = id(root_of(x))
        if other == key or len(writers.get(other, ())) > (other not in given):
            return None
        if other not in writers or other in wanted:
            continue
        before = _recomputed(other, writers, wanted, given)
        if before is None:
            return None
        chain = [*before, *chain]
    return chain


def _whole(forward: Sequence[Step], key: int, launches: Sequence[Launch]) -> Array:
    """An array over all that is used of memory: one that launches write, or its bytes."""
    found = [x for launch in launches for x in launch.writes if id(root_of(x)) == key]
    root = root_of(found[0])
    low, high = reach_of(forward, root)
    for x in found:
        if place_of(x) == (low, high):
            return x
    return np.ndarray((high - low,), np.uint8, root, low - data_address(root))
