"""Reductions: NumPy's and PyTorch's results over every set of axes, accurate and reproducible."""

import math
from itertools import combinations

import numpy as np
import pytest

from numtorch_kernels import reduce
from numtorch_kernels.costs import SHARED
from numtorch_kernels.reduction import LIMIT, ROW_LIMIT

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
FLOATS = ["float32", "float64"]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
SHAPES = [(), (1,), (12,), (1025,), (3, 4, 5), (1, 5, 1), (70, 600), (2, 3, 130, 7), (3, 0)]
STAGED = [  # reduced in several stages
    (SHARED,),
    (ROW_LIMIT + 1,),
    (3, ROW_LIMIT + 5),
    (2 * LIMIT + 5, 3),
    (205, 200),
    (300, 3, 50),
]


def sample(shape, dtype):
    if dtype == "bool":
        return np.asarray(np.random.rand(*shape) > 0.3)
    if dtype.startswith("float"):
        return np.asarray(np.random.randn(*shape) * 3).astype(dtype)
    limits = np.iinfo(dtype)
    return np.asarray(np.random.randint(limits.min, limits.max, shape, dtype))


def layouts(x):
    """The array laid out in several ways: C, Fortran, strided, backwards, broadcast, read-only."""
    yield x
    if x.ndim:
        yield np.asfortranarray(x)
        yield np.repeat(x, 2, -1)[..., ::-2]
        yield np.broadcast_to(x[..., :1], x.shape)
        fixed = x[::-1].copy()
        fixed.flags.writeable = False
        yield fixed


def cases(dtype, shapes=SHAPES):
    """Arrays, and every set of axes that leaves something to reduce."""
    for shape in shapes:
        for x in layouts(sample(shape, dtype)):
            for size in range(min(1, x.ndim), x.ndim + 1):
                for axes in combinations(range(x.ndim), size):
                    yield x, axes


def check(ours, theirs, dtype, tolerance=0.0, scale=None):
    """Check shape, dtype and values; errors relative to ``scale``, by default to each value."""
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == dtype
    if scale is None:
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=0)
    else:
        assert (np.abs(ours - theirs) <= tolerance * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum(dtype):
    for x, axes in cases(dtype, SHAPES + STAGED):
        for keepdims in (False, True):
            found = reduce.sum(x, axes, keepdims)
            if dtype in FLOATS:
                exact = x.astype(np.longdouble).sum(axes, keepdims=keepdims)
                scale = np.abs(x.astype(np.float64)).sum(axes, keepdims=keepdims)
                check(found, exact, dtype, TOLERANCE[dtype], scale)
            else:
                check(found, x.sum(axes, np.int64, keepdims=keepdims), "int64")


@pytest.mark.parametrize(
    ("source", "target"), [("int64", "float32"), ("float32", "float64"), ("bool", "int32")]
)
def test_sum_in_another_dtype(source, target):
    x = np.random.randint(0, 2, (300, 40)).astype(source)
    for axes in [(0,), (1,), (0, 1)]:
        check(reduce.sum(x, axes, dtype=np.dtype(target)), x.sum(axes), target)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prod(dtype):
    for x, axes in cases(dtype, [(), (12,), (3, 4, 5), (3, 0), (40, 3)]):
        found = reduce.prod(x, axes)
        if dtype in FLOATS:
            check(found, x.prod(axes), dtype, 20 * TOLERANCE[dtype])
        else:
            check(found, x.prod(axes, np.int64), "int64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(dtype):
    for x, axes in cases(dtype, SHAPES[:-1]):
        check(reduce.amax(x, axes), x.max(axes), dtype)
        check(reduce.amin(x, axes, True), x.min(axes, keepdims=True), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(100,), (40000,), (300, 40), (40, 300), (9000, 3)])
def test_extremes_of_nan(dtype, shape):
    x = sample(shape, dtype)
    x[np.random.rand(*shape) < 0.01] = np.nan
    x[np.random.rand(*shape) < 0.01] = -np.inf
    for axis in range(x.ndim):
        check(reduce.amax(x, (axis,)), x.max(axis), dtype)
        check(reduce.amin(x, (axis,)), x.min(axis), dtype)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8", "bool"])
def test_truth(dtype):
    for x, axes in cases(dtype):
        check(reduce.any(x, axes), x.any(axes), "bool")
        check(reduce.all(x, axes, True), x.all(axes, keepdims=True), "bool")
        check(reduce.count_nonzero(x, axes), np.asarray(np.count_nonzero(x, axes)), "int64")
    for x in (np.zeros((40, 50), dtype), np.full((40, 50), np.nan).astype("float32")):
        for axes in [(0,), (1,), (0, 1)]:
            check(reduce.any(x, axes), x.any(axes), "bool")


@pytest.mark.parametrize("dtype", FLOATS)
def test_mean(dtype):
    for x, axes in cases(dtype, SHAPES[:-1]):
        exact = x.astype(np.longdouble).mean(axes)
        check(reduce.mean(x, axes), exact, dtype, TOLERANCE[dtype], np.abs(x).mean(axes))


@pytest.mark.parametrize("dtype", FLOATS)
def test_spread(dtype):
    for data, axes in cases(dtype, [(12,), (3, 4, 5), (70, 600), (2, 3, 130, 7), (9000, 2)]):
        x = data + 1000
        n = math.prod(x.shape[axis] for axis in axes)
        exact = x.astype(np.longdouble)
        deviations = exact - exact.mean(axes, keepdims=True)
        blur = (8 * 1000 * np.finfo(dtype).eps) ** 2  # of the mean, which is rounded
        for correction in (0, 1, 0.5):
            expected = (deviations**2).sum(axes) / (n - correction)
            tolerance = 10 * TOLERANCE[dtype]
            check(reduce.var(x, axes, correction), expected, dtype, 1, tolerance * expected + blur)
            expected = expected**0.5
            scale = tolerance * expected + blur**0.5
            check(reduce.std(x, axes, correction), expected, dtype, 1, scale)
        var, mean = reduce.var_mean(x, axes, keepdims=True)
        np.testing.assert_array_equal(var, reduce.var(x, axes, keepdims=True))
        np.testing.assert_array_equal(mean, reduce.mean(x, axes, keepdims=True))
        std, mean = reduce.std_mean(x, axes)
        np.testing.assert_array_equal(std, reduce.std(x, axes))
        np.testing.assert_array_equal(mean, reduce.mean(x, axes))


def test_spread_without_freedom():
    x = np.array([[1.0, 1.0], [2.0, 3.0]])
    np.testing.assert_array_equal(reduce.var(x, (1,), 2), [np.nan, np.inf])
    np.testing.assert_array_equal(reduce.var(x, (1,), 5), [np.nan, np.inf])
    assert np.isnan(reduce.mean(np.empty((0,)), (0,)))


def exact_norm(x, p, axes):
    """The norm in extended precision."""
    size = np.abs(x.astype(np.longdouble))
    if p == 0:
        return np.count_nonzero(x, axes).astype(np.float64)
    if np.isinf(p):
        return (size.max if p > 0 else size.min)(axes).astype(np.float64)
    return ((size**p).sum(axes) ** (1 / np.longdouble(p))).astype(np.float64)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, 0.5, -1.0, math.inf, -math.inf])
def test_norm(oracle, dtype, p):
    for x, axes in cases(dtype, [(12,), (3, 4, 5), (70, 600), (2, 3, 130, 7)]):
        check(reduce.norm(x, axes, p), exact_norm(x, p, axes), dtype, 10 * TOLERANCE[dtype])
        given = oracle.linalg.vector_norm(oracle.from_numpy(x.astype("float64")), p, axes).numpy()
        check(given, exact_norm(x, p, axes), "float64", 1e-12)  # PyTorch's own sums drift further


@pytest.mark.parametrize("dtype", FLOATS)
def test_logsumexp(oracle, dtype):
    for data, axes in cases(dtype, [(12,), (3, 4, 5), (70, 600), (2, 3, 130, 7), (3, 0)]):
        x = data * 100
        expected = oracle.logsumexp(oracle.from_numpy(x.astype("float64")), axes).numpy()
        check(reduce.logsumexp(x, axes), expected, dtype, TOLERANCE[dtype])
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [inf, 1], [inf, -inf], [nan, 1], [-inf, 2]], dtype)
    np.testing.assert_array_equal(reduce.logsumexp(x, (1,)), [-inf, inf, inf, nan, 2])
    wide = np.repeat(x, 40, 1)[:4]
    np.testing.assert_array_equal(reduce.logsumexp(wide, (1,)), [-inf, inf, inf, nan])


@pytest.mark.parametrize(
    "shape", [(1 << 20,), (1 << 17, 8), (40, 1 << 15), (1000, 300), (300, 1000)]
)
def test_sums_are_as_accurate_as_pairwise_ones(shape):
    x = np.random.rand(*shape).astype(np.float32)
    for axis in range(x.ndim):
        exact = x.sum(axis, np.float64)
        pairwise = np.ascontiguousarray(np.moveaxis(x, axis, -1)).sum(-1)

        def error(found, exact=exact):
            return np.sqrt(np.mean((found / exact - 1) ** 2))

        assert error(reduce.sum(x, (axis,))) <= max(1.2 * error(pairwise), 4e-8)


@pytest.mark.parametrize(
    "shape", [(1_000_003,), (1000, 1001), (20011, 30), (30, 20011), (9, 70, 80, 7)]
)
def test_threads_change_no_bit(thread_counts, shape):
    x = np.random.randn(*shape).astype(np.float32)
    for size in range(1, x.ndim + 1):
        for axes in combinations(range(x.ndim), size):
            found = [
                (reduce.sum(x, axes).tobytes(), reduce.var(x, axes).tobytes())
                for _ in thread_counts()
            ]
            assert found[0] == found[1]


def test_over_no_axis():
    x = np.random.randn(3, 4)
    np.testing.assert_array_equal(reduce.sum(x, ()), x)
    np.testing.assert_array_equal(reduce.norm(x, (), 1.0, True), abs(x))


def test_unaligned_arrays():
    packed = np.zeros(50, np.dtype([("a", "i1"), ("b", "f4"), ("c", "f8")]))
    packed["b"], packed["c"] = np.arange(50), np.arange(50)
    for x in (packed["b"], packed["c"]):
        for rows in (x, x.reshape(5, 10)):
            axes = (rows.ndim - 1,)
            np.testing.assert_array_equal(reduce.sum(rows, axes), rows.sum(-1))
            np.testing.assert_array_equal(reduce.amax(rows, axes), rows.max(-1))
