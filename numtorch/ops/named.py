"""``torch.return_types``: tuples of results with names."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

RETURN_TYPES: dict[str, type] = {}


def named_result(function: str, *fields: str) -> Callable[[tuple[Any, ...]], Any]:
    """What packs the results of a function into its named tuple."""
    kind = RETURN_TYPES.get(function)
    if kind is None:
        base = namedtuple(function, fields)  # type: ignore[misc]

        def text(self: Any) -> str:
            parts = ",\n".join(
                f"{name}={value!r}" for name, value in zip(fields, self, strict=True)
            )
            return f"torch.return_types.{function}(\n{parts})"

        kind = type(
            function,
            (base,),
            {"__slots__": (), "__repr__": text, "__module__": "torch.return_types"},
        )
        RETURN_TYPES[function] = kind
    pack: Callable[[tuple[Any, ...]], Any] = kind._make  # type: ignore[attr-defined]
    return pack
