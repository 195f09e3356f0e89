"""Tensor texts are PyTorch's, to the character."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from numtorch import printing

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
DTYPES = (*FLOATS, *INTEGERS, "bool")

SHAPES = (
    (),
    (1,),
    (7,),
    (40,),
    (1000,),
    (1001,),
    (3, 4),
    (1, 1),
    (30, 40),
    (7, 2000),
    (2, 600),
    (600, 2),
    (2, 3, 4),
    (20, 3, 30),
    (2, 1, 2, 3),
    (8, 2, 7, 11),
    (1, 2, 1, 2, 1),
    (0,),
    (0, 3),
    (3, 0),
    (2, 0, 4),
)

VALUES: dict[str, list[float]] = {
    "zeros": [0.0, 0.0],
    "signed zeros": [-0.0, 0.0],
    "negative zero beside integers": [-0.0, 1.0, 2.0],
    "negative zero beside fractions": [-0.0, 0.5],
    "integral": [1.0, -20.0, 300.0],
    "integral, range above 1000": [1.0, 1001.0],
    "integral, range of just 1000": [1.0, 1000.0],
    "integral, 1e8": [1e8, 1e8],
    "integral, above 1e8": [1.00000008e8, 1.00000008e8],
    "integral, enormous": [1e30, -1e30],
    "fractions": [0.1, 0.25, -3.14159],
    "half way": [0.00005, 0.00015, 0.00025, 2.5, 1.00005],
    "range above 1000": [0.5, 600.25],
    "rounds to one digit more": [9.99999, 99.99999],
    "near 1e-4": [1e-4, 2e-4],
    "below 1e-4": [0.9e-4],
    "subnormal": [1e-39, 2e-39],
    "smallest subnormal and large": [1e-45, 3e38],
    "large fractions": [12345678.5, 87654321.5],
    "nan": [np.nan],
    "nan and zero": [np.nan, 0.0],
    "nan beside integers": [np.nan, 1.0, 2.0],
    "nan beside fractions": [np.nan, 0.5],
    "nan in scientific": [np.nan, 1e-10, 1.0],
    "infinities": [np.inf, -np.inf],
    "infinities beside integers": [np.inf, -np.inf, 3.0],
    "infinities beside fractions": [np.inf, -np.inf, 3.5],
    "infinities in scientific": [np.inf, -np.inf, 3.5e20, 0.0, -0.0],
    "everything": [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-20, -1e20, 1.5],
}

OPTIONS: tuple[dict[str, Any], ...] = (
    {"precision": 0},
    {"precision": 1},
    {"precision": 12},
    {"sci_mode": True},
    {"sci_mode": False},
    {"sci_mode": True, "precision": 8},
    {"linewidth": 1},
    {"linewidth": 30},
    {"linewidth": 200},
    {"linewidth": 99.5},
    {"edgeitems": 0},
    {"edgeitems": 0, "threshold": 0},
    {"edgeitems": 1, "threshold": 0},
    {"edgeitems": 2, "threshold": 5},
    {"edgeitems": 5, "threshold": 10, "linewidth": 40},
    {"threshold": float("inf")},
    {"profile": "default"},
    {"profile": "short"},
    {"profile": "full"},
    {"profile": "short", "precision": 6, "edgeitems": 4},
    {"profile": "unknown", "precision": 3},
)


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    module: ModuleType = pytest.importorskip("torch", reason="PyTorch is what texts are held to")
    return module


@pytest.fixture(autouse=True)
def own_options() -> Iterator[None]:
    """Give each test the options it found back, whatever it set."""
    with printing.printoptions():
        yield


@contextmanager
def same_options(torch: ModuleType, options: dict[str, Any]) -> Iterator[None]:
    """Set the same print options here and in PyTorch."""
    with printing.printoptions(**options), torch._tensor_str.printoptions(**options):
        yield


def text(array: np.ndarray, **more: Any) -> str:
    """Print an array as a tensor of its own dtype."""
    arguments = {"default_float": "float32", "suffixes": (), **more}
    return printing.tensor_text(array, dtype=array.dtype.name, **arguments)


def assert_prints_alike(torch: ModuleType, array: np.ndarray) -> None:
    assert text(array) == repr(torch.from_numpy(array))


def sample(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Draw from a dtype's range: all of the integers, fractions around zero."""
    generator = np.random.default_rng(seed)
    if dtype in FLOATS:
        return generator.normal(scale=10, size=shape).astype(dtype)
    if dtype == "bool":
        return np.asarray(generator.random(shape) < 0.5)
    limits = np.iinfo(dtype)
    return np.asarray(generator.integers(limits.min, limits.max, shape, dtype, endpoint=True))


# Texts that PyTorch prints, for those who have no PyTorch to compare with.


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array(1.5, "float32"), "tensor(1.5000)"),
        (np.array([1, -2, 3], "float32"), "tensor([ 1., -2.,  3.])"),
        (np.array([1, np.nan], "float32"), "tensor([1., nan])"),
        (np.array([1e-5, 1], "float32"), "tensor([1.0000e-05, 1.0000e+00])"),
        (np.array([0.5], "float64"), "tensor([0.5000], dtype=torch.float64)"),
        (np.array([True, False]), "tensor([ True, False])"),
        (np.array([10, -1]), "tensor([10, -1])"),
        (np.array([255, 1], "uint8"), "tensor([255,   1], dtype=torch.uint8)"),
        (np.array([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (np.array([[[1]], [[2]]]), "tensor([[[1]],\n\n        [[2]]])"),
        (np.array([], "float32"), "tensor([])"),
        (np.zeros((0, 3), "float32"), "tensor([], size=(0, 3))"),
        (np.array([], "int64"), "tensor([], dtype=torch.int64)"),
        (np.arange(1001), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    ],
)
def test_known_texts(array: np.ndarray, expected: str) -> None:
    assert text(array) == expected


def test_default_dtype_goes_unmentioned() -> None:
    doubles = np.array([0.5], "float64")
    assert text(doubles, default_float="float64") == "tensor([0.5000])"
    assert text(np.array([0.5], "float32"), default_float="float64").endswith(
        ", dtype=torch.float32)"
    )
    assert text(doubles[:0], default_float="float64") == "tensor([])"


def test_prefix_and_column_indent_what_follows() -> None:
    rows = np.array([[1, 2], [3, 4]])
    assert text(rows, prefix="Mine(") == "Mine([[1, 2],\n      [3, 4]])"
    assert text(rows, indent=4) == "tensor([[1, 2],\n            [3, 4]])"
    assert text(rows[0], indent=60, suffixes=["requires_grad=True"]) == (
        "tensor([1, 2],\n" + " " * 67 + "requires_grad=True)"
    )


def test_read_only_and_strided_arrays() -> None:
    array = np.arange(12.0, dtype="float32").reshape(3, 4)
    array.flags.writeable = False
    assert text(array.T[::-1, ::2]) == text(array.T[::-1, ::2].copy())


# Options.


def test_context_restores_options_after_an_error() -> None:
    before = printing.get_printoptions()

    def fail_with_other_options() -> None:
        with printing.printoptions(precision=1, sci_mode=True, profile="full"):
            assert printing.get_printoptions() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_with_other_options()
    assert printing.get_printoptions() == before


def test_options_are_torchs(torch: ModuleType) -> None:
    with same_options(torch, {}):
        for options in OPTIONS:
            printing.set_printoptions(**options)
            torch.set_printoptions(**options)
            assert printing.get_printoptions() == torch._tensor_str.get_printoptions()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_every_option(torch: ModuleType, options: dict[str, Any], dtype: str) -> None:
    with same_options(torch, options):
        for shape in SHAPES:
            assert_prints_alike(torch, sample(shape, dtype))
        for values in VALUES.values():
            assert_prints_alike(torch, np.array(values))


# Comparisons with PyTorch.


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape(torch: ModuleType, dtype: str, shape: tuple[int, ...]) -> None:
    array = sample(shape, dtype)
    assert_prints_alike(torch, array)
    assert_prints_alike(torch, array.astype("int8").astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", VALUES)
def test_every_kind_of_float(torch: ModuleType, name: str, dtype: str) -> None:
    values = np.array(VALUES[name], "float64").astype(dtype)
    assert_prints_alike(torch, values)
    assert_prints_alike(torch, np.tile(values, (2, 60)))
    for value in values:
        assert_prints_alike(torch, np.asarray(value))


@pytest.mark.parametrize("dtype", DTYPES)
def test_default_dtype_of_double(torch: ModuleType, dtype: str) -> None:
    array = sample((2, 3), dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = [repr(torch.from_numpy(array)), repr(torch.from_numpy(array[:0]))]
    finally:
        torch.set_default_dtype(before)
    assert [text(part, default_float="float64") for part in (array, array[:0])] == expected


def test_only_shown_elements_choose_the_format(torch: ModuleType) -> None:
    hidden = np.ones(2001)
    hidden[1000] = 1e-30
    assert "e-" not in text(hidden)
    assert_prints_alike(torch, hidden)
    assert_prints_alike(torch, hidden.reshape(3, 667))


def test_many_dimensions(torch: ModuleType) -> None:
    assert_prints_alike(torch, sample((1,) * 40 + (3,), "float32"))
    assert_prints_alike(torch, sample((1,) * 40 + (2000,), "float32"))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("length", range(1, 30))
def test_suffixes_wrap_where_torch_wraps(torch: ModuleType, dtype: str, length: int) -> None:
    array = sample((length,), dtype)
    leaf = torch.from_numpy(array.copy()).requires_grad_()
    assert text(array, suffixes=["requires_grad=True"]) == repr(leaf)
    product = leaf * 1
    assert text(array, suffixes=["grad_fn=<MulBackward0>"]) == repr(product)
    for width in range(20, 80, 3):
        with same_options(torch, {"linewidth": width}):
            assert text(array, suffixes=["grad_fn=<MulBackward0>"]) == repr(product)


def test_suffix_after_an_empty_tensor(torch: ModuleType) -> None:
    leaf = torch.empty(0, 3, dtype=torch.float64, requires_grad=True)
    assert text(np.empty((0, 3)), suffixes=["requires_grad=True"]) == repr(leaf)


def test_subclass_prefix(torch: ModuleType) -> None:
    subclass = type("Mine", (torch.Tensor,), {})
    array = sample((3, 40), "float32")
    assert text(array, prefix="Mine(") == repr(torch.from_numpy(array).as_subclass(subclass))


# Random arrays.

PRINT_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "precision": st.integers(0, 10),
        "threshold": st.integers(0, 30),
        "edgeitems": st.integers(0, 4),
        "linewidth": st.integers(0, 120),
        "profile": st.sampled_from(["default", "short", "full"]),
        "sci_mode": st.booleans(),
    },
)

ANY_SHAPE = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)


@settings(deadline=None)
@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, ANY_SHAPE)), PRINT_OPTIONS)
def test_random_arrays(torch: ModuleType, array: np.ndarray, options: dict[str, Any]) -> None:
    with same_options(torch, options):
        assert_prints_alike(torch, array)


@settings(deadline=None)
@given(
    st.sampled_from([2.0**-10, 1e-4, 0.125, 1.0, 1e3, 1e8]),
    arrays("int16", ANY_SHAPE, elements=st.integers(-1500, 1500)),
    PRINT_OPTIONS,
)
def test_random_multiples_around_the_limits_of_scientific_mode(
    torch: ModuleType, unit: float, counts: np.ndarray, options: dict[str, Any]
) -> None:
    with same_options(torch, options):
        assert_prints_alike(torch, np.asarray(counts * unit))
        assert_prints_alike(torch, np.asarray(counts * np.float32(unit)))
