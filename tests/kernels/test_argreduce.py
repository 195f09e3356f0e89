"""Positions of extremes: PyTorch's choice among equal elements and NaN, for every layout."""

import numpy as np
import pytest

from numtorch_kernels import argreduce

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
SHAPES = [(1,), (31,), (32,), (513,), (3, 4, 5), (4, 700), (700, 4), (600, 30)]


def sample(shape, dtype):
    if dtype == "bool":
        return np.random.rand(*shape) > 0.9
    x = np.random.randint(0, 100, shape).astype(dtype)
    if dtype.startswith("float"):
        x[np.random.rand(*shape) < 0.005] = np.nan
        x[np.random.rand(*shape) < 0.005] = -np.inf
    return x


def layouts(x):
    yield x
    yield np.asfortranarray(x)
    yield np.repeat(x, 2, -1)[..., ::2]
    yield x[::-1]


def same(ours, theirs):
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_along_an_axis(oracle, dtype, shape, keepdims):
    for x in layouts(sample(shape, dtype)):
        data = oracle.from_numpy(x.copy())
        numbers = data.to(oracle.uint8) if dtype == "bool" else data
        for axis in range(x.ndim):
            for name in ("max", "min"):
                values, indices = getattr(argreduce, name)(x, axis, keepdims)
                expected = getattr(oracle, name)(data, axis, keepdim=keepdims)
                same(values, expected.values)
                same(indices, expected.indices)
                places = getattr(argreduce, f"arg{name}")(x, axis, keepdims)
                same(places, getattr(oracle, f"arg{name}")(numbers, axis, keepdim=keepdims))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (40000,), (81920,), *SHAPES])
def test_of_all(oracle, dtype, shape):
    data = sample((*shape, 1), dtype).reshape(shape)
    for x in layouts(data) if shape else [data]:
        copy = oracle.from_numpy(x.copy())
        numbers = copy.to(oracle.uint8) if dtype == "bool" else copy
        for name in ("argmax", "argmin"):
            expected = getattr(oracle, name)(numbers)
            same(getattr(argreduce, name)(x), expected)
            same(getattr(argreduce, name)(x, None, True), expected.reshape((1,) * x.ndim))


@pytest.mark.parametrize("shape", [(1_000_000,), (300, 4000), (8, 21, 64, 64)])
def test_threads_change_nothing(thread_counts, shape):
    x = np.random.randint(0, 50, shape).astype(np.float32)
    for axis in (None, *range(x.ndim)):
        for _ in thread_counts():
            np.testing.assert_array_equal(argreduce.argmax(x, axis), x.argmax(axis))


def test_unaligned_arrays():
    packed = np.zeros(40, np.dtype([("a", "i1"), ("b", "f8")]))
    packed["b"] = np.arange(40)
    assert argreduce.argmax(packed["b"]) == 39
    np.testing.assert_array_equal(argreduce.argmin(packed["b"].reshape(5, 8), 0), [0] * 8)
