"""The one path of every operation: compute, wrap, record; and its in-place and ``out=`` forms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
from numtorch_kernels import Pointwise

from ..autograd.graph import Grads, Node, edge_of
from ..autograd.mode import mode
from ..dtype import can_cast, dtype
from ..size import Size
from ..tensor import Tensor, wrap, wrap_array

Array = np.ndarray[Any, Any]

copy_kernel = Pointwise(lambda x: x, "copy")


class Hook:
    """Where :mod:`numtorch.compile` sees every operation instead of it being computed."""

    trace: ClassVar[Callable[..., Any] | None] = None


def apply(op: Any, arguments: tuple[Any, ...], out: Any = None) -> Any:
    """The operation's result for arguments in the order of its parameters.

    Trailing arguments may be left out where they have their default.
    """
    if Hook.trace is not None:
        return Hook.trace(op, arguments, out)
    if out is not None:
        return _apply_out(op, arguments, out)
    values = op.forward(arguments)
    if values.__class__ is tuple:
        results = tuple([wrap_array(value) for value in values])
        if mode.recording and op.rules and any_needs_grad(arguments):
            record(op, arguments, results)
        if op.attach is not None:
            op.attach(arguments[0], results)
        return op.pack(results)
    result = wrap_array(values)
    if mode.recording and op.rules:
        for x in arguments:
            if isinstance(x, Tensor):
                if x._needs_grad:
                    record(op, arguments, (result,))
                    break
            elif x.__class__ in _SEQUENCES and any_needs_grad(x):
                record(op, arguments, (result,))
                break
    if op.attach is not None:
        op.attach(arguments[0], (result,))
    return result


_SEQUENCES = (list, tuple)


def any_needs_grad(arguments: Sequence[Any]) -> bool:
    """Whether a tensor among the arguments, or in lists among them, requires grad."""
    for x in arguments:
        if isinstance(x, Tensor):
            if x._needs_grad:
                return True
        elif x.__class__ in _SEQUENCES and any_needs_grad(x):
            return True
    return False


# ---------------------------------------------------------------------- recording


class SavedResult:
    """A result that its own node needs: kept without the tensor, which refers to the node."""

    __slots__ = ("array", "counter", "output")

    def __init__(self, tensor: Tensor, output: int) -> None:
        self.array = tensor._array
        self.counter = tensor._shared_version()
        self.output = output


class OpNode(Node):
    """The node of an operation of the table: what its derivatives need, saved."""

    __slots__ = ("likes", "recipe", "saved", "shapes", "versions")
    fresh = True
    op: ClassVar[Any]

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        if self.saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Saved intermediate values of the "
                "graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or if "
                "you need to access saved tensors after calling backward."
            )
        values = [
            value if version is None else self._unpacked(value, version)
            for value, version in zip(self.saved, self.versions, strict=True)
        ]
        return self.op.backward(self, grads, values, create_graph)

    def _unpacked(self, value: Any, version: int) -> Any:
        """A saved tensor, if nobody changed it since."""
        if value.__class__ is tuple:
            return [
                each if number is None else self._unpacked(each, number)
                for each, number in zip(value, version, strict=True)  # type: ignore[call-overload]
            ]
        if isinstance(value, Tensor):
            if value._version != version:
                _refuse_modified(value, value._version, version)
            return value
        result = wrap_array(value.array)
        result._node, result._output, result._needs_grad = self, value.output, True
        if value.counter.number != version:
            _refuse_modified(result, value.counter.number, version)
        return result

    def release(self) -> None:
        if self.saved is not None and any(version is not None for version in self.versions):
            self.saved = None


def _refuse_modified(tensor: Tensor, found: int, expected: int) -> NoReturn:
    kind = TENSOR_TYPES[tensor.dtype.name]
    origin = ""
    if tensor._node is not None:
        origin = f", which is output {tensor._output} of {tensor._node.name()},"
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{kind} {list(tensor.shape)}]{origin} is at version {found}; expected version "
        f"{expected} instead. Hint: enable anomaly detection to find the operation that failed to "
        "compute its gradient, with torch.autograd.set_detect_anomaly(True)."
    )


TENSOR_TYPES = {
    "float32": "torch.FloatTensor",
    "float64": "torch.DoubleTensor",
    "int8": "torch.CharTensor",
    "int16": "torch.ShortTensor",
    "int32": "torch.IntTensor",
    "int64": "torch.LongTensor",
    "uint8": "torch.ByteTensor",
    "bool": "torch.BoolTensor",
}


def record(
    op: Any,
    arguments: tuple[Any, ...],
    results: tuple[Tensor, ...],
    changed: Tensor | None = None,
) -> Node:
    """Makes the node of a call and attaches it to the results.

    ``changed`` is the tensor that the call changed in place: inputs of its memory are saved with
    the version before, which backward will refuse.
    """
    edges: list[Any] = []
    likes: list[Any] = []  # of each edge: None, or the input's shape and dtype
    mask = 0
    for bit, position in enumerate(op.differentiable):
        x = arguments[position] if position < len(arguments) else None
        if isinstance(x, Tensor):
            if x._needs_grad:
                mask |= 1 << bit
                edges.append(edge_of(x))
                likes.append((x._array.shape, x.dtype))
            else:
                edges.append(None)
                likes.append(None)
        elif x.__class__ in _SEQUENCES:
            mask |= 1 << bit
            edges += [edge_of(each) if isinstance(each, Tensor) else None for each in x]
            likes += [None] * len(x)
        else:
            edges.append(None)
            likes.append(None)
    recipe = op.recipe(mask, arguments)
    node = op.node_class(arguments)(tuple(edges), len(results))
    node.recipe = recipe
    node.likes = likes
    node.shapes = [each._array.shape for each in results] if len(results) > 1 else None
    saved, versions = [], []
    stale = changed._version_counter if changed is not None else None
    for source, position in recipe.saves:
        value, version = _saved(source, position, op, arguments, results, stale)
        saved.append(value)
        versions.append(version)
    node.saved = saved
    node.versions = versions
    for output, result in enumerate(results):
        if result.dtype.category == 2:
            result._node = node
            result._output = output
            result._needs_grad = True
    return node


def _saved(
    source: str,
    position: int,
    op: Any,
    arguments: tuple[Any, ...],
    results: tuple[Tensor, ...],
    stale: Any,
) -> tuple[Any, Any]:
    """What to save for one name of a rule, and its version if it is a tensor."""
    if source == "result":
        kept = SavedResult(results[position], position)
        return kept, kept.counter.number
    if source == "outputs":
        return len(results), None
    value = arguments[position] if position < len(arguments) else op.defaults[position]
    if source == "shape":
        return value.shape if isinstance(value, Tensor) else Size(np.shape(value)), None
    if source == "dtype":
        return value.dtype, None
    if isinstance(value, Tensor):
        counter = value._version_counter
        if counter is None:
            return value, 0
        return value, counter.number - (counter is stale)
    if value.__class__ in _SEQUENCES and any(isinstance(each, Tensor) for each in value):
        kept = tuple(value)
        return kept, tuple(x._version if isinstance(x, Tensor) else None for x in kept)
    return value, None


# ---------------------------------------------------------------------- out= and in place


def _apply_out(op: Any, arguments: tuple[Any, ...], out: Any) -> Any:
    """The operation with its result(s) written to given tensors."""
    targets = out if isinstance(out, tuple | list) else (out,)
    for target in targets:
        if not isinstance(target, Tensor):
            raise TypeError(
                f"{op.name}(): argument 'out' must be Tensor, not {type(target).__name__}"
            )
    if mode.recording and (any_needs_grad(arguments) or any_needs_grad(targets)):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    values = op.forward(arguments)
    values = values if isinstance(values, tuple) else (values,)
    for target, value in zip(targets, values, strict=True):
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        check_castable(array.dtype, target.dtype)
    for target, value in zip(targets, values, strict=True):
        resize_output(target, np.shape(value))
        write(target._array, np.asarray(value))
        target._bump_version()
    return out if len(values) == 1 else op.pack(tuple(targets))


def check_castable(source: np.dtype[Any], target: dtype) -> None:
    """Raises PyTorch's error where a result may not be stored in a dtype."""
    kind = wrap_array(np.empty(0, source)).dtype
    if not can_cast(kind, target):
        raise RuntimeError(
            f"result type {scalar_type(kind)} can't be cast to the desired output type "
            f"{scalar_type(target)}"
        )


def scalar_type(kind: dtype) -> str:
    """PyTorch's C++ name of a dtype, as its messages have it."""
    return TENSOR_TYPES[kind.name].removeprefix("torch.").removesuffix("Tensor")


def resize_output(target: Tensor, shape: tuple[int, ...]) -> None:
    """Gives an ``out`` tensor the shape of the result, as PyTorch does."""
    if target._array.shape == shape:
        return
    if target._array.size:
        warnings.warn(
            "An output with one or more elements was resized since it had shape "
            f"{list(target.shape)}, which does not match the required output shape "
            f"{list(shape)}. This behavior is deprecated, and in a future PyTorch release outputs "
            "will not be resized unless they have zero elements. You can explicitly reuse an out "
            "tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
            stacklevel=4,
        )
    target._array = np.empty(shape, target._array.dtype)


def write(target: Array, value: Array) -> None:
    """Copies a result into an array, casting."""
    copy_kernel(value, out=target)


def apply_inplace(op: Any, arguments: tuple[Any, ...]) -> Tensor:
    """The operation with its result written to its first argument, which is returned."""
    target: Tensor = arguments[0]
    if Hook.trace is not None:
        return Hook.trace(op, arguments, target)
    needs = mode.recording and any_needs_grad(arguments)
    if needs:
        check_inplace(target)
        if target._view is not None:
            target._refresh_view()  # type: ignore[attr-defined]
        arguments = (alias(target), *arguments[1:])
    op.forward_into(arguments, target)
    target._bump_version()
    if needs and op.rules:
        rebase(target, record(op, arguments, (target,), changed=target))
    return target


def alias(tensor: Tensor) -> Tensor:
    """Another tensor for the same memory and the same place in the graph."""
    result = wrap(tensor._array, tensor.dtype)
    result._node, result._output = tensor._node, tensor._output
    result._needs_grad = tensor._needs_grad
    result._version_counter = tensor._shared_version()
    result._hooks = tensor._hooks
    return result


def check_inplace(target: Tensor) -> None:
    """Raises PyTorch's errors where a recorded in-place change is not allowed."""
    view = target._view
    if view is not None:
        if view.kind == "multiple":
            raise RuntimeError(
                f"Output {target._output} of {target._node and target._node.name()} is a view and "
                "is being modified inplace. This view is the output of a function that returns "
                "multiple views. Such functions do not allow the output views to be modified "
                "inplace. You should replace the inplace operation by an out-of-place one."
            )
        if view.kind == "no_grad":
            raise RuntimeError(
                "A view was created in no_grad mode and is being modified inplace with grad mode "
                "enabled. Given that this use case is ambiguous and error-prone, it is forbidden. "
                "You can clarify your code by moving both the view and the inplace either both "
                "inside the no_grad block (if you don't want the inplace to be tracked) or both "
                "outside (if you want the inplace to be tracked)."
            )
        if view.base._needs_grad and view.base._node is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation."
            )
    elif target._needs_grad and target._node is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def rebase(target: Tensor, node: Node) -> None:
    """Makes the base of a changed view depend on the change."""
    view = target._view
    if view is None:
        return
    base = view.base
    slices = CopySlices(base, target, node)
    base._node, base._output, base._needs_grad = slices, 0, True
    target._node = None
    target._refresh_view()  # type: ignore[attr-defined]


class CopySlices(Node):
    """The node of a tensor, one of whose views was changed in place by another node."""

    __slots__ = ("change", "layout", "view")
    fresh = False
    as_strided: ClassVar[Callable[..., Tensor]]  # set by ops.views
    scatter: ClassVar[Callable[..., Tensor]]

    def __init__(self, base: Tensor, view: Tensor, change: Node) -> None:
        super().__init__((edge_of(base), *change.edges[1:]))
        self.change = change
        self.layout = base.stride()
        offset = (view.data_ptr() - base.data_ptr()) // view.element_size()
        self.view = (view.shape, view.stride(), offset)

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        (grad,) = grads
        part = CopySlices.as_strided(grad, *self.view, self.layout)
        inner, *others = self.change.run([part], create_graph)
        if inner is None:
            inner = part * 0  # type: ignore[operator]
        return [CopySlices.scatter(grad, inner, *self.view, self.layout), *others]

    def release(self) -> None:
        self.change.release()
