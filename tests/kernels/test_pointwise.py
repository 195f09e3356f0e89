"""Every primitive for every dtype at the edges, and every layout that an operand may have."""

import itertools
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numtorch_kernels import Pointwise, get_num_threads, set_num_threads
from numtorch_kernels import symbols as s
from numtorch_kernels.drive import GRAIN
from numtorch_kernels.expression import PRIMITIVES, Expr, cast, render, substituted, symbol
from numtorch_kernels.intrinsics import BLOCK
from numtorch_kernels.pointwise import launch, run

Array = np.ndarray[Any, Any]

DTYPES = [np.dtype(code) for code in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")]
BINARY = {
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "copysign", "div", "eq", "floor_divide", "fmod", "ge", "gt", "le", "lt",
    "maximum", "minimum", "mul", "ne", "pow", "remainder", "sub", "trunc_divide",
}  # fmt: skip
DIVISIONS = {"floor_divide", "trunc_divide", "remainder", "fmod"}
EXACT = {
    "abs", "bitwise_not", "ceil", "floor", "neg", "round", "sign", "sqrt", "trunc", *BINARY,
} - {"atan2", "pow"}  # fmt: skip
BEYOND_TORCH = {("sub", "b"), ("abs", "b")}  # defined here, refused by PyTorch's functions


def edges(dtype: np.dtype[Any]) -> Array:
    """Values at and around all that is special for a dtype."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "f":
        info = np.finfo(dtype)
        ends = [info.max, info.tiny, info.smallest_subnormal, np.inf, 1e10, 1e-10]
        near = [0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.0, 1e3, 16777217.0, 123456.789]
        values = np.array([*near, *ends], dtype)
        return np.concatenate([values, -values, np.array([np.nan], dtype)])
    limits = np.iinfo(dtype)
    near = np.arange(max(limits.min, -10), 11)
    wide = [limits.min, limits.min + 1, limits.max // 3, limits.max - 1, limits.max]
    wide += [31, 32, 63, 64, 100]
    return np.unique(np.concatenate([near, wide]).astype(dtype))


def defined(name: str, dtype: np.dtype[Any]) -> bool:
    try:
        PRIMITIVES[name].template(name, dtype)
    except TypeError:
        return False
    return True


def expected(torch: ModuleType, name: str, *operands: Array) -> Array:
    """What PyTorch gives."""
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in operands]
    if name in ("trunc_divide", "floor_divide"):
        mode = name.split("_", maxsplit=1)[0]
        return torch.div(*tensors, rounding_mode=mode).numpy()
    if name.startswith("erf"):
        return getattr(torch.special, name)(*tensors).numpy()
    return getattr(torch, name)(*tensors).numpy()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_edges_as_pytorch(name: str, dtype: np.dtype[Any], oracle: ModuleType) -> None:
    if name == "div" and dtype.kind != "f":
        assert s.div(edges(dtype), edges(dtype)).dtype == np.float32
    elif not defined(name, dtype):
        with pytest.raises(TypeError, match=f"{name} is not defined for {dtype.name}"):
            getattr(s, name)(*[edges(dtype)] * (2 if name in BINARY else 1))
    elif (name, dtype.kind) in BEYOND_TORCH:
        values = edges(dtype)
        operation = {"sub": np.bitwise_xor, "abs": np.copy}[name]
        operands = [values, values[::-1]][: 2 if name in BINARY else 1]
        np.testing.assert_array_equal(getattr(s, name)(*operands), operation(*operands))
    else:
        compare(oracle, name, dtype)


def compare(oracle: ModuleType, name: str, dtype: np.dtype[Any]) -> None:
    values = edges(dtype)
    operands = [values]
    if name in BINARY:
        a, b = np.meshgrid(values, values, indexing="ij")
        if name in DIVISIONS and dtype.kind in "iu":  # where PyTorch raises, or dies
            keep = (b != 0) & ((a != np.iinfo(dtype).min) | (b.astype(int) != -1))
            a, b = a[keep], b[keep]
        elif name in DIVISIONS:  # PyTorch's gives up where the quotient overflows
            with np.errstate(all="ignore"):
                keep = np.isfinite(a / b) | ~np.isfinite(a) | (b == 0) | np.isnan(b)
            a, b = a[keep], b[keep]
        operands = [a.ravel(), b.ravel()]
    actual = getattr(s, name)(*operands)
    wanted = expected(oracle, name, *operands)
    assert actual.dtype == wanted.dtype
    if name in EXACT or dtype.kind != "f":
        np.testing.assert_array_equal(actual, wanted)
        if dtype.kind == "f" and actual.dtype.kind == "f" and name not in ("minimum", "maximum"):
            number = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(actual)[number], np.signbit(wanted)[number])
    else:
        info = np.finfo(dtype)
        np.testing.assert_allclose(actual, wanted, rtol=4 * info.eps, atol=info.smallest_subnormal)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind in "iu"], ids=str)
def test_integer_divisions_that_would_trap(dtype: np.dtype[Any]) -> None:
    values = edges(dtype)
    for name in sorted(DIVISIONS):
        np.testing.assert_array_equal(getattr(s, name)(values, np.zeros_like(values)), 0)
    if dtype.kind == "i":
        lowest, minus_one = np.iinfo(dtype).min, np.full(3, -1, dtype)
        for name in sorted(DIVISIONS):
            wanted = lowest if "divide" in name else 0
            assert set(getattr(s, name)(np.full(3, lowest, dtype), minus_one)) == {wanted}


@pytest.mark.parametrize("source", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_casts_as_pytorch(source: np.dtype[Any], target: np.dtype[Any], oracle: ModuleType) -> None:
    values = np.repeat(edges(source), 7)
    actual = Pointwise(lambda x: cast(x, target))(values)
    wanted = oracle.from_numpy(values).to(getattr(oracle, target.name)).numpy()
    assert actual.dtype == target
    np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_where(dtype: np.dtype[Any]) -> None:
    values = edges(dtype)
    condition = np.arange(values.size) % 3 == 0
    other = values[::-1]
    np.testing.assert_array_equal(
        s.where(condition, values, other), np.where(condition, values, other)
    )


def test_bool_bytes_other_than_one_are_true() -> None:
    odd = np.array([0, 1, 2, 255], np.uint8).view(np.bool_)
    np.testing.assert_array_equal(s.bitwise_not(odd).view(np.uint8), [1, 0, 0, 0])
    np.testing.assert_array_equal(s.bitwise_or(odd, odd).view(np.uint8), [0, 1, 1, 1])
    np.testing.assert_array_equal(s.eq(odd, np.array(True)), [False, True, True, True])


def layouts(x: Array) -> dict[str, Array]:
    """The matrix in every layout that memory may have."""
    wide = np.zeros((x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[:, 1::3] = x
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "contiguous": x,
        "transposed": np.asfortranarray(x),
        "strided": wide[:, 1::3],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "reversed rows": x[::-1].copy()[::-1],
        "unaligned": unaligned,
        "swapped": x.astype(x.dtype.newbyteorder()),
        "locked": locked,
    }


def broadcasts(x: Array) -> dict[str, Array]:
    """Operands of fewer elements that broadcast to the matrix's shape."""
    return {
        "row": x[:1],
        "vector": x[0],
        "column": x[:, :1],
        "one": x[:1, :1],
        "scalar": x[0, 0, ...],
        "expanded": np.broadcast_to(x[:1], x.shape),
    }


SHAPES = [(3, 5), (1, BLOCK), (2, BLOCK + 1), (700, 3), (3, GRAIN // 2), (201, 301)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts_of_inputs(shape: tuple[int, int]) -> None:
    a = np.random.standard_normal(shape).astype(np.float32)
    b = np.random.standard_normal(shape).astype(np.float32)
    left, right = layouts(a), layouts(b) | broadcasts(b)
    for (one, x), (two, y) in itertools.product(left.items(), right.items()):
        np.testing.assert_array_equal(s.sub(x, y), a - np.asarray(y, "f4"), f"{one}, {two}")
        np.testing.assert_array_equal(s.lt(y, x), np.asarray(y, "f4") < a, f"{two}, {one}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts_of_out(shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    a = (np.random.standard_normal(shape) * 100).astype(dtype)
    operation = Pointwise(s.maximum)
    wanted = np.maximum(a, a[0])
    for name, out in layouts(np.zeros_like(a)).items():
        if name != "locked":
            assert operation(a, a[0], out=out) is out
            np.testing.assert_array_equal(out, wanted, name)


add = Pointwise(lambda a, b: a + b)


def test_locked_out_is_refused() -> None:
    for size in (3, 2 * GRAIN):
        out = np.zeros(size, np.float32)
        out.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            add(np.ones(size, np.float32), np.ones(size, np.float32), out=out)
        assert not out.any()


@pytest.mark.parametrize("size", [5, BLOCK + 3, 3 * GRAIN + 1])
def test_out_may_overlap_inputs(size: int) -> None:
    start = np.random.standard_normal(2 * size + 1).astype(np.float32)
    for cut in (slice(0, size), slice(1, size + 1), slice(size, 0, -1), slice(0, 2 * size, 2)):
        memory = start.copy()
        x, out = memory[:size], memory[cut]
        wanted = x + 2 * out
        Pointwise(lambda a, b: a + 2 * b)(x, out, out=out)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("n", [3, 300])
def test_out_may_be_the_transposed_input(n: int) -> None:
    x = np.random.standard_normal((n, n))
    wanted = x + x.T
    add(x, x.T, out=x)
    np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, GRAIN - 1, GRAIN, GRAIN + 1])
def test_sizes(size: int) -> None:
    a, b = np.random.standard_normal((2, size)).astype(np.float32)
    np.testing.assert_array_equal(s.mul(a, b), a * b)
    np.testing.assert_array_equal(s.mul(a[::-1], b), a[::-1] * b)
    np.testing.assert_array_equal(s.mul(np.repeat(a, 2)[::2], np.float32(3)), a * np.float32(3))


def test_zero_dimensional_and_empty() -> None:
    half = np.array(0.5, np.float32)
    result = s.add(half, half)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype, result.item()) == ((), np.float32, 1.0)
    assert s.add(np.zeros((0, 3)), np.zeros((1, 3))).shape == (0, 3)
    assert s.add(np.zeros((2, 0, 3)), np.zeros((2, 1, 1))).shape == (2, 0, 3)


def test_shapes_that_do_not_broadcast() -> None:
    for size in (3, GRAIN):
        with pytest.raises(ValueError, match="broadcast"):
            s.add(np.zeros((2, size)), np.zeros((size + 1,)))


@st.composite
def broadcastable(draw: st.DrawFn) -> list[Array]:
    """Arrays whose shapes broadcast, with axes swapped, reversed and skipped."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=6))
    arrays = []
    for shape in shapes.input_shapes:
        order = draw(st.permutations(range(len(shape))))
        steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in shape]
        memory = np.random.standard_normal([shape[k] * abs(steps[k]) for k in order])
        array = memory.transpose(np.argsort(order))
        arrays.append(array[tuple(slice(None, None, step) for step in steps)])
    return arrays


@given(broadcastable())
def test_any_strides(arrays: list[Array]) -> None:
    a, b, c = arrays
    loop = Pointwise(lambda x, y, z: x * y - z).loop((a.dtype,) * 3)
    np.testing.assert_array_equal(launch(loop, [a, b, c]), a * b - c)
    np.testing.assert_array_equal(run(loop, [a, b, c]), a * b - c)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_for_any_number_of_threads(threads: int) -> None:
    before = get_num_threads()
    x = np.random.standard_normal((37, 4001)).astype(np.float32)
    operation = Pointwise(lambda a, b: s.tanh(a) * s.exp(b) + a)
    wanted = np.concatenate([operation(row, x[0]) for row in x]).reshape(x.shape)
    try:
        set_num_threads(threads)
        for layout in layouts(x).values():
            assert np.array_equal(operation(layout, x[0]), wanted)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("size", [3, 2 * GRAIN])
def test_no_warnings(size: int) -> None:
    zero, huge = np.zeros(size, np.float32), np.full(size, 3e38, np.float32)
    assert np.isinf(s.div(zero + 1, zero)).all()
    assert np.isnan(s.div(zero, zero)).all()
    assert np.isinf(s.mul(huge, huge)).all()
    assert np.isnan(s.sqrt(zero - 1)).all()
    assert np.isnan(s.fmod(huge * 0 + np.float32(np.inf), huge)).all()
    assert (s.exp(-huge) == 0).all()
    assert s.floor_divide(zero + 1, zero)[0] == np.inf
    assert s.pow(zero, zero - 1)[0] == np.inf


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_and_far_operands_of_one_block(name: str, dtype: Any) -> None:
    x = np.linspace(-5, 5, 3 * BLOCK).astype(dtype)
    x[[7, BLOCK + 3]] = 1e12, np.inf
    wave = Pointwise(lambda a: getattr(s, name)(a * 2), name)
    alone = np.concatenate([wave(x[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(wave(x), alone)
    np.testing.assert_array_equal(wave(x.reshape(3, -1).T), alone.reshape(3, -1).T)
    np.testing.assert_array_equal(wave(x, out=x), alone)


def test_several_outputs() -> None:
    both = Pointwise(lambda a, b: (a + b, a < b, a * b))
    for size in (4, 2 * GRAIN):
        a, b = np.random.standard_normal((2, size)).astype(np.float32)
        total, less, product = both(a, b)
        np.testing.assert_array_equal(total, a + b)
        np.testing.assert_array_equal(less, a < b)
        np.testing.assert_array_equal(product, a * b)


def test_results_keep_the_order_of_their_inputs_in_memory() -> None:
    x = np.zeros((200, 300), np.float32)
    for order in (x, x.T, np.zeros((20, 30, 100), np.float32).transpose(1, 2, 0)):
        assert s.exp(order).strides == order.strides


def test_equal_expressions_share_a_loop() -> None:
    one = Pointwise(lambda a, b: a * b + 1).loop((np.dtype("f4"),) * 2)
    two = Pointwise(lambda x, y: x * y + 1).loop((np.dtype("f4"),) * 2)
    assert one is two


def test_an_expression_may_be_deeper_than_python_recurses() -> None:
    def chain(x: Expr) -> Expr:
        for _ in range(2 * sys.getrecursionlimit()):
            x = x * 0.5 + 1
        return x

    x, y = (symbol(i, np.dtype("f8")) for i in range(2))
    (replaced,) = substituted([chain(x)], {x.key: y})
    assert replaced.key == chain(y).key
    lines, (result,) = render([replaced])
    assert len(lines) == 4 * sys.getrecursionlimit()
    assert lines[0] == "t0 = x1 * float64(0.5)"
    assert lines[-1].startswith(f"{result} = ")
