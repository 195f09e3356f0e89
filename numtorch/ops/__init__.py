"""The table of operations: one row an operation, in families that mirror the kernels'.

A family module names its rows by ``register_rows``. What it composes of rows stands in its
``FUNCTIONS`` (for the package's namespace) and ``METHODS`` (for tensors).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import aliases, arithmetic, conversion, elementary, joining, linear, shaping, views
from .table import TABLE

FAMILIES: tuple[ModuleType, ...] = (aliases, arithmetic, elementary, conversion, views, joining, shaping, linear)
INTERNAL = ("trunc_divide", "strided_part", "strided_scatter")  # rows that rules alone call


def _gathered(name: str) -> dict[str, Callable[..., Any]]:
    """What the families offer under a name, one dictionary."""
    return {key: value for family in FAMILIES for key, value in getattr(family, name, {}).items()}


ROWS = {name: row.function for name, row in TABLE.items() if name[0] != "_" and name not in INTERNAL}
FUNCTIONS = ROWS | _gathered("FUNCTIONS")
METHODS = ROWS | _gathered("METHODS")
