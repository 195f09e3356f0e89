"""The base class of layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

from ..autograd.graph import RemovableHandle
from ..autograd.mode import no_grad
from ..dtype import TENSOR_TYPES, float32, float64, to_dtype, type_name
from ..dtype import dtype as Dtype
from ..size import device as Device
from ..tensor import Tensor
from .hooks import Call, Hook, Hooks
from .parameter import Buffer, Parameter

_EXTRA_STATE = "_extra_state"
_REGISTRIES = ("_parameters", "_buffers", "_modules")


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


def described(value: Any) -> str:
    """The type of a value as the errors of modules name it."""
    return TENSOR_TYPES[value.dtype.name] if isinstance(value, Tensor) else type_name(type(value))


def indented(text: str, by: int = 2) -> str:
    """The text with all lines but the first indented."""
    return text.replace("\n", "\n" + " " * by)


class Module:
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
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

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

    # ------------------------------------------------------------------ attributes

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for registry in _REGISTRIES:
            if registry in own and name in own[registry]:
                return own[registry][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._make_way(name, "_parameters", "parameters")
            self.register_parameter(name, value)
        elif name in own.get("_parameters", ()):
            if value is not None:
                self._refuse(name, value, "parameter", "torch.nn.Parameter or None")
            own["_parameters"][name] = None
        elif isinstance(value, Module):
            self._make_way(name, "_modules", "module")
            own["_modules"][name] = value
        elif name in own.get("_modules", ()):
            if value is not None:
                self._refuse(name, value, "child module", "torch.nn.Module or None")
            own["_modules"][name] = None
        elif isinstance(value, Buffer):
            self._make_way(name, "_buffers", "buffer")
            self.register_buffer(name, value, value.persistent)
        elif name in own.get("_buffers", ()):
            if not (value is None or isinstance(value, Tensor)):
                self._refuse(name, value, "buffer", "torch.nn.Buffer, torch.Tensor or None")
            own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            if name in self.__dict__[registry]:
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        own = [name for registry in _REGISTRIES for name in self.__dict__[registry]]
        names = {*object.__dir__(self), *own}
        return sorted(name for name in names if not name[0].isdigit())

    def _make_way(self, name: str, registry: str, kind: str) -> None:
        """Takes a name out of the instance and of all registries but one."""
        own = self.__dict__
        if registry not in own:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        own.pop(name, None)
        for other in _REGISTRIES:
            if other != registry:
                own[other].pop(name, None)
        if registry != "_buffers":
            self._non_persistent_buffers_set.discard(name)

    def _refuse(self, name: str, value: Any, kind: str, expected: str) -> NoReturn:
        raise TypeError(
            f"cannot assign '{described(value)}' as {kind} '{name}' ({expected} expected)"
        )

    def _check_name(self, name: Any, registry: str, kind: str, shown: str = "") -> None:
        """Refuses a name that nothing can be registered under."""
        if registry not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {described(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."{shown}')
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[registry]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under a name.

        Raises KeyError for a name that is taken or no identifier, TypeError for what is no
        parameter, ValueError for a tensor that was computed.
        """
        self._check_name(name, "_parameters", "parameter")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{described(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    f"be created explicitly. To express '{name}' as a function of another Tensor, "
                    "compute the value in the forward() method."
                )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state, but not trained; in the state dict if ``persistent``.

        Raises KeyError for a name that is taken or no identifier, TypeError for what is no tensor.
        """
        self._check_name(name, "_buffers", "buffer")
        if not (tensor is None or isinstance(tensor, Tensor)):
            raise TypeError(
                f"cannot assign '{described(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under a name.

        Raises KeyError for a name that is taken or no identifier, TypeError for what is no module.
        """
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"{described(module)} is not a Module subclass")
        self._check_name(name, "_modules", "module", f", got: {name}")
        self._modules[name] = module

    register_module = add_module

    # ------------------------------------------------------------------ members

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        seen: set[Any] = set()
        for path, module in modules if recurse else [(prefix, self)]:
            for name, member in module.__dict__[registry].items():
                if member is None or member in seen:
                    continue
                if remove_duplicate:
                    seen.add(member)
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, each once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of the module and, if ``recurse``, of those inside it."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of the module and, if ``recurse``, of those inside it."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one with their names, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """The module itself and all inside it, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """The module itself and all inside it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def _member(self, target: str) -> tuple[Module, str, Any]:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        return module, name, getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name; AttributeError if there is none."""
        _, name, parameter = self._member(target)
        if not isinstance(parameter, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name; AttributeError if there is none."""
        module, name, buffer = self._member(target)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return buffer

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
                    self._buffers[name] = fn(buffer)
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
        return self._apply(lambda t: t.to(kind) if t.is_floating_point() else t)  # type: ignore[attr-defined]

    def float(self) -> Self:
        """Converts floating-point parameters and buffers to float32."""
        return self._converted(float32)

    def double(self) -> Self:
        """Converts floating-point parameters and buffers to float64."""
        return self._converted(float64)

    def type(self, dst_type: Any) -> Self:
        """Converts all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))  # type: ignore[attr-defined]

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
                member.copy_(value)  # type: ignore[attr-defined]
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
        parameter.grad.zero_()  # type: ignore[attr-defined]


def _quoted(key: str) -> str:
    return f'"{key}"'
