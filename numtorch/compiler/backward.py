"""The backward of a compiled function: what forward saves for it, and the node that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels.copying import contiguous, conversion_loop
from numtorch_kernels.encoding import element_cost
from numtorch_kernels.launches import Launch, Step, root_of
from numtorch_kernels.layout import memory_order, ordered, result
from numtorch_kernels.program import Program

from ..autograd.calls import grad as gradients
from ..autograd.graph import Grads, Node, edge_of, run_backward
from ..autograd.mode import enable_grad, mode
from ..autograd.saved import FREED
from ..tensor import Tensor, wrap
from .recording import Impure, Recorder
from .references import reach_of, span_of, written_roots
from .sources import Source, Sources
from .structure import tensors_in

Array = np.ndarray[Any, Any]

# Nanoseconds an element from which a value is rather saved than computed again: to write a float32
# to memory and to read it takes as long on one core.
DEAR = 0.9


class Backward:
    """The launches of a backward pass, and what they need of the forward pass."""

    def __init__(
        self,
        recorder: Recorder,
        results: Sequence[Tensor],
        sources: Sources,
        inputs: Sequence[Array],
        first_node: int,
    ) -> None:
        """Records the gradients of results that require grad, while launches are put off.

        ``first_node`` is the number of the first node of the function's own graph.
        """
        self.forward = list(recorder.steps)
        self.results = [x for x in results if x.requires_grad]
        self.seeds = [np.empty(x._array.shape, x._array.dtype) for x in self.results]
        wanted = [s for s in sources.tensors if s.needs_grad]
        self.spent = False  # whether the function itself has freed its graph
        found = self._record(recorder, wanted, first_node)
        pairs = [(s, g) for s, g in zip(wanted, found, strict=True) if g is not None]
        self.wanted: list[Source] = [source for source, _ in pairs]
        self.grads = [g._array for _, g in pairs]
        self.kinds = [g.dtype for _, g in pairs]
        if recorder.breaks:  # where all of forward was run
            recorder.steps.clear()
            raise Impure("its backward looks at values")
        self.steps: list[Step] = recorder.steps[len(self.forward) :]
        del recorder.steps[len(self.forward) :]
        self._divide({id(root_of(x)) for x in inputs})
        self._inputs = [x for x in inputs if id(root_of(x)) in self._used]
        self.watched = [s for s in sources.tensors if id(root_of(s.array)) in self._used]
        self.input_places = [i for i, x in enumerate(inputs) if id(root_of(x)) in self._used]

    def _record(
        self, recorder: Recorder, wanted: Sequence[Source], first_node: int
    ) -> list[Tensor | None]:
        """The gradients of the wanted tensors, while launches are put off."""
        pairs = zip(self.results, self.seeds, strict=True)
        recorder.label = "backward"
        try:
            return run_backward(
                [(edge_of(x), wrap(seed, x.dtype)) for x, seed in pairs],
                retain_graph=True,
                create_graph=False,
                inputs=[source.tensor for source in wanted],
                accumulate=False,
                first_node=first_node,
            )
        except RuntimeError as error:
            if str(error) != FREED:
                raise
            self.spent = True
            del recorder.steps[len(self.forward) :]
            return [None] * len(wanted)
        finally:
            recorder.label = ""

    def _divide(self, given: set[int]) -> None:
        """Decides what is saved and what is computed again; the latter joins the steps."""
        writers: dict[int, list[Launch]] = {}
        for step in self.forward:
            if isinstance(step, Launch):
                for x in step.operands[step.loop.inputs :]:
                    writers.setdefault(id(root_of(x)), []).append(step)
        self._used = _read_first(self.steps)
        self._used |= {id(root_of(x)) for x in self.grads}
        if any(key in given and key in writers for key in self._used):
            raise Impure("it changes an input that its backward needs")
        wanted = {key for key in self._used if key in writers}
        again: list[Launch] = []
        self.saved: list[Array] = []
        for key in wanted:
            chain = _recomputed(key, writers, wanted, given)
            if chain is None:
                self.saved.append(_whole(key, writers[key]))
            else:
                again += chain
        order = {id(step): place for place, step in enumerate(self.forward)}
        again = list({id(step): step for step in again}.values())
        self.steps = [*sorted(again, key=lambda step: order[id(step)]), *self.steps]
        self._used |= _read_first(self.steps)

    def finish(self, run: Callable[..., Any]) -> None:
        """Makes the program; ``run`` is the function itself, for derivatives of higher order."""
        bound = [*self._inputs, *self.saved, *self.seeds]
        taken = {id(root_of(x)) for x in bound}
        outputs, copies = _outputs(self.steps, self.grads, taken)
        self.program = Program([*self.steps, *copies], bound, outputs)
        self.targets = [(x.shape, x.dtype, memory_order(x)) for x in outputs]
        self.run = run
        self.seed_shapes = [(x.shape, x.dtype) for x in self.seeds]
        self.count = len(self.results)
        del self.forward, self.steps, self.grads, self.seeds, self._inputs

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
        plan = self.plan
        seeds = [
            g._array
            if g is not None and g._array.flags.c_contiguous
            else _contiguous(g, *plan.seed_shapes[i])
            for i, g in enumerate(grads)
        ]
        outputs = [ordered(*target) for target in plan.targets]
        status = plan.program.run((*self.kept, *seeds, *outputs))
        if status:
            raise RuntimeError("a gradient has another shape or dtype than its tensor")
        return [wrap(x, kind) for x, kind in zip(outputs, plan.kinds, strict=True)]

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
        own = id(root) in written.keys() - taken and reach_of(steps, root) == span_of(x)
        if own and x.transpose(memory_order(x)).flags.c_contiguous:
            taken.add(id(root))
            outputs.append(x)
        else:
            outputs.append(result(x.shape, x.dtype, (x,)))
            copies.append(Launch(conversion_loop(x.dtype, x.dtype), (x, outputs[-1]), ""))
    return outputs, copies


def _read_first(steps: Sequence[Step]) -> set[int]:
    """The ids of memory that launches read before they write it."""
    written: set[int] = set()
    read: set[int] = set()
    for step in steps:
        if not isinstance(step, Launch):
            read.add(id(root_of(step.condition)))
            continue
        count = len(step.operands) if step.loop.updates else step.loop.inputs
        read |= {id(root_of(x)) for x in step.operands[:count]} - written
        written |= {id(root_of(x)) for x in step.operands[step.loop.inputs :]}
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
    for x in launch.operands[: launch.loop.inputs]:
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


def _whole(key: int, launches: Sequence[Launch]) -> Array:
    """The largest array over a piece of memory that launches write."""
    found = [
        x
        for launch in launches
        for x in launch.operands[launch.loop.inputs :]
        if id(root_of(x)) == key
    ]
    return max(found, key=lambda x: x.nbytes)
