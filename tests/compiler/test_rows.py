"""Every operation, compiled: the bits of eager execution, at two shapes with one compilation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch.compiler import compile
from numtorch.tensor import Tensor, wrap_array
from numtorch_kernels import build
from table import ROWS
from table.row import Array, Call, Make, Row

ERRORS = (RuntimeError, TypeError, ValueError, IndexError)

# Rows whose samples have sizes among their arguments, which do not fit inputs of other sizes.
SIZED = {
    "as_strided", "bilinear", "diagonal_scatter", "embedding", "expand", "index_copy", "index_put",
    "layer_norm", "masked_scatter", "repeat_interleave", "nan_to_num", "select_scatter",
    "slice_scatter", "split", "split_with_sizes", "unflatten", "unfold", "view",
}  # fmt: skip

each_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PyTorch's warnings of what it will refuse one day are tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Wide(Make):
    """Makes samples with every size doubled."""

    def __call__(self, *shape: int, low: float = -3, high: float = 3) -> Array:
        """Numbers between low and high, of the dtype."""
        return super().__call__(*self.doubled(shape), low=low, high=high)

    def index(self, *shape: int, below: int) -> Array:
        """Integers from 0, as indices."""
        return super().index(*self.doubled(shape), below=below)

    def mask(self, *shape: int) -> Array:
        """Truth values."""
        return super().mask(*self.doubled(shape))

    def distinct(self, *shape: int) -> Array:
        """Numbers of which no two are equal or close."""
        return super().distinct(*self.doubled(shape))

    @staticmethod
    def doubled(shape: Sequence[int]) -> list[int]:
        return [2 * n if n > 1 else n for n in shape]


def dtype_of(row: Row) -> str:
    return "float32" if "float32" in row.dtypes else row.dtypes[0]


def wide_calls(row: Row) -> list[Call]:
    """The samples of twice the sizes; none of a row that cannot make them."""
    try:
        return row.calls(Wide(dtype_of(row)))
    except ValueError:
        return []


def arrays_in(call: Call) -> list[Array]:
    arrays: list[Array] = []

    def note(x: Array) -> Array:
        arrays.append(x)
        return x

    call.on(note)
    return arrays


def function_of(row: Row, call: Call) -> Callable[..., Any]:
    """The call as a function of its tensors alone."""

    def function(*tensors: Tensor) -> Any:
        given = iter(tensors)
        filled = call.on(lambda _: next(given))
        return row.function(numtorch)(*filled.args, **filled.kwargs)

    return function


def tensors(arrays: Sequence[Array], gradient: bool, order: Any = "C") -> list[Tensor]:
    made = [wrap_array(x.copy(order)) for x in arrays]
    for x in made:
        if gradient and x.is_floating_point():
            x.requires_grad_()
    return made


def flat(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [each for part in result for each in flat(part)]
    return [result]


def outcome(function: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Any]:
    """The results and the inputs' gradients, or the exception."""
    try:
        results = flat(function(*inputs))
        roots = [y for y in results if isinstance(y, Tensor) and y.requires_grad]
        weights = [np.linspace(0.5, 1.5, y.numel(), dtype=y.detach().numpy().dtype) for y in roots]
        if roots:
            seeds = [wrap_array(w.reshape(y.shape)) for w, y in zip(weights, roots, strict=True)]
            numtorch.autograd.backward(roots, seeds)
    except ERRORS as error:
        return [type(error), str(error)]
    return [*results, *[x.grad for x in inputs]]


def assert_same_bits(actual: Sequence[Any], expected: Sequence[Any], strides: bool = True) -> None:
    assert len(actual) == len(expected), (actual, expected)
    for x, y in zip(actual, expected, strict=True):
        if not isinstance(y, Tensor):
            assert x == y
            continue
        assert x.dtype is y.dtype
        assert x.shape == y.shape
        assert not strides or x.stride() == y.stride()
        assert x.requires_grad == y.requires_grad
        one, other = x.detach().numpy(), y.detach().numpy()
        np.testing.assert_array_equal(one, other)
        if one.dtype.kind == "f":
            numbers = ~np.isnan(other)
            assert (np.signbit(one) == np.signbit(other))[numbers].all()


def other_values(arrays: Sequence[Array]) -> list[Array]:
    """The same elements in another order, so that nothing that was recorded can be right."""
    random = np.random.default_rng(3)
    return [random.permutation(x.reshape(-1)).reshape(x.shape) for x in arrays]


@each_row
def test_compiled_is_eager_to_the_bit(row: Row) -> None:
    for call in row.calls(Make(dtype_of(row))):
        function, arrays = function_of(row, call), arrays_in(call)
        for gradient in (False, True) if row.gradient else (False,):
            compiled = compile(function, deterministic=True)
            for values in (arrays, other_values(arrays), arrays):
                expected = outcome(function, tensors(values, gradient))
                assert_same_bits(outcome(compiled, tensors(values, gradient)), expected)


@each_row
def test_compiled_is_eager_to_the_bit_on_transposed_memory(row: Row) -> None:
    """Where NumPy would copy what it cannot view, there are no values yet to be copied."""
    for call in row.calls(Make(dtype_of(row))):
        function, arrays = function_of(row, call), arrays_in(call)
        if all(x.ndim < 2 for x in arrays):
            continue
        compiled = compile(function)
        for values in (arrays, other_values(arrays)):
            expected = outcome(function, tensors(values, row.gradient, "F"))
            found = outcome(compiled, tensors(values, row.gradient, "F"))
            assert_same_bits(found, expected, strides=False)  # small eager results have NumPy's


@each_row
def test_another_shape_compiles_nothing(row: Row) -> None:
    """What the first shape compiled, or read from disk, serves the second."""
    compared = 0
    for call, wide in zip(row.calls(Make(dtype_of(row))), wide_calls(row), strict=False):
        if not all(x.size for x in arrays_in(call)):
            continue
        function = function_of(row, wide)
        compiled = compile(function)
        first = outcome(compiled, tensors(arrays_in(call), row.gradient))
        if isinstance(first[0], type):
            continue
        known = len(build._addresses)
        found = outcome(compiled, tensors(arrays_in(wide), row.gradient))
        added = len(build._addresses) - known
        expected = outcome(function, tensors(arrays_in(wide), row.gradient))
        assert_same_bits(found, expected)
        if not isinstance(expected[0], type):
            compared += 1
            assert added == 0, call
    assert compared or row.name in SIZED, f"no sample of {row} has another shape"
