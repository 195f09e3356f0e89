"""Element types against PyTorch: attributes, conversion, promotion, limits, errors."""

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from numtorch.dtype import (
    ALIASES,
    DTYPES,
    binary_result,
    bool_,
    can_cast,
    dtype,
    finfo,
    float32,
    float64,
    from_numpy_dtype,
    get_default_dtype,
    iinfo,
    int8,
    int32,
    int64,
    promote_types,
    result_of,
    scalar_dtype,
    set_default_dtype,
    to_dtype,
    type_name,
    uint8,
)


class Answer(IntEnum):
    YES = 1


PAIRS = list(itertools.product(DTYPES, repeat=2))
FLOATS = [each for each in DTYPES if each.is_floating_point]
INTEGERS = [each for each in DTYPES if not each.is_floating_point and each is not bool_]
NUMBERS: dict[type, Any] = {bool: True, int: 2, float: 2.5}
SCALARS = [
    *NUMBERS.values(),
    np.int8(2),
    np.uint64(2),
    np.float16(2.5),
    np.float64(2.5),
    np.longdouble(2.5),
    np.bool_(True),
    Answer.YES,
]


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    """PyTorch, which says what is right."""
    module: ModuleType = pytest.importorskip("torch")
    return module


@pytest.fixture(params=["float32", "float64"])
def each_default(request: pytest.FixtureRequest, torch: ModuleType) -> Iterator[None]:
    """Runs a test under both default dtypes, set here and in PyTorch."""
    ours, theirs = get_default_dtype(), torch.get_default_dtype()
    set_default_dtype(ALIASES[request.param])
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    set_default_dtype(ours)
    torch.set_default_dtype(theirs)


def error_of(call: Callable[..., object], *args: object) -> tuple[type, str]:
    """The type and the text of the exception that a call raises."""
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        call(*args)
    return type(caught.value), str(caught.value)


# --- the types ---


@pytest.mark.parametrize("name", ALIASES)
def test_attributes_are_pytorchs(torch: ModuleType, name: str) -> None:
    ours, theirs = ALIASES[name], getattr(torch, name)
    assert repr(ours) == repr(theirs)
    for attribute in ("itemsize", "is_floating_point", "is_complex", "is_signed"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert torch.zeros(1, dtype=theirs).numpy().dtype == ours.numpy


def test_aliases_name_the_same_object() -> None:
    assert ALIASES["float"] is ALIASES["float32"] is float32
    assert ALIASES["long"] is ALIASES["int64"] is int64
    assert set(ALIASES.values()) == set(DTYPES)


@pytest.mark.parametrize("each", DTYPES, ids=repr)
def test_pickles_and_copies_are_the_same_object(each: dtype) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(each, protocol)) is each
    assert copy.copy(each) is each
    assert copy.deepcopy([each])[0] is each


def test_dtypes_equal_nothing_but_themselves() -> None:
    assert len(set(DTYPES)) == len(DTYPES)
    assert all((a == b) == (a is b) for a, b in PAIRS)
    assert float32 != np.dtype(np.float32)
    others: list[Any] = [float, "float64", np.float64, None]
    assert float64 not in others


def test_dtypes_are_read_only(torch: ModuleType) -> None:
    assert error_of(setattr, float32, "itemsize", 8) == error_of(
        setattr, torch.float32, "itemsize", 8
    )
    with pytest.raises(AttributeError):
        del float32.name
    assert (float32.itemsize, float32.name) == (4, "float32")


# --- conversion ---


@pytest.mark.parametrize("kind", NUMBERS)
def test_python_types_are_dtypes(torch: ModuleType, kind: type) -> None:
    assert repr(to_dtype(kind)) == repr(torch.tensor(1, dtype=kind).dtype)


@pytest.mark.parametrize(
    "value",
    [np.float32, np.dtype("f4"), np.bool_, np.float64(1), "float32", None, str, 3, [], {}],
    ids=repr,
)
def test_what_is_no_dtype(torch: ModuleType, value: Any) -> None:
    assert error_of(finfo, value) == error_of(torch.finfo, value)
    assert error_of(promote_types, int8, value) == error_of(torch.promote_types, torch.int8, value)
    assert error_of(can_cast, value, int8) == error_of(torch.can_cast, value, torch.int8)


def test_the_argument_is_named() -> None:
    expected = r"^zeros\(\): argument 'dtype' must be torch.dtype, not str$"
    with pytest.raises(TypeError, match=expected):
        to_dtype("float32", "zeros(): argument 'dtype'")


def test_type_names_are_qualified_only_for_compiled_types() -> None:
    assert type_name(int) == "int"
    assert type_name(np.object_) == "numpy.object_"
    assert type_name(ModuleType) == "module"
    assert type_name(IntEnum) == "IntEnum"


@pytest.mark.parametrize("code", ["f4", "f8", "i1", "i2", "i4", "i8", "q", "l", "p", "u1", "?"])
def test_numpy_dtypes(torch: ModuleType, code: str) -> None:
    array = np.zeros(2, code)
    assert repr(from_numpy_dtype(array.dtype)) == repr(torch.from_numpy(array).dtype)


@pytest.mark.parametrize("code", ["O", "U3", "S3", "M8[s]", "m8[s]", "V4", "i4,f4", "g", ">M8[s]"])
def test_numpy_dtypes_that_no_tensor_holds(torch: ModuleType, code: str) -> None:
    array = np.zeros(2, code)
    ours, theirs = error_of(from_numpy_dtype, array.dtype), error_of(torch.from_numpy, array)
    assert ours[0] is theirs[0] is TypeError
    opening = "The only supported types are: "
    assert ours[1].partition(opening)[:2] == theirs[1].partition(opening)[:2]


def test_the_supported_types_are_listed() -> None:
    with pytest.raises(TypeError, match=r"float64, float32, int64, .*uint8, and bool.$"):
        from_numpy_dtype(np.dtype("c8"))


@pytest.mark.parametrize("code", ["f4", "f8", "i2", "i4", "i8"])
def test_foreign_byte_order(torch: ModuleType, code: str) -> None:
    array = np.zeros(2, np.dtype(code).newbyteorder())
    assert error_of(from_numpy_dtype, array.dtype) == error_of(torch.from_numpy, array)


# --- promotion ---


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=repr)
def test_pairs_promote_and_cast(torch: ModuleType, a: dtype, b: dtype) -> None:
    their_a, their_b = getattr(torch, a.name), getattr(torch, b.name)
    promoted = repr(torch.promote_types(their_a, their_b))
    assert repr(promote_types(a, b)) == repr(binary_result(a, b)) == promoted
    assert can_cast(a, b) == torch.can_cast(their_a, their_b)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(NUMBERS, repeat=2)))
def test_python_types_promote_and_cast(torch: ModuleType, a: Any, b: Any) -> None:
    assert repr(promote_types(a, b)) == repr(torch.promote_types(a, b))
    assert can_cast(a, b) == torch.can_cast(a, b)


@pytest.mark.usefixtures("each_default")
@pytest.mark.parametrize(("a", "b"), PAIRS, ids=repr)
def test_dimensions_outrank_zero_dimensions(torch: ModuleType, a: dtype, b: dtype) -> None:
    dims = torch.zeros(2, dtype=getattr(torch, a.name))
    zero_dim = torch.zeros((), dtype=getattr(torch, b.name))
    assert repr(result_of(a, b, None)) == repr(torch.result_type(dims, zero_dim))


@pytest.mark.usefixtures("each_default")
@pytest.mark.parametrize("each", DTYPES, ids=repr)
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_tensors_outrank_numbers(torch: ModuleType, each: dtype, scalar: Any) -> None:
    for shape, ours in {
        (2,): result_of(each, None, type(scalar)),
        (): result_of(None, each, type(scalar)),
    }.items():
        tensor = torch.zeros(shape, dtype=getattr(torch, each.name))
        assert repr(ours) == repr(torch.result_type(tensor, scalar)), shape


@pytest.mark.usefixtures("each_default")
def test_three_groups(torch: ModuleType) -> None:
    common = torch._prims_common
    kind = common.ELEMENTWISE_TYPE_PROMOTION_KIND.DEFAULT
    for dims, zero_dim, number in itertools.product(DTYPES, DTYPES, NUMBERS):
        _, theirs = common.elementwise_dtypes(
            torch.zeros(2, dtype=getattr(torch, dims.name)),
            torch.zeros((), dtype=getattr(torch, zero_dim.name)),
            NUMBERS[number],
            type_promotion_kind=kind,
        )
        ours = result_of(dims, zero_dim, number)
        assert repr(ours) == repr(theirs), (dims, zero_dim, number)


@pytest.mark.usefixtures("each_default")
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_scalars(torch: ModuleType, scalar: Any) -> None:
    assert repr(scalar_dtype(scalar)) == repr(torch.result_type(scalar, True))


@pytest.mark.parametrize("value", ["a", None, np.timedelta64(1, "s"), np.zeros(1)], ids=repr)
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        scalar_dtype(value)


# --- default dtype ---


@pytest.mark.usefixtures("each_default")
def test_default_dtype(torch: ModuleType) -> None:
    default = get_default_dtype()
    assert repr(default) == repr(torch.get_default_dtype())
    assert scalar_dtype(1.5) is default
    assert result_of(int64, None, float) is default
    assert finfo() == finfo(default)
    assert repr(finfo()) == repr(torch.finfo())
    assert to_dtype(float) is float64


@pytest.mark.parametrize("name", ["int32", "uint8", "bool"])
def test_default_dtype_must_be_floating_point(torch: ModuleType, name: str) -> None:
    assert error_of(set_default_dtype, ALIASES[name]) == error_of(
        torch.set_default_dtype, getattr(torch, name)
    )
    assert get_default_dtype() is float32


@pytest.mark.parametrize("value", [float, "float64", None, np.float64, 3], ids=repr)
def test_default_dtype_must_be_a_dtype(torch: ModuleType, value: object) -> None:
    assert error_of(set_default_dtype, value) == error_of(torch.set_default_dtype, value)
    assert get_default_dtype() is float32


# --- limits ---


def assert_same_limits(ours: finfo | iinfo, theirs: Any) -> None:
    """Every public attribute, its type and the printed form are equal."""
    attributes = [name for name in dir(theirs) if not name.startswith("_")]
    assert [name for name in dir(ours) if not name.startswith("_")] == attributes
    for name in attributes:
        mine, expected = getattr(ours, name), getattr(theirs, name)
        assert (type(mine), mine) == (type(expected), expected), name
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("each", FLOATS, ids=repr)
def test_finfo(torch: ModuleType, each: dtype) -> None:
    assert_same_limits(finfo(each), torch.finfo(getattr(torch, each.name)))


@pytest.mark.parametrize("each", INTEGERS, ids=repr)
def test_iinfo(torch: ModuleType, each: dtype) -> None:
    assert_same_limits(iinfo(each), torch.iinfo(getattr(torch, each.name)))


def test_limits_of_python_types(torch: ModuleType) -> None:
    assert_same_limits(finfo(type=float), torch.finfo(type=float))
    assert_same_limits(iinfo(type=int), torch.iinfo(type=int))


@pytest.mark.parametrize("each", [*INTEGERS, bool_], ids=repr)
def test_finfo_of_the_wrong_kind(torch: ModuleType, each: dtype) -> None:
    assert error_of(finfo, each) == error_of(torch.finfo, getattr(torch, each.name))


@pytest.mark.parametrize("each", [*FLOATS, bool_], ids=repr)
def test_iinfo_of_the_wrong_kind(torch: ModuleType, each: dtype) -> None:
    assert error_of(iinfo, each) == error_of(torch.iinfo, getattr(torch, each.name))


def test_limits_are_values(torch: ModuleType) -> None:
    assert finfo(float32) == finfo(float32) != finfo(float64)
    assert iinfo(uint8) != iinfo(int32)
    assert finfo(float32) != "float32"
    assert hash(iinfo(int8)) == hash(iinfo(int8))
    assert error_of(setattr, finfo(float32), "eps", 1.0) == error_of(
        setattr, torch.finfo(torch.float32), "eps", 1.0
    )
