"""The one path of every operation: compute, wrap, record; and its in-place and ``out=`` forms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from numtorch_kernels import copying
from numtorch_kernels.calls.backward import BackwardCalls
from numtorch_kernels.calls.callables import Patience

from ..autograd.graph import Grads, Node, edge_of
from ..autograd.inplace import alias, check_inplace, rebase
from ..autograd.mode import mode
from ..autograd.saved import FREED, SavedResult, unpacked
from ..dtype import TENSOR_TYPES, can_cast, dtype
from ..size import Size
from ..tensor import Tensor, wrap_array

Array = np.ndarray[Any, Any]


def _wait_for_compiled_calls(op: Any, arguments: tuple[Any, ...]) -> Any:
    """Computes a row's results through Python, until that was done often enough."""
    if _patience.is_over() and Hook.trace is _wait_for_compiled_calls:
        Hook.trace = None
    return op.compute(arguments)


class Hook:
    """Where every operation that Python computes is seen: what computes a row's results.

    :mod:`numtorch.compile` puts itself here.
    """

    trace: ClassVar[Callable[..., Any] | None] = _wait_for_compiled_calls


_patience = Patience()


def apply(op: Any, arguments: tuple[Any, ...], out: Any = None) -> Any:
    """The operation's result for arguments in the order of its parameters.

    Trailing arguments may be left out where they have their default.
    """
    if out is not None:
        return _apply_out(op, arguments, out)
    result = op.compute(arguments) if Hook.trace is None else Hook.trace(op, arguments)
    return finish(op, arguments, result)


def finish(op: Any, arguments: tuple[Any, ...], result: Any) -> Any:
    """The result of a call, recorded if gradients are wanted."""
    if result.__class__ is tuple:
        results = result
        if mode.recording and op.rules and any_needs_grad(arguments):
            record(op, arguments, results)
        if op.attach is not None:
            op.attach(arguments[0], results)
        return op.pack(results)
    if mode.recording and op.rules:
        for x in arguments:
            if isinstance(x, Tensor):
                if x._needs_grad or (x._view is not None and x.requires_grad):
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
            if x._needs_grad or (x._view is not None and x.requires_grad):
                return True
        elif x.__class__ in _SEQUENCES and any_needs_grad(x):
            return True
    return False


# ---------------------------------------------------------------------- recording


class OpNode(Node):
    """The node of an operation of the table: what its derivatives need, saved."""

    __slots__ = ("likes", "recipe", "saved", "shapes", "versions")
    op: ClassVar[Any]
    recipe: Any
    likes: list[Any]  # of each edge: None, or the input's shape and dtype
    shapes: list[tuple[int, ...]] | None  # of the results, where there are several
    saved: list[Any] | None  # None once it is released
    versions: list[Any]  # of each saved value: None, or those of the tensors it is or has

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The gradient for each edge, by the row's derivatives."""
        if self.saved is None:
            raise RuntimeError(FREED)
        values = [
            value if version is None else unpacked(value, version, self)
            for value, version in zip(self.saved, self.versions, strict=True)
        ]
        return self.op.backward(self, grads, values, create_graph)

    run = BackwardCalls().entry(run)

    def release(self) -> None:
        """Lets go of what was saved; a node that saved no tensor can run again."""
        for version in self.versions:
            if version is not None:
                self.saved = None
                break


def record(
    op: Any,
    arguments: tuple[Any, ...],
    results: tuple[Tensor, ...],
    changed: Tensor | None = None,
) -> OpNode:
    """Makes the node of a call and attaches it to the results.

    ``changed`` is the tensor that the call changed in place: inputs of its memory are saved with
    the version before, which backward will refuse.
    """
    edges, likes, mask = _edges(op, arguments)
    recipe = op.recipe(mask, arguments)
    kind = op.only_node or op.node_class(arguments)
    node = kind(tuple(edges), len(results))
    node.recipe = recipe
    node.likes = likes
    node.shapes = [each._array.shape for each in results] if len(results) > 1 else None
    saved, versions = [], []
    stale = changed._version_counter if changed is not None else None
    for source, position in recipe.saves:
        if source == "argument" and position < len(arguments):
            value = arguments[position]
            if isinstance(value, Tensor):
                counter = value._version_counter
                saved.append(value)
                versions.append(0 if counter is None else counter.number - (counter is stale))
                continue
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


def _edges(op: Any, arguments: tuple[Any, ...]) -> tuple[list[Any], list[Any], int]:
    """Of each differentiable input its edge and its shape and dtype, and a bit where it has one."""
    edges: list[Any] = []
    likes: list[Any] = []
    mask = 0
    for bit, position in enumerate(op.differentiable):
        x = arguments[position] if position < len(arguments) else None
        if isinstance(x, Tensor):
            if x._needs_grad or (x._view is not None and x.requires_grad):
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
    return edges, likes, mask


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
        result = SavedResult(results[position], position)
        return result, result.counter.number
    if source == "outputs":
        return len(results), None
    value = arguments[position] if position < len(arguments) else op.defaults[position]
    if source == "shape":
        return _of_each(value, _shape_of), None
    if source == "dtype":
        return _of_each(value, attrgetter("dtype")), None
    if _has_tensors(value):
        kept = tuple(value)
        return kept, tuple(x._version if isinstance(x, Tensor) else None for x in kept)
    return value, None


def _of_each(value: Any, what: Callable[[Any], Any]) -> Any:
    """Something of a value, or of each tensor in a list."""
    return [what(each) for each in value] if _has_tensors(value) else what(value)


def _has_tensors(value: Any) -> bool:
    """Whether a value is a list or tuple with tensors in it."""
    if value.__class__ in _SEQUENCES:
        for each in value:
            if isinstance(each, Tensor):
                return True
    return False


def _shape_of(value: Any) -> Size:
    return value.shape if isinstance(value, Tensor) else Size(np.shape(value))


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
    if not op.out_may_share:
        _refuse_sharing(targets, arguments)
    if len(targets) == 1 and op.fits(arguments, targets[0]):
        op.forward_into(arguments, targets[0])
        targets[0]._bump_version()
        return out
    values = op.forward(arguments)
    values = values if isinstance(values, tuple) else (values,)
    for target, value in zip(targets, values, strict=True):
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if not op.out_may_cast and array.dtype != target._array.dtype:
            raise RuntimeError(
                f"Expected out tensor to have dtype {CPP_TYPES[array.dtype.name]}, "
                f"but got {CPP_TYPES[target.dtype.name]} instead"
            )
        check_castable(array.dtype, target.dtype)
    for target, value in zip(targets, values, strict=True):
        refuse_overlap(target._array)
        resize_output(target, np.shape(value))
        write(target._array, np.asarray(value))
        target._bump_version()
    return out if len(values) == 1 else op.pack(tuple(targets))


CPP_TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "signed char",
    "int16": "short int",
    "int32": "int",
    "int64": "long int",
    "uint8": "unsigned char",
    "bool": "bool",
}


def _refuse_sharing(targets: Sequence[Tensor], arguments: Sequence[Any]) -> None:
    """Raises PyTorch's error where a result would go to the memory of an input."""
    for x in arguments:
        if x.__class__ in _SEQUENCES:
            _refuse_sharing(targets, x)
        elif isinstance(x, Tensor) and any(
            x is target or np.may_share_memory(x._array, target._array) for target in targets
        ):
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location. Please clone() the tensor before "
                "performing the operation."
            )


def check_castable(source: np.dtype[Any], target: dtype) -> None:
    """Raises PyTorch's error where a result may not be stored in a dtype."""
    kind = wrap_array(np.empty(0, source)).dtype
    if not can_cast(kind, target):
        raise RuntimeError(
            f"result type {scalar_type(kind)} can't be cast to the desired output type "
            f"{scalar_type(target)}"
        )


def refuse_overlap(array: Array) -> None:
    """Raises PyTorch's error where elements that are to be written share memory."""
    if (
        0 in array.strides
        and array.size
        and any(n > 1 and not step for n, step in zip(array.shape, array.strides, strict=True))
    ):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
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
    copying.copy_into(target, value)


def apply_inplace(op: Any, arguments: tuple[Any, ...]) -> Tensor:
    """The operation with its result written to its first argument, which is returned."""
    target: Tensor = arguments[0]
    needs = mode.recording and any_needs_grad(arguments)
    if needs:
        check_inplace(target)
        before, after, counter = alias(target), alias(target), target._version_counter
        arguments = tuple(
            alias(x) if isinstance(x, Tensor) and x._version_counter is counter else x
            for x in arguments
        )
        if _saves_first(op, arguments):
            before._array, before._version_counter = copying.contiguous(target._array), None
            arguments = (before, *arguments[1:])
    op.forward_into(arguments, target)
    target._bump_version()
    if needs and op.rules:
        node = record(op, arguments, (after,), changed=target)
        rebase(target, node, edge=0 if op.differentiable[0] == 0 else None)
    return target


def _saves_first(op: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a derivative that is wanted needs the values of the first argument."""
    mask = 0
    for bit, position in enumerate(op.differentiable):
        if position < len(arguments) and any_needs_grad((arguments[position],)):
            mask |= 1 << bit
    return ("argument", 0) in op.recipe(mask, arguments).saves
