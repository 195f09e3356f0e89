"""The graph of recorded operations, and the engine that walks it backwards.

A node stands for one operation. Its edges lead to the nodes that computed its inputs, or, for a
leaf, to the leaf tensor itself. Nodes are numbered in the order of their making, so taking the
pending node with the highest number is a topological order: whoever uses a node's result has a
higher number. The engine is a loop over a heap and needs no recursion.
"""

from __future__ import annotations

import heapq
import itertools
import re
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from numtorch_kernels import Pointwise, memory
from numtorch_kernels.costs import SHARED

from ..tensor import Tensor
from .mode import mode

numbers = itertools.count()  # of nodes
Edge = Any  # None, a leaf Tensor, a Node (its output 0), or (Node, output number)
Grads = list["Tensor | None"]
_sum = Pointwise(lambda a, b: a + b, "add")
_probe = [object()]
_HELD_ONCE = sys.getrefcount(_probe[0])  # what getrefcount says where only the list refers to it
_accumulating = threading.Lock()  # leaves may belong to the graphs of several threads


class RemovableHandle:
    """What registering a hook gives: :meth:`remove` takes the hook away again."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = next(self._ids)
        self._hooks: dict[int, Any] = hooks

    def remove(self) -> None:
        """Takes the hook away."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Node:
    """One recorded operation."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_retaining",
        "_tensor_hooks",
        "edges",
        "hooks",
        "number",
        "outputs",
        "prehooks",
        "trace",
    )

    def __init__(self, edges: tuple[Edge, ...], outputs: int = 1) -> None:
        self.edges = edges
        self.outputs = outputs
        self.number = next(numbers)
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.prehooks: dict[int, Callable[..., Any]] | None = None
        self._tensor_hooks: dict[int, dict[int, Callable[..., Any]]] | None = None
        self._retaining: dict[int, Any] | None = None
        self.trace = _callers() if mode.anomaly else None

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The gradient for each edge, given those of the outputs."""
        raise NotImplementedError

    def __call__(self, *grads: Tensor | None) -> Any:
        """The gradient of the input, or a tuple of them, given those of the outputs."""
        results = self.run(list(grads), mode.recording)
        return results[0] if len(results) == 1 else tuple(results)

    def release(self) -> None:
        """Lets go of what was saved for run()."""

    def is_hooked(self) -> bool:
        """Whether somebody is to see its gradients."""
        return bool(
            self.hooks
            or self.prehooks
            or self._tensor_hooks is not None
            or self._retaining is not None
        )

    def name(self) -> str:
        """PyTorch's name of the node, such as ``MulBackward0``."""
        return type(self).__name__

    def stem(self) -> str:
        """The name in error messages, such as ``Mul``."""
        return re.sub(r"Backward\d*$", "", self.name())

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """For each input, the node that computed it and which of its outputs it was."""
        return tuple(_as_function(edge) for edge in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes."""
        return self.__dict__

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(grad_inputs, grad_outputs)`` after run(); may give other grad_inputs."""
        if self.hooks is None:
            self.hooks = {}
        return add_hook(self.hooks, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(grad_outputs)`` before run(); may give other grad_outputs."""
        if self.prehooks is None:
            self.prehooks = {}
        return add_hook(self.prehooks, hook)

    def tensor_hooks(self, output: int) -> dict[int, Callable[..., Any]]:
        """The hooks of the tensor that is an output of this node."""
        if self._tensor_hooks is None:
            self._tensor_hooks = {}
        return self._tensor_hooks.setdefault(output, {})

    def retain(self, tensor: Tensor) -> None:
        """Stores the gradient of this output in the tensor's ``grad``."""
        if self._retaining is None:
            self._retaining = {}
        self._retaining[tensor._output] = weakref.ref(tensor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


def add_hook(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
    """Adds a hook, which stays until its handle is removed."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def add_leaf_hook(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
    """Adds a hook of a leaf; from now on, leaves are done as soon as their gradient is known."""
    Run.hooked_leaves = True
    return add_hook(hooks, hook)


def _callers() -> str:
    """The stack of calls outside this package, as a traceback shows it."""
    package = __name__.partition(".")[0]
    stack = traceback.StackSummary.extract(
        (frame, line)
        for frame, line in traceback.walk_stack(sys._getframe())
        if frame.f_globals.get("__name__", package).partition(".")[0] != package
    )
    return "".join(reversed(stack.format()))


class AccumulateGrad:
    """How a leaf appears among ``next_functions``."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable
        self.next_functions: tuple[()] = ()

    def name(self) -> str:
        """The name of the node, with its namespace."""
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


def _as_function(edge: Edge) -> tuple[Any, int]:
    if edge is None:
        return None, 0
    if isinstance(edge, tuple):
        return edge
    return (AccumulateGrad(edge) if isinstance(edge, Tensor) else edge), 0


def edge_of(tensor: Tensor) -> Edge:
    """Where the gradient of a tensor goes."""
    if tensor._view is not None:
        tensor._refresh_view()
    node = tensor._node
    if node is None:
        return tensor if tensor.requires_grad else None
    return node if not tensor._output else (node, tensor._output)


class Run:
    """One walk of the engine."""

    hooked_leaves = False  # whether a leaf was ever given a hook
    fence = 0  # a node's number; that older ones were run is noted
    crossed = False

    def __init__(
        self,
        roots: Sequence[tuple[Edge, Tensor]],
        create_graph: bool,
        retain_graph: bool,
        inputs: Sequence[Tensor] | None,
        accumulate: bool,
        first_node: int,
    ) -> None:
        self.first_node = first_node
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.accumulate = accumulate
        self.pending: dict[Node, Grads] = {}
        self.heap: list[tuple[int, Node]] = []
        self.leaves: dict[Tensor, Tensor] = {}  # in the order of the last gradient's arrival
        self.wanted: dict[Any, list[int]] | None = None
        self.useful: set[Node] | None = None  # those that lead to a wanted tensor
        self.terminal: set[Node] = set()  # those that are wanted, but lead no further
        self.captured: list[Tensor | None] = []
        if inputs is not None:
            self.wanted = {}
            self.captured = [None] * len(inputs)
            for position, tensor in enumerate(inputs):
                edge = edge_of(tensor)
                if edge is None:
                    raise RuntimeError("One of the differentiated Tensors does not require grad")
                key = edge if isinstance(edge, Tensor | tuple) else (edge, 0)
                self.wanted.setdefault(key, []).append(position)
        starts = [edge for edge, _ in roots]
        self.awaited = _leaf_uses(starts) if self.hooked_leaves else {}
        if inputs is not None:
            self.restrict(starts)

    def deliver(self, edge: Edge, grad: Tensor) -> None:
        """Adds a gradient to what is pending for an edge."""
        if isinstance(edge, Tensor):
            if self.wanted is not None and edge not in self.wanted:
                return
            if edge in self.leaves:
                self.add(self.leaves, edge, grad)
                grad = self.leaves.pop(edge)
            self.leaves[edge] = grad
            if self.awaited:
                self.awaited[edge] -= 1
                if not self.awaited[edge]:
                    del grad
                    self.finish(edge)
            return
        node, output = edge if isinstance(edge, tuple) else (edge, 0)
        if self.useful is not None and node not in self.useful:
            return
        grads = self.pending.get(node)
        if grads is None:
            grads = self.pending[node] = [None] * node.outputs
            heapq.heappush(self.heap, (-node.number, node))
        if grads[output] is None:
            grads[output] = grad
        else:
            self.add(grads, output, grad)

    def add(self, pending: Any, key: Any, grad: Tensor) -> None:
        """Adds to a pending gradient, in its memory if that is nobody else's."""
        if not self.create_graph and unshared(pending, key):
            add_to(pending[key], grad)
        else:
            pending[key] = pending[key] + grad

    def walk(self) -> None:
        """Runs all pending nodes, the newest first, and what they lead to."""
        heap, pending = self.heap, self.pending
        watched = self.wanted is not None or mode.anomaly or Run.fence
        while heap:
            node = heapq.heappop(heap)[1]
            grads = pending.pop(node)
            if watched or node.is_hooked():
                self.before(node, grads)
                if node in self.terminal:
                    continue
                results = self.step(node, grads)
            else:
                results = _as_list(node.run(grads, self.create_graph))
                if not self.retain_graph:
                    node.release()
            for position, edge in enumerate(node.edges):
                grad = results[position]
                results[position] = None  # what is pending must have no reference left here
                if edge is None or grad is None:
                    continue
                if isinstance(edge, Node) and edge.outputs == 1 and self.useful is None:
                    waiting = pending.get(edge)
                    if waiting is None:
                        pending[edge] = [grad]
                        heapq.heappush(heap, (-edge.number, edge))
                    else:
                        self.add(waiting, 0, grad)
                else:
                    self.deliver(edge, grad)

    def before(self, node: Node, grads: Grads) -> None:
        """Tensor hooks, retained and captured gradients of a node's outputs."""
        if node._tensor_hooks is not None:
            for output, hooks in node._tensor_hooks.items():
                grads[output] = call_hooks(hooks, grads[output])
        if node._retaining is not None:
            for output, reference in node._retaining.items():
                tensor, grad = reference(), grads[output]
                if tensor is not None and grad is not None:
                    known = tensor._grad
                    tensor._grad = grad.clone() if known is None else known + grad
        if self.wanted is not None:
            for output, grad in enumerate(grads):
                for position in self.wanted.get((node, output), ()):
                    self.captured[position] = grad

    def step(self, node: Node, grads: Grads) -> Grads:
        """Runs one node with its hooks."""
        if node.prehooks:
            for hook in list(node.prehooks.values()):
                changed = hook(tuple(grads))
                if changed is not None:
                    grads = list(changed) if isinstance(changed, tuple) else [changed]
        if node.number < Run.fence:
            Run.crossed = True
        try:
            results = _as_list(node.run(grads, self.create_graph))
            if mode.anomaly and mode.check_nan:
                _refuse_nan(node, results)
        except Exception:
            if mode.anomaly:
                _show_trace(node)
            raise
        if node.hooks:
            for hook in list(node.hooks.values()):
                changed = hook(tuple(results), tuple(grads))
                if changed is not None:
                    results = list(changed) if isinstance(changed, tuple) else [changed]
        if not self.retain_graph:
            node.release()
        return results

    def restrict(self, starts: Sequence[Edge]) -> None:
        """Finds the nodes that lead to a wanted tensor; all others are not walked."""
        assert self.wanted is not None
        targets = {key[0] for key in self.wanted if isinstance(key, tuple)}
        self.useful = set()
        for node in sorted(_reachable(starts), key=lambda each: each.number):
            leads = node.number >= self.first_node and any(
                (isinstance(edge, Tensor) and edge in self.wanted) or _node_of(edge) in self.useful
                for edge in node.edges
            )
            if leads or node in targets:
                self.useful.add(node)
                if not leads:
                    self.terminal.add(node)

    def finish(self, leaf: Tensor) -> None:
        """Hands a leaf its gradient."""
        if leaf._hooks:
            self.leaves[leaf] = call_hooks(leaf._hooks, self.leaves[leaf])
        if self.wanted is not None:
            for position in self.wanted[leaf]:
                self.captured[position] = self.leaves[leaf]
        if self.accumulate:
            with _accumulating:
                _store(leaf, self.leaves, leaf, self.create_graph)
            for hook in list((leaf._accumulated_hooks or {}).values()):
                hook(leaf)
        del self.leaves[leaf]


def _as_list(results: Sequence[Tensor | None]) -> Grads:
    return results if isinstance(results, list) else list(results)


def _store(leaf: Tensor, holder: Any, key: Any, create_graph: bool) -> None:
    """Adds ``holder[key]`` to a leaf's ``grad``, or makes it its ``grad``."""
    known = leaf._grad
    if known is None:
        if not create_graph and unshared(holder, key):
            leaf._grad = holder[key]
        else:
            leaf._grad = holder[key].clone()
    elif create_graph:
        leaf._grad = known + holder[key]
    else:
        add_to(known, holder[key])


def next_number() -> int:
    """A number between those of the nodes that there are and those that will be."""
    return next(numbers)


@contextmanager
def watched_fence(number: int) -> Iterator[Callable[[], bool]]:
    """Gives what tells whether, within, a node that is older than a number was run."""
    Run.fence, Run.crossed = number, False
    try:
        yield lambda: Run.crossed
    finally:
        Run.fence = 0


def _reachable(starts: Sequence[Edge]) -> set[Any]:
    """All nodes that edges lead to."""
    seen: set[Any] = {None}
    stack = [_node_of(edge) for edge in starts]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend([_node_of(edge) for edge in node.edges])
    seen.discard(None)
    return seen


def _leaf_uses(starts: Sequence[Edge]) -> dict[Tensor, int]:
    """How many gradients each leaf will get if all nodes are walked."""
    edges = [*starts, *(edge for node in _reachable(starts) for edge in node.edges)]
    uses: dict[Tensor, int] = {}
    for edge in edges:
        if isinstance(edge, Tensor):
            uses[edge] = uses.get(edge, 0) + 1
    return uses


def add_to(total: Tensor, grad: Tensor) -> None:
    """Adds a gradient to another in its memory; the short way round ``total.add_(grad)``."""
    a, b = total._array, grad._array
    if a.shape != b.shape or a.size >= SHARED:
        total.add_(grad)
    else:
        _sum.loop((a.dtype, b.dtype)).ufunc(a, b, a)
        total._bump_version()


def unshared(holder: Any, key: Any) -> bool:
    """Whether ``holder[key]`` is a tensor that nothing else refers to, nor to its memory."""
    return sys.getrefcount(holder[key]) == _HELD_ONCE and memory.sole_owner(holder[key])


def _node_of(edge: Edge) -> Any:
    if edge is None or isinstance(edge, Tensor):
        return None
    return edge[0] if isinstance(edge, tuple) else edge


def call_hooks(hooks: dict[int, Callable[..., Any]], grad: Any) -> Any:
    """The gradient after a tensor's hooks, each of which may replace it."""
    for hook in list(hooks.values()):
        changed = hook(grad)
        if changed is not None:
            if not isinstance(changed, Tensor):
                raise TypeError(f"expected Variable, but hook returned '{type(changed).__name__}'")
            grad = changed
    return grad


def _show_trace(node: Node) -> None:
    """Warns of the call that made a node, whose backward has failed."""
    if node.trace is None:
        place = (
            "No forward pass information available. Enable detect anomaly during forward pass for "
            "more information."
        )
    else:
        place = f"Traceback of forward call that caused the error:\n{node.trace}"
    warnings.warn(f"Error detected in {node.name()}. {place}", stacklevel=2)


def _refuse_nan(node: Node, results: Sequence[Tensor | None]) -> None:
    for position, grad in enumerate(results):
        if grad is not None and np.isnan(grad._array).any():
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {position}th output."
            )


def _is_all(roots: Sequence[tuple[Edge, Tensor]]) -> bool:
    """Whether there is one node, which leads to leaves, each by one edge, and nothing is hooked."""
    node = roots[0][0] if len(roots) == 1 else None
    return (
        isinstance(node, Node)
        and not (node.hooks or node.prehooks or node._tensor_hooks or node._retaining)
        and not (Run.hooked_leaves or Run.fence or mode.anomaly)
        and all(edge is None or isinstance(edge, Tensor) for edge in node.edges)
        and len(set(map(id, node.edges))) == len(node.edges)
    )


def _run_alone(node: Node, grad: Tensor, retain_graph: bool) -> None:
    """The short way through a graph of one node."""
    grads: Grads = [None] * node.outputs
    grads[0] = grad
    results = list(node.run(grads, False))
    if not retain_graph:
        node.release()
    for position, leaf in enumerate(node.edges):
        if leaf is not None and results[position] is not None:
            with _accumulating:
                _store(leaf, results, position, False)


def run_backward(
    roots: Sequence[tuple[Edge, Tensor]],
    *,
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
    accumulate: bool = True,
    first_node: int = 0,
) -> list[Tensor | None]:
    """Walks the graph from roots with their gradients.

    Gradients accumulate in the leaves' ``grad`` (with ``inputs``, in those leaves only), unless
    ``accumulate`` is False. Gives the gradients of ``inputs``. Given inputs, nodes with numbers
    before ``first_node`` are not walked.
    """
    recording = mode.recording
    if inputs is None and accumulate and not create_graph and _is_all(roots):
        mode.recording = False
        try:
            _run_alone(*roots[0], retain_graph)
        finally:
            mode.recording = recording
        return []
    run = Run(roots, create_graph, retain_graph, inputs, accumulate, first_node)
    mode.recording = create_graph
    try:
        for edge, grad in roots:
            run.deliver(edge, grad)
        run.walk()
        for leaf in list(run.leaves):
            run.finish(leaf)
    finally:
        mode.recording = recording
    return run.captured
