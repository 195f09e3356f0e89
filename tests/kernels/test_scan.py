"""Running totals and extremes: PyTorch's results for every layout."""

import numpy as np
import pytest

from numtorch_kernels import scan

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
FLOATS = ["float32", "float64"]
SHAPES = [(), (1,), (12,), (3, 4), (700, 5), (5, 700), (2, 3, 40, 5), (0, 3), (3, 0)]
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def samples(shape, dtype):
    if dtype == "bool":
        return [np.asarray(np.random.rand(*shape) > 0.5)]
    if dtype not in FLOATS:
        return [np.asarray(np.random.randint(0, 9, shape)).astype(dtype)]
    x = np.asarray(np.random.randn(*shape) * 3).astype(dtype)
    special = np.array(x)
    special[np.random.rand(*shape) < 0.1] = -np.inf
    special[np.random.rand(*shape) < 0.01] = np.inf
    broken = np.array(x)
    broken[np.random.rand(*shape) < 0.05] = np.nan
    return [x, special, broken]


def cases(dtype):
    for shape in SHAPES:
        for x in samples(shape, dtype):
            yield from ((x, axis) for axis in range(max(1, x.ndim)) if x.ndim)
            for y in (np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::-2]) if x.ndim else ():
                yield from ((y, axis) for axis in range(y.ndim))


def same(ours, theirs, tolerance=0.0):
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_totals(oracle, dtype, name):
    for x, axis in cases(dtype):
        expected = getattr(oracle.from_numpy(x.copy()), name)(axis)
        same(getattr(scan, name)(x, axis), expected, TOLERANCE.get(dtype, 0.0))


def test_totals_in_another_dtype(oracle):
    x = np.random.randint(0, 9, (40, 50))
    wanted = np.dtype(np.float32)
    expected = oracle.from_numpy(x).cumsum(1, dtype=oracle.float32)
    same(scan.cumsum(x, 1, wanted), expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_logcumsumexp(oracle, dtype):
    for x, axis in cases(dtype):
        expected = oracle.from_numpy(x.copy()).logcumsumexp(axis)
        same(scan.logcumsumexp(x, axis), expected, 2 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_extremes(oracle, dtype, name):
    for x, axis in cases(dtype):
        if x.size:
            values, indices = getattr(scan, name)(x, axis)
            expected = getattr(oracle, name)(oracle.from_numpy(x.copy()), axis)
            same(values, expected.values)
            same(indices, expected.indices)


def test_float32_sums_are_rounded_once():
    x = np.random.rand(100_000).astype(np.float32)
    np.testing.assert_array_equal(scan.cumsum(x, 0), x.cumsum(dtype=np.float64).astype(np.float32))


def test_threads_change_no_bit(thread_counts):
    x = np.random.randn(700, 400).astype(np.float32)
    for axis in range(2):
        found = [scan.logcumsumexp(x, axis).tobytes() for _ in thread_counts()]
        assert found[0] == found[1]
