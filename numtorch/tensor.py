"""The tensor: an ndarray with a dtype of PyTorch's and a place in the autograd graph.

This module holds state and what can be read from it. Operations are attached by
:mod:`numtorch.methods`, so that nothing here depends on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from numtorch_kernels.calls.items import ItemCalls
from numtorch_kernels.deferral import settle
from numtorch_kernels.layout import data_address

from .dtype import BY_NUMPY, dtype, from_numpy_dtype, get_default_dtype, type_name
from .printing import tensor_text
from .size import Size, device, layout, strided

Array = np.ndarray[Any, Any]
_NO_GRAD_KEPT = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
    "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
    "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you "
    "access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead."
)


class Version:
    """Counts the in-place changes to a piece of memory; tensors that share it share this."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class View:
    """How a view stands to the tensor that it is a view of."""

    __slots__ = ("base", "kind", "number")

    def __init__(self, base: Tensor, kind: str, number: int) -> None:
        self.base = base
        self.kind = kind  # "": may be changed in place; else why not, as a key of graph's messages
        self.number = number  # the version at which the view's grad_fn was made


class _Fields:
    """What every tensor has, at places that compiled code knows; see :func:`blank`."""

    __slots__ = (
        "_array",
        "_needs_grad",
        "_node",
        "_output",
        "_version_counter",
        "_view",
        "dtype",
    )
    _array: Array
    dtype: dtype
    _needs_grad: bool  # what requires_grad says
    _node: Any  # what computed it (grad_fn); None of a leaf
    _output: int  # which output of that node
    _view: View | None
    _version_counter: Version | None  # None: never changed in place, no views


class Tensor(_Fields):
    """A multi-dimensional array of one dtype that can record how it was computed."""

    # Defaults of the attributes that few tensors set; the class holds them so that making a tensor
    # costs seven assignments.
    _grad: Tensor | None = None
    _hooks: dict[int, Callable[..., Any]] | None = None  # of a leaf; a node keeps its own
    _accumulated_hooks: dict[int, Callable[..., Any]] | None = None
    _retains_grad: bool = False
    __array_priority__: ClassVar[int] = 1000  # ndarray operators leave the work to this class

    device: ClassVar[device] = device("cpu")
    layout: ClassVar[layout] = strided
    is_cuda: ClassVar[bool] = False
    is_cpu: ClassVar[bool] = True
    is_sparse: ClassVar[bool] = False
    is_quantized: ClassVar[bool] = False
    is_meta: ClassVar[bool] = False
    is_mps: ClassVar[bool] = False

    if TYPE_CHECKING:  # what numtorch.methods attaches

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...

    # ------------------------------------------------------------------ shape and memory

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._array.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    def size(self, dim: int | None = None) -> Any:
        """The :class:`Size`, or the size of one dimension.

        Raises IndexError for a dimension that there is not.
        """
        if dim is None:
            return Size(self._array.shape)
        return self._array.shape[normalized_dim(dim, self._array.ndim)]

    def stride(self, dim: int | None = None) -> Any:
        """How many elements apart neighbours along each dimension (or one) lie in memory."""
        strides = element_strides(self._array)
        return strides if dim is None else strides[normalized_dim(dim, self._array.ndim)]

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    nelement = numel

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.size * self._array.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return data_address(self._array)

    def storage_offset(self) -> int:
        """How many elements after the start of its memory the tensor begins."""
        base = self._view.base._array if self._view is not None else self._array
        return (data_address(self._array) - data_address(base)) // self._array.itemsize

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in memory in row-major order without gaps."""
        return bool(self._array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the dtype is float32 or float64."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """False: there are no complex dtypes."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype holds negative numbers."""
        return self.dtype.is_signed

    def get_device(self) -> int:
        """-1, which means the CPU."""
        return -1

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    # ------------------------------------------------------------------ values

    def numpy(self, *, force: bool = False) -> Array:
        """The memory itself, as an ndarray; changes to one are seen in the other.

        Raises RuntimeError on a tensor that requires grad, unless ``force``.
        """
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. "
                "Use tensor.detach().numpy() instead."
            )
        settle()
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if copy is False and dtype is not None and np.dtype(dtype) != array.dtype:
            raise ValueError(f"a view of {array.dtype} as {np.dtype(dtype)} cannot avoid a copy")
        return array if dtype is None and not copy else np.array(array, dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises RuntimeError of a tensor that does not have one element.
        """
        settle()
        try:
            return self._array.item()
        except ValueError:
            raise RuntimeError(
                f"a Tensor with {self._array.size} elements cannot be converted to Scalar"
            ) from None

    item = ItemCalls().entry(item)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; of a 0-d tensor, the number."""
        settle()
        return self._array.tolist()

    def __bool__(self) -> bool:
        if self._array.size == 1:
            settle()
            return bool(self._array.item())
        if not self._array.size:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.category > 1 or self._array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        settle()
        return int(self._array.item())

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, Tensor | int | float):
            return bool((element == self).any())  # type: ignore[union-attr]
        raise RuntimeError(
            "Tensor.__contains__ only supports Tensor or scalar, "
            f"but you passed in a {type(element)}."
        )

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        if not self._array.ndim:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        settle()
        suffixes = []
        if self.grad_fn is not None:
            suffixes.append(f"grad_fn=<{type(self.grad_fn).__name__}>")
        elif self.requires_grad:
            suffixes.append("requires_grad=True")
        return tensor_text(
            self._array,
            dtype=self.dtype.name,
            default_float=get_default_dtype().name,
            suffixes=suffixes,
        )

    # ------------------------------------------------------------------ autograd

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are to be computed for it; for a view, or for what it is a view of."""
        return self._needs_grad or (self._view is not None and self._view.base._needs_grad)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if not isinstance(wanted, bool):
            raise RuntimeError("requires_grad must be a bool")
        if wanted and self._node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Says whether gradients are to be computed for it, in place.

        Raises RuntimeError of a tensor that is not floating point, or was computed from one that
        requires grad.
        """
        if requires_grad and self.dtype.category != 2:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if not requires_grad and self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        self._needs_grad = bool(requires_grad)
        return self

    @property
    def grad_fn(self) -> Any:
        """The node of the operation that computed it; None of a leaf."""
        if self._view is not None:
            self._refresh_view()
        return self._node

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation computed it."""
        return self.grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient, or None."""
        if self._grad is None and self._node is not None and not self._retains_grad:
            warnings.warn(_NO_GRAD_KEPT, stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            _check_assigned_grad(self, value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def retains_grad(self) -> bool:
        """Whether a tensor that is no leaf keeps its gradient."""
        return self._retains_grad

    @property
    def output_nr(self) -> int:
        """Which output of its ``grad_fn`` this is."""
        return self._output

    @property
    def _version(self) -> int:
        return 0 if self._version_counter is None else self._version_counter.number

    def _bump_version(self) -> None:
        """Notes that the memory was changed in place."""
        if self._version_counter is None:
            self._version_counter = Version()
        self._version_counter.number += 1

    def _shared_version(self) -> Version:
        """The version counter, made if there is none, to be shared with a tensor of this memory."""
        if self._version_counter is None:
            self._version_counter = Version()
        return self._version_counter

    def detach(self) -> Tensor:
        """A tensor of the same memory that is not part of the graph."""
        result = wrap(self._array, self.dtype)
        result._version_counter = self._shared_version()
        return result

    @property
    def data(self) -> Tensor:
        """A tensor of the same memory, outside the graph and without its safety checks."""
        return wrap(self._array, self.dtype)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self._needs_grad and value.dtype.category != 2:
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex "
                "dtype"
            )
        self._array = value._array
        self.dtype = value.dtype

    def is_inference(self) -> bool:
        """False: inference tensors behave as ordinary ones."""
        return False

    # ------------------------------------------------------------------ copies

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment."
            )
        if id(self) in memo:
            return memo[id(self)]
        settle()
        result = blank(type(self))
        memo[id(self)] = result
        result._array = self._array.copy(order="K")
        result.dtype = self.dtype
        result._needs_grad = self._needs_grad
        if self._grad is not None:
            result._grad = self._grad.__deepcopy__(memo)
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) can be pickled; "
                "call detach() first"
            )
        settle()
        return _rebuild, (type(self), self._array, self._needs_grad)


def _rebuild(cls: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    """A tensor from its pickle."""
    result = blank(cls)
    result._array = array
    result.dtype = from_numpy_dtype(array.dtype)
    result._needs_grad = requires_grad
    return result


def _check_assigned_grad(tensor: Tensor, grad: Tensor) -> None:
    if not isinstance(grad, Tensor):
        raise TypeError(
            "assigned grad expected to be a Tensor or None but got grad of type "
            f"{type_name(type(grad))}"
        )
    if grad is tensor:
        raise RuntimeError("can't assign Variable as its own grad")
    if grad.dtype is not tensor.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{grad.dtype.name}' to a tensor with "
            f"dtype '{tensor.dtype.name}'. The gradient must match the tensor's dtype"
        )
    if grad._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(grad.shape)}' to a tensor of size "
            f"'{list(tensor.shape)}'. Please ensure that the gradient and the tensor are the same "
            "size"
        )


_new = object.__new__


def blank(cls: type[Tensor]) -> Any:
    """A tensor of a class that has yet to be given its array and dtype."""
    result = _new(cls)
    result._needs_grad = False
    result._output = 0
    result._view = result._version_counter = result._node = None
    return result


def wrap(array: Array, kind: dtype) -> Tensor:
    """A tensor of an ndarray's memory."""
    result = _new(Tensor)
    result._array = array
    result.dtype = kind
    result._needs_grad = False
    result._output = 0
    result._view = result._version_counter = result._node = None
    return result


def wrap_array(array: Any) -> Tensor:
    """A tensor of an ndarray (or NumPy scalar) whose dtype is one of ours."""
    return wrap(
        array if isinstance(array, np.ndarray) else np.asarray(array), BY_NUMPY[array.dtype]
    )


def normalized_dim(dim: int, ndim: int) -> int:
    """The non-negative index of a dimension; a 0-d tensor counts as one-dimensional.

    Raises IndexError for a dimension that there is not.
    """
    extent = ndim or 1
    if not -extent <= dim < extent:
        out_of_range(dim, extent)
    return dim + extent if dim < 0 else dim


def out_of_range(dim: int, extent: int) -> NoReturn:
    """Raises PyTorch's error for a dimension that there is not."""
    raise IndexError(
        f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], "
        f"but got {dim})"
    )


def element_strides(array: Array) -> tuple[int, ...]:
    """Strides in elements; of an array whose strides say nothing, those of a packed one."""
    if not array.size:
        return tuple(prod(max(n, 1) for n in array.shape[dim + 1 :]) for dim in range(array.ndim))
    size = array.itemsize
    return tuple(stride // size for stride in array.strides)
