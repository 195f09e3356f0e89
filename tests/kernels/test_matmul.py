"""Matrix products: every path and tile edge against NumPy, exact where integers are."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from numtorch_kernels import get_num_threads, set_num_threads
from numtorch_kernels import matmul as module
from numtorch_kernels.matmul import dot, linear, matmul, mm, mv, outer

Array = np.ndarray[Any, Any]

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def threads() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


def small_integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Values whose products and sums every float dtype holds exactly, so results must be equal."""
    low = 0 if dtype == "uint8" else -4
    return rng.integers(low, 5, shape).astype(dtype)


def layouts(x: Array) -> Iterator[tuple[str, Array]]:
    """The same matrix with other strides."""
    yield "rows", x
    yield "columns", np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    yield "reversed", np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    spaced = np.full((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), 77, x.dtype)
    spaced[..., ::2, ::3] = x
    yield "spaced", spaced[..., ::2, ::3]


def exact(a: Array, b: Array) -> Array:
    """The product modulo 2 ** 64, or in float64, cast to the operands' dtype."""
    wide = "float64" if a.dtype.kind == "f" else "int64"
    return np.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)


def check(a: Array, b: Array) -> None:
    result = matmul(a, b)
    expected = exact(a, b)
    assert result.dtype == a.dtype
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_around_tile_edges(rng: np.random.Generator, dtype: str) -> None:
    for m in (1, 2, 5, 6, 7, 13):
        for n in (1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 65, 129):
            for k in (0, 1, 3, 17):
                check(small_integers(rng, (m, k), dtype), small_integers(rng, (k, n), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [255, 256, 257, 513])
def test_depths_around_block_edges(rng: np.random.Generator, dtype: str, k: int) -> None:
    for m, n in [(7, 33), (1, 20), (20, 1)]:
        check(small_integers(rng, (m, k), dtype), small_integers(rng, (k, n), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(13, 40, 37), (1, 40, 37), (13, 40, 1), (130, 300, 70)])
def test_strides(rng: np.random.Generator, dtype: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    for _, a in layouts(small_integers(rng, (m, k), dtype)):
        for _, b in layouts(small_integers(rng, (k, n), dtype)):
            check(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(373, 300, 70), (6, 257, 129), (361, 256, 63), (20, 700, 300)])
def test_packed(
    rng: np.random.Generator,
    dtype: str,
    shape: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PACKED", 0)
    m, k, n = shape
    for _, a in layouts(small_integers(rng, (m, k), dtype)):
        for _, b in layouts(small_integers(rng, (k, n), dtype)):
            result = np.full((m, n), 99, dtype)
            module._share(a, b, result)
            np.testing.assert_array_equal(result, exact(a, b))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("packed", [0, 1 << 60])
def test_a_bias_is_added_to_shared_products(
    rng: np.random.Generator, dtype: str, packed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SERIAL", 1)
    monkeypatch.setattr(module, "PACKED", packed)
    x, weight = rng.standard_normal((130, 300)) * 9, rng.standard_normal((70, 300)) * 9
    x, weight = x.astype(dtype), weight.astype(dtype)
    numbers = np.arange(140).astype(dtype)
    for bias in (numbers[:70], numbers[::2], numbers[:1], numbers[None, :70]):
        for rows in (x, np.asfortranarray(x), x.reshape(2, 65, 300)):
            expected = matmul(rows, weight.T) + bias
            np.testing.assert_array_equal(linear(rows, weight, bias), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_paths_agree_in_every_bit(
    rng: np.random.Generator, dtype: str, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in [(301, 530), (530, 211)])
    small = np.concatenate([matmul(row, b) for row in np.array_split(a, 40)])
    for serial, packed in [(1, 1), (1, 1 << 60), (1 << 60, 1 << 60)]:
        monkeypatch.setattr(module, "SERIAL", serial)
        monkeypatch.setattr(module, "PACKED", packed)
        for count in (1, 2):
            set_num_threads(count)
            np.testing.assert_array_equal(matmul(a, b), small)
            transposed = matmul(np.asfortranarray(a), np.asfortranarray(b))
            np.testing.assert_array_equal(transposed, small)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((700, 700), (700, 700)),
        ((50000, 16), (16, 16)),
        ((16, 64), (64, 20000)),
        ((40, 90, 90), (40, 90, 90)),
        ((3000, 2000), (2000,)),
        ((2000,), (2000, 3000)),
        ((200003,), (200003,)),
        ((1, 100000), (100000, 3)),
    ],
)
def test_threads_give_equal_bits(
    rng: np.random.Generator,
    dtype: str,
    a_shape: tuple[int, ...],
    b_shape: tuple[int, ...],
    threads: None,
) -> None:
    a, b = ((8 * rng.standard_normal(shape)).astype(dtype) for shape in (a_shape, b_shape))
    results = []
    for count in (1, 2):
        set_num_threads(count)
        results.append(matmul(a, b))
    np.testing.assert_array_equal(*results)
    expected = np.matmul(a.astype("float64"), b.astype("float64"))
    magnitude = np.matmul(np.abs(a).astype("float64"), np.abs(b).astype("float64"))
    bound = {"float32": 1e-6, "float64": 1e-14, "int32": 0.0}[dtype]
    assert (np.abs(results[0] - expected) <= bound * magnitude).all()


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((5, 3, 4), (5, 4, 6)),
        ((5, 3, 4), (4, 6)),
        ((3, 4), (5, 4, 6)),
        ((2, 1, 3, 4), (7, 4, 6)),
        ((4,), (5, 4, 6)),
        ((5, 3, 4), (4,)),
        ((2, 5, 1, 4), (5, 4, 6)),
        ((2, 5, 3, 4), (5, 4, 1)),
        ((2, 1, 200, 120), (3, 120, 110)),
        ((0, 3, 4), (4, 6)),
        ((0, 3), (3, 2)),
        ((3, 2), (2, 0)),
        ((3, 0), (0, 2)),
        ((0,), (0,)),
        ((0,), (0, 3)),
        ((3, 0), (0,)),
        ((3, 0, 2), (3, 2, 4)),
    ],
)
def test_batches_vectors_and_empties(
    rng: np.random.Generator, a_shape: tuple[int, ...], b_shape: tuple[int, ...]
) -> None:
    check(small_integers(rng, a_shape, "float32"), small_integers(rng, b_shape, "float32"))


def test_broadcast_operands_have_no_strides(rng: np.random.Generator) -> None:
    row = small_integers(rng, (1, 30), "float64")
    check(np.broadcast_to(row, (50, 30)), np.broadcast_to(row.T, (30, 40)))
    check(np.broadcast_to(row.T[:1], (1, 700)), np.broadcast_to(row[0, 1], (700, 40)))
    matrices = np.broadcast_to(small_integers(rng, (90, 90), "float64"), (20, 90, 90))
    check(matrices, matrices)


@pytest.mark.parametrize("size", [9, 300])
def test_out_of_any_strides(rng: np.random.Generator, size: int) -> None:
    a, b = (small_integers(rng, (size, size), "float32") for _ in range(2))
    for _, out in layouts(np.zeros((size, size), "float32")):
        assert matmul(a, b, out) is out
        np.testing.assert_array_equal(out, exact(a, b))
    vector = np.zeros(3 * size, "float32")[::3]
    assert mv(a, b[0], vector) is vector
    np.testing.assert_array_equal(vector, exact(a, b[0]))


def test_read_only_and_unaligned_operands(rng: np.random.Generator) -> None:
    a = small_integers(rng, (300, 200), "float32")
    a.flags.writeable = False
    check(a, a.T)
    records = np.zeros((300, 200), np.dtype([("flag", "i1"), ("x", "f4")]))
    records["x"] = a
    check(records["x"], a.T)
    check(records["x"], a[0])
    check(a[:5], records["x"].T)
    check(a.astype(">f4").astype("f4"), a.T)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8"])
def test_integers_wrap(rng: np.random.Generator, dtype: str) -> None:
    info = np.iinfo(dtype)
    for m, k, n in [(7, 300, 33), (20, 40, 1), (1, 5000, 1), (130, 120, 110)]:
        a, b = (rng.integers(info.min, info.max, s, dtype, True) for s in [(m, k), (k, n)])
        check(a, b)


@pytest.mark.parametrize("shape", [(64, 784, 256), (300, 3000, 40), (900, 600, 700)])
def test_accuracy_of_float32(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b = (rng.standard_normal(s).astype("float32") for s in [(m, k), (k, n)])
    expected = a.astype("float64") @ b.astype("float64")
    chains = np.zeros((m, n), "float32")
    for p in range(k):
        chains = chains + np.outer(a[:, p], b[p])
    error, naive = (np.abs(x - expected).max() for x in (matmul(a, b), chains))
    assert error <= naive
    magnitude = np.abs(a).astype("float64") @ np.abs(b).astype("float64")
    assert (np.abs(matmul(a, b) - expected) <= 1e-6 * magnitude).all()


def test_accuracy_of_a_long_dot(rng: np.random.Generator) -> None:
    a, b = (rng.random(1 << 20).astype("float32") for _ in range(2))
    expected = np.dot(a.astype("float64"), b.astype("float64"))
    assert abs(dot(a, b) - expected) / expected < 2e-7


def test_infinities_and_nans_stay_where_they_are(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal(s).astype("float32") for s in [(20, 300), (300, 45)])
    a[3, 7], a[5, 299], b[10, 44] = np.nan, np.inf, -np.inf
    result = matmul(a, b)
    assert np.isnan(result[3]).all()
    assert np.isinf(result[5, :44]).all()
    others = np.delete(result, [3, 5], 0)
    assert np.isfinite(others[:, :44]).all()
    assert np.isinf(others[:, 44]).all()


def test_thin_forms(rng: np.random.Generator) -> None:
    a, b = small_integers(rng, (7, 5), "int64"), small_integers(rng, (5, 9), "int64")
    np.testing.assert_array_equal(mm(a, b), a @ b)
    np.testing.assert_array_equal(mv(a, b[:, 0]), a @ b[:, 0])
    np.testing.assert_array_equal(outer(a[0], b[0]), np.outer(a[0], b[0]))
    assert dot(a[0], b[:, 0]).shape == ()
    assert dot(a[0], b[:, 0]) == a[0] @ b[:, 0]
    x = small_integers(rng, (2, 3, 5), "float32")
    weight, bias = small_integers(rng, (4, 5), "float32"), small_integers(rng, (4,), "float32")
    np.testing.assert_array_equal(linear(x, weight, bias), x @ weight.T + bias)
    np.testing.assert_array_equal(linear(x[0, 0], weight), x[0, 0] @ weight.T)


def test_same_results_as_torch(rng: np.random.Generator, oracle: ModuleType) -> None:
    for dtype in DTYPES:
        a, b = small_integers(rng, (3, 20, 70), dtype), small_integers(rng, (70, 33), dtype)
        expected = oracle.matmul(oracle.from_numpy(a), oracle.from_numpy(b)).numpy()
        np.testing.assert_array_equal(matmul(a, b), expected)


@pytest.mark.parametrize("shape", [module.block_shape, module.packed_shape])
def test_blocks_cover_the_result_once(shape: Any) -> None:
    for m, n in [(1, 5000), (64, 256), (360, 360), (2048, 100), (5000, 5000), (7, 7)]:
        for workers in (1, 2, 3, 16):
            rows, columns = shape(m, n, workers)
            assert rows % module.ROWS == 0
            assert 0 < rows <= module.BLOCK_ROWS
            assert columns > 0


@pytest.mark.parametrize(
    ("m", "n", "expected"),
    [
        (512, 512, (258, 512)),  # two blocks down: B is copied twice, A once
        (256, 512, (258, 256)),  # two across
        (1000, 1000, (252, 1024)),  # four of them: three would leave one worker idle
        (2048, 2048, (342, 2048)),
    ],
)
def test_packed_blocks_are_shared_evenly_and_copied_least(
    m: int, n: int, expected: tuple[int, int]
) -> None:
    assert module.packed_shape(m, n, 2) == expected


def test_the_small_path_compiles_no_large_kernel(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(module, "task", refuse)
    check(small_integers(rng, (50, 2), "float32"), small_integers(rng, (2, 1), "float32"))
    check(small_integers(rng, (16, 16), "float32"), small_integers(rng, (16, 16), "float32"))
