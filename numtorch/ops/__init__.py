"""The table of operations: one row an operation, in families that mirror the kernels'.

A family module names its rows by ``register_rows``. What it composes of rows stands in its
``FUNCTIONS`` (for the package's namespace) and ``METHODS`` (for tensors). Rows whose names begin
with an underscore are called by those and by rules only.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import (
    activation,
    aliases,
    arithmetic,
    arranging,
    classification,
    conversion,
    elementary,
    extremes,
    gathering,
    indexing,
    joining,
    layers,
    linear,
    loss,
    masking,
    normalisation,
    reduction,
    scans,
    shaping,
    views,
)
from .table import TABLE

FAMILIES: tuple[ModuleType, ...] = (
    activation,
    aliases,
    arithmetic,
    elementary,
    conversion,
    views,
    joining,
    shaping,
    arranging,
    indexing,
    gathering,
    masking,
    linear,
    reduction,
    scans,
    extremes,
    layers,
    loss,
    classification,
    normalisation,
)


def _gathered(name: str) -> dict[str, Callable[..., Any]]:
    """What the families offer under a name, one dictionary."""
    return {key: value for family in FAMILIES for key, value in getattr(family, name, {}).items()}


ROWS = {name: row.function for name, row in TABLE.items() if name[0] != "_"}
FUNCTIONS = ROWS | _gathered("FUNCTIONS")
METHODS = {name: TABLE[name].method for name in ROWS} | _gathered("METHODS")
