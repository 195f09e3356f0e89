"""The base class of optimizers: parameter groups, state, and the way of a step."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np

from numtorch_kernels.deferral import refresh

from ..autograd.graph import RemovableHandle
from ..autograd.mode import enable_grad, no_grad
from ..dtype import TENSOR_TYPES, dtype, type_name
from ..nn.module import clear_grad
from ..tensor import Tensor, wrap

Array = np.ndarray[Any, Any]
Group = dict[str, Any]
Hooks = OrderedDict[int, Callable[..., Any]]


def _observed(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that counts its calls and calls the optimizer's hooks."""

    @functools.wraps(step)
    def observed(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in list(self._pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{hook} must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {changed}."
                    )
                args, kwargs = changed
        result = step(self, *args, **kwargs)
        self._steps_taken += 1
        for hook in list(self._post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return observed


class Optimizer:
    """Changes parameters by their gradients.

    A subclass names its options and their defaults, and says in :meth:`update` how the parameters
    of a group change; or it defines ``step`` whole. State of a parameter ``p`` is kept in
    ``self.state[p]``.

    Raises ValueError for no parameters, and TypeError for what is no tensor.
    """

    structural: ClassVar[tuple[str, ...]] = ()  # options that decide which kernels a step runs

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {TENSOR_TYPES[params.dtype.name]}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._steps_taken = 0  # what learning-rate schedulers look at
        self._pre_hooks: Hooks = OrderedDict()
        self._post_hooks: Hooks = OrderedDict()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(dict(group) if isinstance(group, dict) else group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _observed(cls.step)  # type: ignore[method-assign]

    # ------------------------------------------------------------------ groups

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with options of their own, as ``{"params": [...], "lr": 0.1}``.

        Raises ValueError for a parameter that is in a group already, or that was computed.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        members = [given] if isinstance(given, Tensor) else list(given)
        if members and all(isinstance(member, tuple) for member in members):
            param_group["param_names"] = [name for name, _ in members]
            members = [parameter for _, parameter in members]
        self._check_members(members)
        param_group["params"] = members
        for name, value in self.defaults.items():
            param_group.setdefault(name, value)
        self.param_groups.append(param_group)

    def _check_members(self, members: Sequence[Any]) -> None:
        for member in members:
            if not isinstance(member, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    + type_name(type(member))
                )
            if not (member.is_leaf or member.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        if len(set(members)) < len(members):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this "
                "will cause an error; see github.com/pytorch/pytorch/issues/40967 for more "
                "information",
                stacklevel=4,
            )
        known = {member for group in self.param_groups for member in group["params"]}
        if not known.isdisjoint(members):
            raise ValueError("some parameters appear in more than one parameter group")

    def _all(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            yield from group["params"]

    # ------------------------------------------------------------------ steps

    @_observed
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient; gives what ``closure`` gave.

        ``closure`` computes the loss again and calls backward.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                trained = [p for p in group["params"] if p._grad is not None]
                if trained:
                    self.update(group, trained)
                    for parameter in trained:
                        parameter._bump_version()
        return loss

    def update(self, group: Group, parameters: list[Tensor]) -> None:
        """Changes parameters in place, all of which have gradients, by the group's options."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for parameter in self._all():
            clear_grad(parameter, set_to_none)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` before each step; may give other arguments."""
        return _registered(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` after each step."""
        return _registered(self._post_hooks, hook)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """The state and the groups, with parameters replaced by their numbers."""
        numbers: dict[Tensor, int] = {}
        for parameter in self._all():
            numbers.setdefault(parameter, len(numbers))
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            | {"params": [numbers[parameter] for parameter in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers.get(key, key): value for key, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state and the options of :meth:`state_dict`.

        Raises ValueError where the groups there are not of the same sizes as here.
        """
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        pairs = list(zip(self.param_groups, saved, strict=True))
        if any(len(own["params"]) != len(other["params"]) for own, other in pairs):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        parameters = {
            number: parameter
            for own, other in pairs
            for number, parameter in zip(other["params"], own["params"], strict=True)
        }
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number in parameters:
                parameter = parameters[number]
                state[parameter] = _fitted(values, parameter)
            else:
                state[number] = values
        self.state = state
        self.param_groups = [{**other, "params": own["params"]} for own, other in pairs]

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("defaults", "state", "param_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            {"_steps_taken": 0, "_pre_hooks": OrderedDict(), "_post_hooks": OrderedDict()} | state
        )

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
            lines.append("")
        return "\n".join(lines[:-1]) + "\n)"


def _registered(hooks: Hooks, hook: Callable[..., Any]) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _fitted(value: Any, parameter: Tensor, key: str = "") -> Any:
    """State with its tensors in the dtype of the parameter, except for counters of steps."""
    if isinstance(value, Tensor):
        if key == "step" or not parameter.is_floating_point():
            return value
        return value.to(parameter.dtype)
    if isinstance(value, dict):
        return {name: _fitted(each, parameter, name) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_fitted(each, parameter) for each in value)  # type: ignore[call-arg]
    return value


def zeros_of(parameter: Tensor) -> Tensor:
    """Zeros like a parameter, for its state."""
    return wrap(np.zeros_like(parameter._array), parameter.dtype)


Alike = tuple[list[Array], list[Array], list[Tensor]]


def alike(parameters: Sequence[Tensor], key: Callable[[Tensor], Any]) -> list[Alike]:
    """The parameters in groups of one dtype and key: their arrays, their gradients, themselves."""
    groups: dict[Any, Alike] = {}
    for parameter in parameters:
        arrays, grads, members = groups.setdefault((parameter.dtype, key(parameter)), ([], [], []))
        grad = parameter._grad
        assert grad is not None
        arrays.append(parameter._array)
        grads.append(grad._array)
        members.append(parameter)
    return list(groups.values())


def live(numbers: Callable[[], Sequence[float]], kind: dtype) -> Array:
    """The numbers of a step as an array; a compiled step computes them anew each time."""
    array = np.array(numbers(), kind.numpy)
    refresh(array, numbers)
    return array


def number(value: Any) -> float:
    """A hyperparameter that may be a one-element tensor, as a Python number."""
    return value.item() if isinstance(value, Tensor) else value


def require(condition: bool, what: str, value: Any) -> None:
    """Raises ValueError naming an option's value, unless the condition holds."""
    if not condition:
        raise ValueError(f"Invalid {what}: {value}")


def check_lr(lr: Any) -> None:
    """Raises ValueError for a learning rate that is negative or not one number."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    require(lr >= 0, "learning rate", lr)
