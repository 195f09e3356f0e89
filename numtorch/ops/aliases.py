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

FUNCTIONS = {
    alias: getattr(family, name).function
    for family, names in _NAMES.items()
    for name, aliases in names.items()
    for alias in aliases.split()
}
METHODS = FUNCTIONS | {
    alias + "_": getattr(family, name).inplace
    for family, names in _NAMES.items()
    for name, aliases in names.items()
    for alias in aliases.split()
}
