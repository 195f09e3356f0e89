"""Reading and writing ``x[...]``.

An index becomes a key, which takes a view as NumPy does (ints, slices, None), and index tensors
for the dimensions of that view. Each covers one dimension, a mask as many as it has; None covers a
dimension that is not indexed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from numtorch_kernels import copying, picking
from numtorch_kernels import index as kernels
from numtorch_kernels.calls.callables import ITEM

from ..autograd.mode import mode
from ..dtype import ALIASES, TENSOR_TYPES, from_numpy_dtype, type_name
from ..tensor import Tensor, wrap, wrap_array
from .apply import apply, refuse_overlap, scalar_type
from .conversion import fill, number_array
from .signature import must_be_tensor
from .table import Update, op, register_rows
from .views import alias, expanded_size, select, slice_, unsqueeze, view_of

Array = np.ndarray[Any, Any]
Key = tuple[Any, ...]

_INT64 = np.dtype(np.int64)
_LONG, _BOOL = ALIASES["int64"], ALIASES["bool"]
_WHOLE = slice(None)
_LONGEST = 32  # lists of fewer elements may stand for tuples

# ---------------------------------------------------------------------- what an index says


def parsed(x: Tensor, index: Any) -> tuple[Key, list[Tensor | None]]:
    """The key of the view that an index takes, and the index tensors for that view.

    Raises IndexError for too many indices, ints out of range and objects that are no indices.
    """
    items = [_plain(item) for item in (index if isinstance(index, tuple) else _items(index))]
    shape = x._array.shape
    missing = len(shape) - sum([_span(item) for item in items])
    if missing < 0:
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    key: list[Any] = []
    indices: list[Tensor | None] = []
    dim = 0  # of x
    place = covered = 0  # of the view; by the index tensors
    for position, item in enumerate(items):
        span = _span(item)
        if item.__class__ is int:
            key.append(_checked(item, position, shape[dim]))
        elif item.__class__ is slice:
            key.append(_trimmed(item, shape[dim]))
            place += 1
        elif item is Ellipsis:
            key += [_WHOLE] * missing
            span, missing = missing, 0
            place += span
        elif item is None:
            key.append(None)
            place += 1
        else:
            indices += [None] * (place - covered)
            if isinstance(item, bool):
                key.append(None)
                indices.append(wrap_array(np.zeros(int(item), _INT64)))
                place += 1
            else:
                key += [_WHOLE] * span
                indices.append(item)
                place += span
            covered = place
        dim += span
    return tuple(key), indices


def _items(index: Any) -> tuple[Any, ...]:
    """The items of an index that is no tuple; some lists, by NumPy's old rule, stand for tuples."""
    if (
        isinstance(index, Tensor | np.ndarray | np.generic | str)
        or not hasattr(index, "__getitem__")
        or len(index) >= _LONGEST
    ):
        return (index,)
    if any(_nests(item) for item in index):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated and will be "
            "changed in pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will "
            "be interpreted as tensor index, x[torch.tensor(seq)], which will result either in an "
            "error or a different result",
            stacklevel=5,
        )
        return tuple(index)
    return (index,)


def _nests(item: Any) -> bool:
    return item is None or item is Ellipsis or isinstance(item, slice | Tensor | list | tuple)


def _plain(item: Any) -> Any:
    """An item as an int, slice, None, Ellipsis, bool or tensor.

    Tensors and arrays without dimensions are ints or bools, sequences are tensors.
    """
    if item.__class__ in (int, slice, bool) or item is None or item is Ellipsis:
        return item
    if isinstance(item, Tensor):
        if item._array.ndim or item.dtype.category == 2:
            return item
        return bool(item) if _is_mask(item) else int(item)
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(item, np.generic) or not hasattr(item, "__getitem__"):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type_name(type(item))})"
        )
    array = np.asarray(item)
    if not array.size and not isinstance(item, np.ndarray):
        array = array.astype(_INT64)
    from_numpy_dtype(array.dtype)
    return _plain(wrap_array(array))


def _is_mask(item: Tensor) -> bool:
    return item.dtype.name in ("bool", "uint8")


def _are_points(index: Any, ndim: int) -> bool:
    """Whether an index is of int64 tensors, one for each of the first dimensions."""
    if index.__class__ is not tuple or not 0 < len(index) <= ndim:
        return False
    for item in index:
        if not (isinstance(item, Tensor) and item.dtype is _LONG and item._array.ndim):
            return False
    return True


def _only_index(index: Any, ndim: int) -> tuple[int, Any]:
    """The dimension that an int64 tensor indexes if all others are whole, and that; or -1."""
    found = -1
    items = index if index.__class__ is tuple else (index,)
    for dim, item in enumerate(items):
        if item.__class__ is slice:
            if not (item.start is item.stop is item.step is None):
                return -1, None
        elif found >= 0 or not (isinstance(item, Tensor) and item.dtype is _LONG):
            return -1, None
        else:
            found = dim
    known = found >= 0 and len(items) <= ndim and items[found]._array.ndim
    return (found, items[found]) if known else (-1, None)


def _span(item: Any) -> int:
    """How many dimensions an item indexes."""
    if isinstance(item, Tensor) and _is_mask(item):
        return item._array.ndim
    return 0 if item is None or item is Ellipsis or isinstance(item, bool) else 1


def _checked(item: int, position: int, size: int) -> int:
    if not -size <= item < size:
        _out_of_bounds(item, position, size)
    return item


def _out_of_bounds(value: int, dim: int, size: int) -> NoReturn:
    raise IndexError(f"index {value} is out of bounds for dimension {dim} with size {size}")


def _trimmed(item: slice, size: int) -> slice:
    """A slice with its limits within a dimension; ``slice(None)`` itself if it takes all of it."""
    start, stop, step = item.indices(size)
    if step < 0:
        raise ValueError("step must be greater than zero")
    if start == 0 and stop == size and step == 1:
        return _WHOLE
    return slice(start, stop, step)


def _refuse_scalar(x: Tensor, index: Any) -> None:
    """Raises PyTorch's error for an int index of a 0-d tensor."""
    if not x._array.ndim and isinstance(index, int) and not isinstance(index, bool):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` "
            "in C++ to convert a 0-dim tensor to a number"
        )


# ---------------------------------------------------------------------- rows


def _only_mask(indices: Sequence[Any]) -> Array | None:
    """The mask, with a dimension for each None before it, if there is no other index."""
    given = [each for each in indices if each is not None]
    if len(given) != 1 or given[0].dtype != np.bool_:
        return None
    mask = given[0]
    return mask.reshape((1,) * (len(indices) - 1) + mask.shape)


def _by_dimension(x: Array, indices: Sequence[Any]) -> list[Array | None]:
    """int64 indices, or None, for each of the first dimensions; masks as positions."""
    found: list[Array | None] = []
    for each in indices:
        if each is None:
            found.append(None)
        elif each.dtype.char in "?B":
            _check_mask(each, x.shape, len(found))
            found += list(kernels.nonzero(each).T)
        elif each.dtype == _INT64:
            found.append(each)
        elif each.dtype == np.int32:
            found.append(copying.contiguous(each, _INT64))
        else:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if len(found) > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim} (got {len(found)})")
    return found


def _check_mask(mask: Array, shape: tuple[int, ...], start: int) -> None:
    if mask.dtype != np.bool_:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool "
            "instead.",
            stacklevel=7,
        )
    for axis, size in enumerate(mask.shape):
        if start + axis >= len(shape) or shape[start + axis] != size:
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {axis} does not match the "
                f"shape of the indexed tensor {list(shape)} at index {start + axis}"
            )


def in_range(index: Array, size: int, dim: int) -> Array:
    """The indices with negative ones counted from the end; IndexError for those out of range."""
    if kernels.out_of_range(index, 0, size) is None:
        return index
    bad = kernels.out_of_range(index, -size, size)
    if bad is not None:
        _out_of_bounds(bad, dim, size)
    return kernels.wrapped(index, size)


class _Places:
    """Where index tensors point to: indexed dimensions, their indices, and the result's shape.

    The dimensions of the indices stand where those they index stood, or in front if those were
    apart. Raises IndexError for indices that do not broadcast or, unless there is nothing to index,
    are out of range.
    """

    __slots__ = ("arrays", "before", "dims", "ndim", "shape")

    def __init__(self, x: Array, indices: Sequence[Any]) -> None:
        found = _by_dimension(x, indices)
        self.dims = [dim for dim, each in enumerate(found) if each is not None]
        self.arrays = [each for each in found if each is not None]
        try:
            shape = np.broadcast_shapes(*(each.shape for each in self.arrays))
        except ValueError:
            shapes = ", ".join(str(list(each.shape)) for each in self.arrays)
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                f"{shapes}"
            ) from None
        together = self.dims[-1] - self.dims[0] == len(self.dims) - 1
        rest = [n for axis, n in enumerate(x.shape) if axis not in self.dims]
        self.ndim = len(shape)
        self.before = self.dims[0] if together else 0
        self.shape = (*rest[: self.before], *shape, *rest[self.before :])
        if 0 not in shape and any(x.shape[dim] == 0 for dim in self.dims):
            raise IndexError("index is out of bounds for dimension with size 0")
        if 0 not in self.shape:
            self.arrays = [
                in_range(each, x.shape[dim], place)
                for place, (dim, each) in enumerate(zip(self.dims, self.arrays, strict=True))
            ]

    def in_front(self, x: Array) -> Array:
        """X with the indexed dimensions in front."""
        return x.transpose(self.dims + [axis for axis in range(x.ndim) if axis not in self.dims])

    def moved(self, values: Array, back: bool) -> Array:
        """Values with the dimensions of the indices moved to the front, or back from there."""
        if not self.before:
            return values
        front, place = range(self.ndim), range(self.before, self.before + self.ndim)
        return np.moveaxis(values, front, place) if back else np.moveaxis(values, place, front)


def _index(x: Array, indices: Sequence[Any]) -> Array:
    if len(indices) == 1:
        (index,) = indices
        if index.dtype == np.bool_ and index.shape == x.shape:
            return kernels.masked_select(x, index)
        if index.dtype == _INT64 and x.size:
            return _index_along(x, 0, index)
    few = picking.points(x, indices)
    if few is not None:
        return few
    places = _Places(x, indices)
    if 0 in places.shape:
        return np.empty(places.shape, x.dtype)
    if len(places.dims) == 1:
        index = copying.flat(places.arrays[0])
        return kernels.index_select(x, places.dims[0], index).reshape(places.shape)
    result = kernels.index_get(places.in_front(x), places.arrays)
    return copying.contiguous(places.moved(result, back=True)) if places.before else result


def _index_along(x: Array, dim: int, index: Array) -> Array:
    few = picking.select(x, dim, index, from_end=True)
    if few is not None:
        return few
    if not x.size:
        return _index(x, _alone(index, dim))
    places = in_range(copying.flat(index), x.shape[dim], 0)
    shape = x.shape[:dim] + index.shape + x.shape[dim + 1 :]
    return kernels.index_select(x, dim, places).reshape(shape)


def _alone(index: Any, dim: int) -> list[Any]:
    """Indices of which only that of one dimension says something."""
    return [None] * dim + [index]


def _put(x: Array, indices: Sequence[Any], values: Array, accumulate: bool = False) -> None:
    if picking.put_points(x, indices, values, accumulate):
        return
    mask = _only_mask(indices)
    if mask is not None and values.size == 1 and not accumulate:
        _check_mask(mask[(0,) * (len(indices) - 1)], x.shape, len(indices) - 1)
        cover = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        kernels.masked_fill(x, cover, copying.contiguous(values.reshape(()), x.dtype), x)
        return
    places = _Places(x, indices)
    try:
        wide = np.broadcast_to(values, places.shape)
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            f"indexing result of shape {list(places.shape)}"
        ) from None
    if x.dtype != values.dtype:
        kinds = [scalar_type(from_numpy_dtype(each.dtype)) for each in (x, values)]
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{kinds[0]} for the destination and {kinds[1]} for the source."
        )
    if wide.size:
        moved = places.moved(wide, back=False)
        kernels.index_put(places.in_front(x), places.arrays, moved, accumulate)


def _check_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> None:
    if not isinstance(indices, tuple | list):
        raise TypeError(
            "index_put(): argument 'indices' (position 1) must be tuple of Tensors, "
            f"not {type_name(type(indices))}"
        )
    if not isinstance(values, Tensor):
        must_be_tensor("index_put", "values", 2, values)


def _spread_back(g: Tensor, x_shape: Sequence[int], indices: Any) -> Tensor:
    """Zeros of a shape with g added at the indices."""
    zeros = g.new_zeros(x_shape)
    return index_put.inplace(zeros, indices, g, _only_mask(_arrays(indices)) is None)


def _arrays(indices: Sequence[Any]) -> list[Any]:
    return [each._array if isinstance(each, Tensor) else each for each in indices]


def _without(g: Tensor, indices: Any, accumulate: bool) -> Tensor:
    if accumulate:
        return g
    return index_put.function(g, indices, g.new_zeros(()))


def _added_along(g: Tensor, x_shape: Sequence[int], dim: int, index: Tensor) -> Tensor:
    """Zeros of a shape with g added at an index of one dimension."""
    zeros = g.new_zeros(x_shape)
    if mode.recording or not picking.add(zeros._array, dim, index._array, g._array):
        index_put.inplace(zeros, _alone(index, dim), g, True)
    return zeros


_index_row = op(_index, node="IndexBackward0", x=_spread_back)
_index_along_row = op(_index_along, node="IndexBackward0", x=_added_along)
index_put = Update(
    _put,
    {
        "x": _without,
        "values": lambda g, values_shape, values_dtype, indices: (
            _index_row(g, indices).sum_to_size(values_shape).to(values_dtype)
        ),
    },
    check=_check_put,
)
_keyed = view_of(lambda x, key: x[(*key, ...)])


# ---------------------------------------------------------------------- x[...]


def _viewed(x: Tensor, key: Key) -> Tensor:
    """The view that a key takes; x itself if that is all of it."""
    if all(item is _WHOLE for item in key):
        return x
    if not (mode.recording and x._needs_grad):
        return apply(_keyed, (x, key))
    dim = 0
    for item in key:
        if item is None:
            x = unsqueeze.function(x, dim)
        elif item.__class__ is int:
            x = select.function(x, dim, item)
            continue
        elif item is not _WHOLE:
            x = slice_.function(x, dim, item.start, item.stop, item.step)
        dim += 1
    return x


def getitem(self: Tensor, index: Any) -> Tensor:
    """The elements at an index: a view, or with index tensors or masks a copy.

    Raises IndexError for indices that are out of range, too many, or of a wrong kind.
    """
    shape = self._array.shape
    if shape:
        if index.__class__ is int:
            return apply(select, (self, 0, _checked(index, 0, shape[0])))
        if index.__class__ is slice:
            part = _trimmed(index, shape[0])
            return apply(slice_, (self, 0, part.start, part.stop, part.step or 1))
        if isinstance(index, Tensor):
            if index.dtype is _LONG and index._array.ndim:
                return _index_along_row.function(self, 0, index)
            if index.dtype is _BOOL and index._array.shape == shape:
                return _index_row.function(self, [index])
        dim, only = _only_index(index, len(shape))
        if dim >= 0:
            return _index_along_row.function(self, dim, only)
        if _are_points(index, len(shape)):
            return _index_row.function(self, list(index))
    _refuse_scalar(self, index)
    key, indices = parsed(self, index)
    result = _viewed(self, key)
    if indices:
        return apply(_index_row, (result, indices))
    return alias.function(self) if result is self else result


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Writes a number, or a tensor that broadcasts, to the elements at an index.

    Raises RuntimeError where the shapes do not broadcast or dtypes with index tensors differ.
    """
    is_tensor = isinstance(value, Tensor)
    records = mode.recording and (self._needs_grad or (is_tensor and value._needs_grad))
    if not records and (is_tensor or value.__class__ in (int, float)):
        array = value._array if is_tensor else number_array(value, self.dtype)
        if _wrote(self, index, array):
            self._bump_version()
            return
    _refuse_scalar(self, index)
    key, indices = parsed(self, index)
    if not is_tensor:
        if not isinstance(value, int | float):
            raise TypeError(
                f"can't assign a {type_name(type(value))} to a {TENSOR_TYPES[self.dtype.name]}"
            )
        value = wrap(number_array(value, self.dtype), self.dtype)
    if records:
        _set_recorded(_viewed(self, key), indices, value)
        return
    array = self._array[(*key, ...)]
    if indices:
        refuse_overlap(array)
        _put(array, _arrays(indices), value._array.reshape(_trimmed_shape(value._array)))
    else:
        _write(array, value._array)
    self._bump_version()


def _wrote(x: Tensor, index: Any, value: Array) -> bool:
    """Writes a value where an index is of ints and slices, or few are to be written; says if so."""
    array = x._array
    part = _plain_part(array, index)
    if part is not None:
        _write(part, value)
        return True
    if isinstance(index, Tensor) and index.dtype is _BOOL and not value.ndim:
        return picking.fill(array, index._array, value, array) is not None
    if _are_points(index, array.ndim):
        return picking.put_points(array, _arrays(index), value)
    dim, only = _only_index(index, array.ndim)
    return dim >= 0 and picking.put(array, dim, only._array, value)


def _plain_part(array: Array, index: Any) -> Array | None:
    """The part at an index of ints and slices; None where it has others, or what is refused."""
    items = index if index.__class__ is tuple else (index,)
    for item in items:
        if item.__class__ is slice:
            if item.step is not None:
                return None
        elif item.__class__ is not int:
            return None
    try:
        return array[(*items, ...)]
    except (IndexError, TypeError):
        return None


def _write(array: Array, value: Array) -> None:
    """Copies a value that expands to an array into it."""
    refuse_overlap(array)
    if value.shape != array.shape and value.ndim:
        value = value.reshape(_fitting(value, array))
    copying.copy_into(array, value)


def _set_recorded(part: Tensor, indices: Sequence[Any], value: Tensor) -> None:
    """Writes a value to a view, or to its elements at indices, by recorded operations."""
    if indices:
        trimmed = _trimmed_shape(value._array)
        if trimmed != value._array.shape:
            value = value.reshape(trimmed)
        index_put.inplace(part, indices, value)
    elif part._array.shape == value._array.shape:
        part.copy_(value)
    elif not value._array.ndim:
        fill.inplace(part, value)
    else:
        part.copy_(value.reshape(_fitting(value._array, part._array)))


def _trimmed_shape(value: Array) -> tuple[int, ...]:
    """The shape without leading ones."""
    shape = value.shape
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _fitting(value: Array, part: Array) -> tuple[int, ...]:
    """The trimmed shape of a value; RuntimeError if it does not expand to the part's."""
    shape = _trimmed_shape(value)
    expanded_size(shape, part.shape, value.dtype)
    return shape


register_rows(globals())

METHODS: dict[str, Callable[..., Any]] = {
    "__getitem__": select.entry(getitem, form=ITEM),
    "__setitem__": setitem,
}
