"""Other names that PyTorch has for the same operations."""

from __future__ import annotations

from . import arithmetic, elementary

_NAMES = {
    arithmetic: {
        "abs": "absolute",
        "sub": "subtract",
        "mul": "multiply",
        "div": "divide true_divide",
        "neg": "negative",
        "sign": "sgn",
        "clamp": "clip",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    },
    elementary: {
        "asin": "arcsin",
        "acos": "arccos",
        "atan": "arctan",
        "atan2": "arctan2",
        "asinh": "arcsinh",
        "acosh": "arccosh",
        "atanh": "arctanh",
        "trunc": "fix",
    },
}

_ROWS = {
    alias: getattr(family, name)
    for family, names in _NAMES.items()
    for name, aliases in names.items()
    for alias in aliases.split()
}
FUNCTIONS = {alias: row.function for alias, row in _ROWS.items()}
METHODS = {alias: row.method for alias, row in _ROWS.items()}
METHODS |= {alias + "_": row.inplace for alias, row in _ROWS.items()}
