"""Tensors as text, laid out as PyTorch prints them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np


@dataclass
class PrintOptions:
    """How tensors are printed; ``sci_mode=None`` lets the values decide."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES: dict[str | None, dict[str, Any]] = {
    "default": asdict(PrintOptions()),
    "short": asdict(PrintOptions(precision=2, edgeitems=2)),
    "full": asdict(PrintOptions(threshold=math.inf)),
}

_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors are printed; an option left at None keeps its value, except `sci_mode`.

    Parameters
    ----------
    precision : digits after the point of floating point numbers
    threshold : tensors of more elements than this are summarised
    edgeitems : how many items a summary shows at either end of each dimension
    linewidth : how many columns a line may fill
    profile : "default", "short" or "full": values for the options that are not given
    sci_mode : scientific notation always (True), never (False) or as the values ask (None);
        every call sets it, so a call that does not name it leaves the choice to the values

    >>> import numtorch as torch
    >>> torch.set_printoptions(precision=2, threshold=5)
    >>> torch.tensor([1.2345, 2.0])
    tensor([1.23, 2.00])
    >>> torch.arange(10)
    tensor([0, 1, 2,  ..., 7, 8, 9])
    >>> torch.set_printoptions(profile="default")
    """
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    for name, value in {**_PROFILES.get(profile, {}), **changes}.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """Return the options in force, as keyword arguments for `set_printoptions`.

    >>> get_printoptions()["precision"]
    4
    """
    return asdict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Change how tensors are printed within a ``with`` block; takes what `set_printoptions` takes.

    >>> import numtorch as torch
    >>> with printoptions(precision=1):
    ...     print(torch.tensor(0.75))
    tensor(0.8)
    """
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


def tensor_text(
    array: np.ndarray,
    *,
    dtype: str,
    default_float: str,
    suffixes: Sequence[str] = (),
    indent: int = 0,
    prefix: str = "tensor(",
) -> str:
    """Return the text of a tensor, from `prefix` to the closing parenthesis.

    Parameters
    ----------
    array : the elements, of any shape and strides, real or bool
    dtype : PyTorch's name of the element type, such as "float32"
    default_float : the name of the default dtype, which needs no mention
    suffixes : what follows the elements, size and dtype, such as "requires_grad=True"
    indent : the column at which the text will stand; its further lines are indented to match
    prefix : what precedes the elements

    >>> import numpy as np
    >>> tensor_text(np.array([1.5, -2.0]), dtype="float64", default_float="float32")
    'tensor([ 1.5000, -2.0000], dtype=torch.float64)'
    """
    head = " " * indent + prefix
    text = head + _elements_text(array, len(head))
    parts = [*_shape_and_dtype(array, dtype, default_float), *suffixes]
    return _append_suffixes(text, parts, len(head))[indent:]


def _elements_text(array: np.ndarray, indent: int) -> str:
    """Return the nested brackets, whose first one stands in column `indent`."""
    if array.size == 0:
        return "[]"
    edge = _options.edgeitems if array.size > _options.threshold else array.size
    shown = array[np.ix_(*(_shown_indices(size, edge) for size in array.shape))]
    format_cells = _format_floats if array.dtype.kind == "f" else _format_others
    cells, width = format_cells(shown.ravel().tolist())
    row_indent = indent + array.ndim - 1
    per_line = max(1, math.floor((_options.linewidth - row_indent) / (width + len(", "))))
    padded = (cell.rjust(width) for cell in cells)
    return _nested_text(padded, array.shape, edge, indent, per_line)


def _shown_indices(size: int, edge: int) -> list[int]:
    """Return the indices along one dimension that a summary with `edge` items shows."""
    if size <= 2 * edge:
        return list(range(size))
    return [*range(edge), *range(size - edge, size)]


def _format_others(values: list[int] | list[bool]) -> tuple[list[str], int]:
    """Return integers or bools as text, and the width of a column of them."""
    cells = [str(value) for value in values]
    return cells, max(map(len, cells), default=1)


def _format_floats(values: list[float]) -> tuple[list[str], int]:
    """Return floats as text, and the width of a column, which the nonzero finite ones decide."""
    measured = [math.isfinite(value) and value != 0 for value in values]
    magnitudes = [abs(value) for value, counts in zip(values, measured, strict=True) if counts]
    integral = all(map(float.is_integer, magnitudes))
    if magnitudes and _is_scientific(min(magnitudes), max(magnitudes)):
        cells = [format(value, f".{_options.precision}e") for value in values]
    elif integral:
        cells = [f"{value:.0f}." if math.isfinite(value) else str(value) for value in values]
    else:
        cells = [format(value, f".{_options.precision}f") for value in values]
    widths = (len(cell) for cell, counts in zip(cells, measured, strict=True) if counts)
    return cells, max(widths, default=1)


def _is_scientific(smallest: float, largest: float) -> bool:
    """Tell whether magnitudes in this range are printed in scientific notation."""
    if _options.sci_mode is not None:
        return _options.sci_mode
    return largest / smallest > 1e3 or largest > 1e8 or smallest < 1e-4


def _nested_text(
    cells: Iterator[str], shape: tuple[int, ...], edge: int, indent: int, per_line: int
) -> str:
    """Lay out one tensor, taking what it shows from `cells` in row-major order."""
    if not shape:
        return next(cells)
    size, *inner = shape
    shown = min(size, 2 * edge)
    if inner:
        items = [
            _nested_text(cells, tuple(inner), edge, indent + 1, per_line) for _ in range(shown)
        ]
    else:
        items = list(islice(cells, shown))
    if shown < size:
        items.insert(edge, "..." if inner or not edge else " ...")
    step = 1 if inner else per_line
    lines = [", ".join(items[i : i + step]) for i in range(0, len(items), step)]
    line_break = "," + "\n" * max(1, len(inner)) + " " * (indent + 1)
    return "[" + line_break.join(lines) + "]"


def _shape_and_dtype(array: np.ndarray, dtype: str, default_float: str) -> list[str]:
    """Return those of ``size=`` and ``dtype=`` that the elements do not tell."""
    empty = array.size == 0
    evident_dtypes = {default_float} if empty else {default_float, "int64", "bool"}
    hidden_size = array.ndim != 1 if empty else _options.edgeitems == 0
    parts = []
    if hidden_size:
        parts.append(f"size={array.shape}")
    if dtype not in evident_dtypes:
        parts.append(f"dtype=torch.{dtype}")
    return parts


def _append_suffixes(text: str, suffixes: Sequence[str], indent: int) -> str:
    """Append the suffixes and close the parenthesis, breaking the line where one would overflow."""
    # PyTorch counts the last line of the elements two columns wider than it is.
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(", ") + len(suffix) > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(", ") + len(suffix)
    return text + ")"
