"""The base class of layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from ..autograd.graph import RemovableHandle
from ..autograd.mode import no_grad
from ..dtype import dtype as Dtype
from ..dtype import float32, float64, to_dtype
from ..size import device as Device
from ..tensor import Tensor
from .hooks import Call, Hook, Hooks
from .members import Members
from .parameter import Parameter

_EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """How the keys of a state dict differed from the module's."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


def indented(text: str, by: int = 2) -> str:
    """The text with all lines but the first indented."""
    return text.replace("\n", "\n" + " " * by)


class Module(Members):
    """A part of a model: parameters, buffers, further modules, and a ``forward``.

    Assigning a :class:`Parameter`, a :class:`Buffer` or a module to an attribute registers it.
    A subclass calls ``super().__init__()`` first and defines ``forward``.

    >>> import numtorch as torch
    >>> class Double(torch.nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x
    >>> Double()(torch.ones(2))
    tensor([2., 2.])
    """

    training: bool
    _version: ClassVar[int] = 1

    def __init__(self) -> None:
        vars(self).update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_pre_hooks=Hooks(),
            _forward_hooks=Hooks(),
            _backward_pre_hooks=Hooks(),
            _backward_hooks=Hooks(),
            _state_dict_pre_hooks=Hooks(),
            _state_dict_hooks=Hooks(),
            _load_state_dict_pre_hooks=Hooks(),
            _load_state_dict_post_hooks=Hooks(),
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What :meth:`forward` gives, after the hooks."""
        own = self.__dict__
        if (
            own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or own["_backward_hooks"]
            or own["_backward_pre_hooks"]
        ):
            return Call(self, args, kwargs).run()
        return self.forward(*args, **kwargs)

    # ------------------------------------------------------------------ all of it at once

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Calls ``fn`` on every module inside, children first, and on this one last."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replaces the data of every parameter, gradient and buffer by ``fn`` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                grad = parameter.grad
                parameter.data = fn(parameter)
                if grad is not None:
                    grad.data = fn(grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    setattr(self, name, fn(buffer))
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Converts floating-point parameters and buffers to a dtype, given by itself or a tensor.

        The device can only be the CPU. Raises TypeError for a dtype that is not floating point.
        """
        target = kwargs.get("dtype")
        for value in (*args, kwargs.get("device")):
            if isinstance(value, Dtype):
                target = value
            elif isinstance(value, Tensor):
                target = value.dtype
            elif isinstance(value, str | Device):
                Device(value)
        if target is None:
            return self
        kind = to_dtype(target)
        if not kind.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, "
                f"but got desired dtype={kind}"
            )
        return self._converted(kind)

    def _converted(self, kind: Dtype) -> Self:
        return self._apply(lambda t: t.to(kind) if t.is_floating_point() else t)

    def float(self) -> Self:
        """Converts floating-point parameters and buffers to float32."""
        return self._converted(float32)

    def double(self) -> Self:
        """Converts floating-point parameters and buffers to float64."""
        return self._converted(float64)

    def type(self, dst_type: Any) -> Self:
        """Converts all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self) -> Self:
        """The module itself, which is on the CPU."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Puts this module and all inside it in training mode, or out of it.

        Raises ValueError for a mode that is no bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Says of all parameters whether gradients are to be computed for them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    # ------------------------------------------------------------------ state

    def get_extra_state(self) -> Any:
        """What else belongs in the state dict; a subclass that has such state defines it."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called."
        )

    def set_extra_state(self, state: Any) -> None:
        """Takes what :meth:`get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called."
        )

    def _own_state(self) -> dict[str, Tensor]:
        """The parameters and persistent buffers of this module alone."""
        buffers = {
            name: buffer
            for name, buffer in self._buffers.items()
            if name not in self._non_persistent_buffers_set
        }
        members = {**self._parameters, **buffers}
        return {name: member for name, member in members.items() if member is not None}

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """All parameters and persistent buffers by their dotted names, sharing memory.

        The tensors are detached, unless ``keep_vars``.
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook.function(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            if hook.function(self, destination, prefix, metadata) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Writes what this module alone holds."""
        for name, member in self._own_state().items():
            destination[prefix + name] = member if keep_vars else member.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copies parameters and buffers from a state dict; with ``assign``, puts in its tensors.

        Raises RuntimeError naming every tensor that does not fit and, if ``strict``, every key
        that is missing or unexpected.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", {})
        keys = _IncompatibleKeys([], [])
        errors: list[str] = []
        self._load(OrderedDict(state_dict), "", metadata, assign, keys, errors)
        if strict:
            reports = (("Missing", keys.missing_keys), ("Unexpected", keys.unexpected_keys))
            errors[:0] = [
                f"{kind} key(s) in state_dict: {', '.join(map(_quoted, names))}. "
                for kind, names in reports
                if names
            ]
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(
                    type(self).__name__, "\n\t".join(errors)
                )
            )
        return keys

    def _load(
        self,
        state: dict[str, Any],
        prefix: str,
        metadata: Any,
        assign: bool,
        keys: _IncompatibleKeys,
        errors: list[str],
    ) -> None:
        """Loads this module and those inside it."""
        local = dict(metadata.get(prefix[:-1], {}))
        if assign:
            local["assign_to_params_buffers"] = True
        self._load_from_state_dict(
            state, prefix, local, True, keys.missing_keys, keys.unexpected_keys, errors
        )
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}{name}."
                part = {key: value for key, value in state.items() if key.startswith(path)}
                child._load(part, path, metadata, assign, keys, errors)
        for hook in self._load_state_dict_post_hooks.values():
            hook.function(self, keys)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Loads what this module alone holds; notes what does not fit in the lists given."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook.function(
                self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                error_msgs,
            )  # fmt: skip
        own = self._own_state()
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, member in own.items():
            if prefix + name in state_dict:
                error = self._load_member(name, member, state_dict[prefix + name], prefix, assign)
                error_msgs += [error] if error else []
            elif strict:
                missing_keys.append(prefix + name)
        extra = prefix + _EXTRA_STATE
        takes_extra = type(self).set_extra_state is not Module.set_extra_state
        if takes_extra and extra in state_dict:
            self.set_extra_state(state_dict[extra])
        elif takes_extra and strict:
            missing_keys.append(extra)
        if not strict:
            return
        for key in state_dict:
            if key.startswith(prefix) and not (key == extra and takes_extra):
                name, dot, _ = key[len(prefix) :].partition(".")
                if name not in (self._modules if dot else own):
                    unexpected_keys.append(key)

    def _load_member(
        self, name: str, member: Tensor, value: Any, prefix: str, assign: bool
    ) -> str | None:
        """Copies or assigns one tensor; the error if it does not fit."""
        key = prefix + name
        if not isinstance(value, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
                f"object from checkpoint but received {type(value)}"
            )
        if member.shape != value.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {value.shape} from "
                f"checkpoint, the shape in current model is {member.shape}."
            )
        with no_grad():
            if not assign:
                member.copy_(value)
            elif isinstance(member, Parameter):
                setattr(self, name, Parameter(value, member.requires_grad))
            else:
                setattr(self, name, value)
        return None

    # ------------------------------------------------------------------ hooks

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args[, kwargs])`` before forward; may give other arguments."""
        return self._forward_pre_hooks.add(Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls ``hook(module, args[, kwargs], output)`` after forward; may give another output."""
        return self._forward_hooks.add(Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, grad_output)`` before the module's backward; may replace it."""
        return self._backward_pre_hooks.add(Hook(hook), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, grad_input, grad_output)`` after backward; may change grad_input."""
        return self._backward_hooks.add(Hook(hook), prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, prefix, keep_vars)`` before the module's state is saved."""
        return self._state_dict_pre_hooks.add(Hook(hook))

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, state_dict, prefix, local_metadata)`` after it is saved."""
        return self._state_dict_hooks.add(Hook(hook))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, state_dict, prefix, local_metadata, ...)`` before loading."""
        return self._load_state_dict_pre_hooks.add(Hook(hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, incompatible_keys)`` after loading; may change the lists."""
        return self._load_state_dict_post_hooks.add(Hook(hook))

    # ------------------------------------------------------------------ text

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's own text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(child))}" for name, child in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([*lines, *children])
        return f"{type(self).__name__}(\n  {body}\n)"


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drops a gradient, or fills it with zeros outside the graph."""
    grad = parameter.grad
    if grad is None:
        return
    if set_to_none:
        parameter.grad = None
    else:
        parameter.grad = grad.detach()
        parameter.grad.zero_()


def _quoted(key: str) -> str:
    return f'"{key}"'
