"""What modules call besides their forward: hooks before it, after it and around its backward."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd.graph import Grads, Node, RemovableHandle, edge_of
from ..autograd.mode import mode
from ..tensor import Tensor, wrap
from .members import Members

_NO_INPUTS = (
    "Full backward hook is firing when gradients are computed with respect to module outputs since "
    "no inputs require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module."
    "html#torch.nn.Module.register_full_backward_hook for more details."
)


class Hook(NamedTuple):
    """A registered function, and how it wants to be called."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False


class Hooks(OrderedDict[int, Hook]):
    """The hooks of one kind, in the order in which they are called."""

    def add(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Registers a hook, last or first."""
        handle = RemovableHandle(self)
        Members.changes += 1
        self[handle.id] = hook
        if prepend:
            self.move_to_end(handle.id, last=False)
        return handle


def call_before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments after the forward pre-hooks, each of which may replace them."""
    for hook in list(module._forward_pre_hooks.values()):
        if hook.with_kwargs:
            changed = hook.function(module, args, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                    f"but got {changed}."
                )
            args, kwargs = changed
        else:
            changed = hook.function(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


class Call:
    """One call of a module that has hooks."""

    def __init__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module = module
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.called: set[int] = set()

    def run(self) -> Any:
        """The module's result, after all hooks."""
        try:
            return self._run()
        except Exception:
            self._call_always()
            raise

    def _run(self) -> Any:
        module = self.module
        self.args, self.kwargs = call_before(module, self.args, self.kwargs)
        around = None
        if module._backward_hooks or module._backward_pre_hooks:
            around = AroundBackward(module)
            self.args = around.enter(self.args)
        self.result = module.forward(*self.args, **self.kwargs)
        for number, hook in list(module._forward_hooks.items()):
            self._call(number, hook)
        if around is not None:
            self.result = around.leave(self.result)
        return self.result

    def _call(self, number: int, hook: Hook) -> None:
        """Calls a forward hook, which may replace the result."""
        self.called.add(number)
        kwargs = (self.kwargs,) if hook.with_kwargs else ()
        changed = hook.function(self.module, self.args, *kwargs, self.result)
        if changed is not None:
            self.result = changed

    def _call_always(self) -> None:
        """After a failure, calls the hooks that want to be called all the same."""
        for number, hook in list(self.module._forward_hooks.items()):
            if hook.always_call and number not in self.called:
                try:
                    self._call(number, hook)
                except Exception as error:
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that "
                        f"was silenced as another error was raised in forward: {error}",
                        stacklevel=4,
                    )


class BackwardHookFunctionBackward(Node):
    """Passes gradients on unchanged; its own hooks see them."""

    __slots__ = ()

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The gradients themselves."""
        return grads


class AroundBackward:
    """Shows a module's backward hooks the gradients of its outputs and of its inputs."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.has_inputs = False
        self.inputs: list[int] = []  # positions of the tensors among the arguments
        self.outputs: list[int] = []
        self.n_inputs = self.n_outputs = 0
        self.grad_output: tuple[Any, ...] = ()

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, through a node that calls the full backward hooks."""
        self.n_inputs = len(args)
        node, self.inputs, args = _through_node(args)
        if node is not None:
            self.has_inputs = True
            node.register_hook(self._after)
        return args

    def leave(self, result: Any) -> Any:
        """The result, through a node that calls the backward pre-hooks."""
        if not isinstance(result, Tensor | tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of "
                f"Tensors but received {type(result)}",
                stacklevel=5,
            )
            return result
        results = (result,) if isinstance(result, Tensor) else result
        self.n_outputs = len(results)
        node, self.outputs, results = _through_node(results)
        if node is not None:
            node.register_prehook(self._before)
        return results[0] if isinstance(result, Tensor) else results

    def _before(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        grad_output = _spread(grads, self.outputs, self.n_outputs)
        for hook in list(self.module._backward_pre_hooks.values()):
            changed = hook.function(self.module, grad_output)
            if changed is not None:
                grad_output = changed if isinstance(changed, tuple) else (changed,)
        self.grad_output = grad_output
        if not self.has_inputs and self.module._backward_hooks:
            warnings.warn(_NO_INPUTS, stacklevel=2)
            self._call((None,) * self.n_inputs)
        return tuple(grad_output[position] for position in self.outputs)

    def _after(self, grads: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        grad_input = self._call(_spread(grads, self.inputs, self.n_inputs))
        return tuple(grad_input[position] for position in self.inputs)

    def _call(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in list(self.module._backward_hooks.values()):
            changed = hook.function(self.module, grad_input, self.grad_output)
            if changed is not None:
                if not self.has_inputs:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should "
                        "always return None or None for all gradients."
                    )
                grad_input = changed if isinstance(changed, tuple) else (changed,)
        return grad_input


def _spread(grads: Sequence[Any], positions: Sequence[int], count: int) -> tuple[Any, ...]:
    """A tuple of ``count`` with the gradients at their positions and None elsewhere."""
    places = dict(zip(positions, grads, strict=True))
    return tuple(places.get(position) for position in range(count))


def _through_node(values: tuple[Any, ...]) -> tuple[Node | None, list[int], tuple[Any, ...]]:
    """A node, the positions of the tensors that need gradients, and these as its outputs."""
    positions = [
        i for i, value in enumerate(values) if isinstance(value, Tensor) and value._needs_grad
    ]
    if not positions or not mode.recording:
        return None, [], values
    edges = tuple(edge_of(values[position]) for position in positions)
    node = BackwardHookFunctionBackward(edges, len(positions))
    replaced = list(values)
    for output, position in enumerate(positions):
        source = values[position]
        result = wrap(source._array, source.dtype)
        result._node, result._output, result._needs_grad = node, output, True
        result._version_counter = source._shared_version()
        replaced[position] = result
    return node, positions, tuple(replaced)
