"""The table of tests: one row an operation, in families that mirror those of the operations."""

from __future__ import annotations

from . import (
    rows_arithmetic,
    rows_elementary,
    rows_indexing,
    rows_layers,
    rows_reduction,
    rows_views,
)

ROWS = [
    *rows_arithmetic.ROWS,
    *rows_elementary.ROWS,
    *rows_views.ROWS,
    *rows_indexing.ROWS,
    *rows_reduction.ROWS,
    *rows_layers.ROWS,
]
