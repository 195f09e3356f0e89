"""Results of functions: nested tuples, lists and dictionaries of tensors and plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dtype import dtype
from ..size import Size
from ..tensor import Tensor
from .sources import Unsupported

_PLAIN = (bool, int, float, complex, str, bytes, type(None), dtype, Size, slice)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a structure, in order, each as often as it occurs.

    Raises Unsupported for what is no structure of tensors and plain values.
    """
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, _PLAIN):
        return []
    if isinstance(value, dict):
        return [x for each in value.values() for x in tensors_in(each)]
    if isinstance(value, list | tuple):
        return [x for each in value for x in tensors_in(each)]
    raise Unsupported(f"its result has a {type(value).__name__}")


def code_of(value: Any, tensor: Callable[[Tensor], str], bind: Callable[[Any], str]) -> str:
    """An expression that makes a structure anew; ``tensor`` gives the code of each tensor."""
    if isinstance(value, Tensor):
        return tensor(value)
    if isinstance(value, Size) or not isinstance(value, dict | list | tuple):
        return bind(value)
    if isinstance(value, dict):
        parts = [f"{bind(key)}: {code_of(each, tensor, bind)}" for key, each in value.items()]
        text = "{" + ", ".join(parts) + "}"
        return text if type(value) is dict else f"{bind(type(value))}({text})"
    parts = [code_of(each, tensor, bind) for each in value]
    if type(value) is list:
        return "[" + ", ".join(parts) + "]"
    text = "(" + "".join(part + ", " for part in parts) + ")"
    if type(value) is tuple:
        return text
    if hasattr(value, "_fields"):
        return f"{bind(type(value))}(*{text})"
    return f"{bind(type(value))}({text})"
