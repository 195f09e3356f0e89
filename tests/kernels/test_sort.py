"""Sorting: PyTorch's stable order for every dtype, axis, layout and direction."""

import numpy as np
import pytest

from numtorch_kernels import sort

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
SHAPES = [(1,), (7,), (48,), (49,), (300,), (5, 60), (70, 3), (4, 5, 6), (0,), (3, 0)]


def samples(shape, dtype):
    """Arrays with many equal elements, with few, and with NaN and -0."""
    if dtype == "bool":
        return [np.random.rand(*shape) > 0.5]
    if dtype.startswith("float"):
        x = np.random.randn(*shape).astype(dtype)
        special = (3 * x).round()
        special[np.random.rand(*shape) < 0.2] = np.nan
        special[np.random.rand(*shape) < 0.2] = np.inf
        return [x, (3 * x).round(), special]
    limits = np.iinfo(dtype)
    anywhere = np.random.randint(
        limits.min,
        limits.max,
        shape,
        dtype,
    )
    return [np.random.randint(0, 9, shape).astype(dtype), anywhere]


def arrays(shape, dtype):
    for x in samples(shape, dtype):
        for layout in (x, np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2]):
            yield x, layout


def same(ours, theirs):
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def leads_to(x, axis, place, found):
    """Whether one place each along an axis holds what was found."""
    at = np.take_along_axis(x, np.expand_dims(place, axis), axis).reshape(found.shape)
    np.testing.assert_array_equal(at, found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("descending", [False, True])
def test_sort(oracle, dtype, shape, descending):
    for data, x in arrays(shape, dtype):
        for axis in range(x.ndim):
            found, places = sort.sort(x, axis, descending)
            theirs = oracle.sort(
                oracle.from_numpy(data), dim=axis, descending=descending, stable=True
            )
            same(found, theirs.values)
            same(places, theirs.indices)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", [False, True])
def test_topk(oracle, dtype, shape, largest):
    for data, x in arrays(shape, dtype):
        for axis, size in enumerate(shape):
            for k in {0, min(1, size), min(3, size), size}:
                found, places = sort.topk(x, k, axis, largest)
                theirs = oracle.topk(oracle.from_numpy(data), k, dim=axis, largest=largest)
                same(found, theirs.values)
                np.testing.assert_array_equal(np.take_along_axis(data, places, axis), found)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape])
def test_ranks(oracle, dtype, shape):
    for data, x in arrays(shape, dtype):
        t = oracle.from_numpy(data)
        for axis, size in enumerate(shape):
            for k in {1, size // 2 + 1, size}:
                found, place = sort.kthvalue(x, k, axis)
                same(found, t.kthvalue(k, dim=axis).values)
                leads_to(data, axis, place, found)
            found, place = sort.median(x, axis)
            theirs = t.median(dim=axis)
            same(found, theirs.values)
            leads_to(data, axis, place, found)
            nan = np.isnan(found)
            assert place[nan].tolist() == theirs.indices.numpy()[nan].tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape])
def test_mode(oracle, dtype, shape):
    for data, x in arrays(shape, dtype):
        if np.isnan(data.astype(float)).any():
            continue
        for axis in range(x.ndim):
            found, place = sort.mode(x, axis)
            same(found, oracle.from_numpy(data).mode(dim=axis).values)
            leads_to(data, axis, place, found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_unique(oracle, dtype, shape):
    for data, x in arrays(shape, dtype):
        t = oracle.from_numpy(data)
        has_nan = np.isnan(data.astype(float)).any()
        for ours, theirs in (
            (sort.unique, oracle.unique),
            (sort.unique_consecutive, oracle.unique_consecutive),
        ):
            for axis in (None, *range(x.ndim)):
                if axis is not None and (has_nan or 0 in shape):
                    continue  # PyTorch's order of slices with NaN is not defined
                results = ours(x, axis)
                expected = theirs(t, return_inverse=True, return_counts=True, dim=axis)
                for k, (mine, its) in enumerate(zip(results, expected, strict=True)):
                    if not (k == 1 and has_nan and ours is sort.unique):  # which NaN is which
                        same(mine, its)


def test_no_dimension():
    x = np.array(2.5)
    for values, places in (
        sort.sort(x, 0),
        sort.topk(x, 1, 0),
        sort.kthvalue(x, 1, 0),
        sort.median(x, 0),
        sort.mode(x, 0),
    ):
        assert values.tolist() == 2.5
        assert places.tolist() == 0


def test_any_number_of_threads(thread_counts):
    x = np.random.randn(2000, 200).astype(np.float32)
    results = []
    for _ in thread_counts():
        results.append([*sort.sort(x, 0), *sort.topk(x, 5, 1), *sort.median(x, 1)])
    for first, second in zip(*results, strict=True):
        assert first.tobytes() == second.tobytes()
