"""``numtorch.compile``: a function of tensors as a few fused kernels and one native call.

A call is recorded: the function's Python runs, while the launches of kernels are put off. From the
launches a program is made (:mod:`numtorch_kernels.fusion`, :mod:`numtorch_kernels.program`), from
what the function depends on the code that checks a later call, and what the function did to tensors
is done again after it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from numtorch_kernels.deferral import deferring, nobody_defers

from ..nn.module import Module
from . import segments
from .compiled import Compiled
from .explanation import Explanation, Report
from .recording import GraphBreak
from .replay import FAILED, MISS

_MODES = (
    None,
    "default",
    "background",
    "reduce-overhead",
    "max-autotune",
    "max-autotune-no-cudagraphs",
)
_all: WeakValueDictionary[int, Compiled] = WeakValueDictionary()
_numbers = itertools.count()


class OptimizedModule(Module):
    """A module whose calls are compiled; parameters and all else are the original's."""

    def __init__(self, original: Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self._orig_mod = original
        vars(self)["_compiled"] = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the original gives."""
        return vars(self)["_compiled"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    def explain(self, *args: Any, **kwargs: Any) -> Report:
        """What was made of the module; see :func:`compile`."""
        report: Report = vars(self)["_compiled"].explain(*args, **kwargs)
        return report


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "numba",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    deterministic: bool = False,
) -> Any:
    """A function, or module, that does the same in a few fused kernels, forward and backward.

    ``model`` is a function of tensors, which may call ``backward()`` and ``optimizer.step()``, or a
    module; without it a decorator is given. Its Python runs at the first call. Later calls with
    arguments and closed-over values like those of a call before run none of it; others run it
    again, and too many kinds of calls run eagerly. Where the function looks at values (``if``,
    ``.item()``, ``print``) its Python runs each time, and what is between is fused; with
    ``fullgraph`` GraphBreak is raised, which names the line.

    ``mode="background"`` compiles in another thread, with eager results meanwhile. Results have the
    bits of eager execution, with or without ``deterministic``: kernels, blocks and the order of
    operations are the same. ``dynamic``, ``backend``, ``options`` and other modes are accepted for
    PyTorch's sake and change nothing; ``disable`` gives ``model`` itself.

    The result has a method ``explain(*args)``, which calls it and reports kernels, what was fused,
    bytes moved and the generated source.

    >>> import numtorch as torch
    >>> @torch.compile
    ... def smooth(x, y):
    ...     return torch.tanh(x * y + x).sum()
    >>> smooth(torch.ones(3), torch.zeros(3))
    tensor(2.2848)
    """
    if mode not in _MODES:
        raise RuntimeError(
            f"Unrecognized mode={mode}, should be one of: {', '.join(map(str, _MODES[1:]))}"
        )
    if model is None:
        return functools.partial(
            compile,
            fullgraph=fullgraph,
            mode=mode,
            disable=disable,
            deterministic=deterministic,
        )
    if not callable(model):
        raise TypeError(f"compile expects a function or a module, but got {type(model).__name__}")
    if disable:
        return model
    compiled = Compiled(model, fullgraph, mode == "background")
    _all[next(_numbers)] = compiled
    function = _function(compiled)
    return OptimizedModule(model, function) if isinstance(model, Module) else function


def _function(compiled: Compiled) -> Callable[..., Any]:
    """A function that calls a compiled one, the quickest way where that is possible."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if nobody_defers():
            result = compiled.first(args, kwargs)
            if result is not MISS and result is not FAILED:
                return result
        return compiled.call(args, kwargs)

    def explain(*args: Any, **kwargs: Any) -> Report:
        """Calls the function, and says what was made of it."""
        call(*args, **kwargs)
        return Report(compiled.name, compiled.explanations, compiled.breaks, compiled.reason)

    if not isinstance(compiled.function, Module):
        functools.update_wrapper(call, compiled.function)
    call.explain = explain  # type: ignore[attr-defined]
    return call


def reset() -> None:
    """Forgets all that was compiled; functions are recorded again."""
    for compiled in list(_all.values()):
        compiled.forget()
    segments.forget()


def is_compiling() -> bool:
    """Whether this thread is recording a function."""
    return deferring()


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True) -> Any:
    """The function itself: what is not compiled is not touched."""
    return (lambda function: function) if fn is None else fn


__all__ = [
    "Explanation",
    "GraphBreak",
    "OptimizedModule",
    "Report",
    "compile",
    "disable",
    "is_compiling",
    "reset",
]
