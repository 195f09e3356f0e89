"""Indexing where little is moved: what the loops give, or nothing at all."""

import numpy as np
import pytest

from numtorch_kernels import index, picking

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
CASES = [((5,), 0), ((4, 6), 0), ((4, 6), 1), ((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), 2)]


def values(shape, dtype):
    if dtype == "bool":
        return np.random.rand(*shape) > 0.5
    return (np.random.randn(*shape) * 20).astype(dtype)


def same(ours, theirs):
    assert ours is not None
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_reading_gives_what_loops_give(dtype, shape, axis):
    x, n = values(shape, dtype), shape[axis]
    places = np.random.randint(0, n, (2, 7))
    found = index.index_select(x, axis, places.reshape(-1))
    found = found.reshape((*shape[:axis], 2, 7, *shape[axis + 1 :]))
    same(picking.select(x, axis, places), found)
    same(picking.select(x, axis, places - n, from_end=True), found)
    along = np.random.randint(0, n, (*shape[:axis], 7, *shape[axis + 1 :]))
    same(picking.gather(x, axis, along), index.gather(x, axis, along))
    mask = np.random.rand(*shape) > 0.5
    same(picking.masked(x, mask), x[mask])
    assert picking.masked(x, mask).base is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (4, 6), (6, 4), (3, 4, 5)])
def test_writing_gives_what_loops_give(dtype, shape):
    x, number = values(shape, dtype), np.ones((), dtype)
    mask = np.random.rand(*shape) > 0.5
    same(picking.fill(x, mask, number), np.where(mask, number, x))
    for diagonal in range(-7, 8) if x.ndim > 1 else ():
        same(picking.triangle(x, diagonal, False), np.tril(x, diagonal))
        same(picking.triangle(x, diagonal, True), np.triu(x, diagonal))
    places = np.random.randint(0, 9, shape)
    same(picking.one_hot(places, 9), np.eye(9, dtype=np.int64)[places])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_adding_gives_what_loops_give(dtype, shape, axis):
    places = np.random.randint(0, shape[axis], 9)
    value = values((*shape[:axis], 9, *shape[axis + 1 :]), dtype)
    start = values(shape, dtype)
    expected = np.asfortranarray(start)  # which is for the loops
    if start.flags.f_contiguous:
        expected = np.repeat(start, 2, -1)[..., ::2]
    index.index_add(expected, axis, places, value)
    for each in (value, np.asfortranarray(value)):
        out = start.copy()
        assert picking.add(out, axis, places, each) == (dtype != "bool")
        if dtype != "bool":
            same(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_putting_gives_what_numpy_gives(dtype, shape, axis):
    n = shape[axis]
    places = np.random.randint(-n, n, (3, 2))
    part = (*shape[:axis], 3, 2, *shape[axis + 1 :])
    for value in (values(part, dtype), values((1,), dtype).reshape(())):
        out = values(shape, dtype)
        expected = out.copy()
        expected[(slice(None),) * axis + (places,)] = value
        assert picking.put(out, axis, places, value)
        same(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "k"), [((5,), 1), ((4, 6), 2), ((3, 4, 5), 2), ((3, 4, 5), 3)])
def test_points_are_numpys(dtype, shape, k):
    indices = [np.random.randint(-n, n, (3, 2)) for n in shape[:k]]
    x = values(shape, dtype)
    same(picking.points(x, indices), x[tuple(indices)])
    part = values((3, 2, *shape[k:]), dtype)
    for value in (part, np.asfortranarray(part), values((1,), dtype).reshape(())):
        for adds in (False, True):
            out, expected = x.copy(), x.copy()
            if adds and dtype != "bool":
                np.add.at(expected, tuple(indices), value)
            elif not adds:
                expected[tuple(indices)] = value
            assert picking.put_points(out, indices, value, adds) == (dtype != "bool" or not adds)
            np.testing.assert_array_equal(out, expected)


def test_points_are_refused_before_anything_is_written():
    out, value = np.ones((4, 6)), np.zeros(2)
    i, j = np.array([0, 3]), np.array([5, -6])
    read_only = out.copy()
    read_only.flags.writeable = False
    refused = [
        (out, [i, j + 1], value),
        (out, [i, j - 1], value),
        (out, [i, j[:1]], value),
        (out, [i, None], value),
        (out, [i, j > 0], value),
        (out, [i, j, j], value),
        (out, [i, j], value[:1]),
        (out, [i, j], value.astype(np.float32)),
        (out, [i, j], out[0, :2]),
        (out.T, [j, i], value),
        (read_only, [i, j], value),
    ]
    for target, indices, given in refused:
        assert not picking.put_points(target, indices, given)
        assert not picking.put_points(target, indices, given, True)
    for target, indices, _ in (*refused[:6], refused[9]):
        assert picking.points(target, indices) is None
    np.testing.assert_array_equal(out, 1)
    np.testing.assert_array_equal(read_only, 1)


def test_putting_refuses_before_it_writes():
    out, places, value = np.ones((4, 6)), np.array([0, 3]), np.zeros((2, 6))
    read_only = out.copy()
    read_only.flags.writeable = False
    refused = [
        (out, places + 1, value),
        (out, places - 5, value),
        (out, places, value[:1]),
        (out, places, value.astype(np.float32)),
        (out, places, 0.0),
        (out, places, out[:2]),
        (out.T, np.array([0, 5]), value.T.copy()),
        (read_only, places, value),
        (out, places > 1, value),
    ]
    for target, indices, given in refused:
        assert not picking.put(target, 0, indices, given)
    mask = out > 0
    assert picking.fill(read_only, mask, np.zeros(()), read_only) is None
    assert picking.fill(out, mask, np.zeros(()), read_only) is None
    np.testing.assert_array_equal(out, 1)
    np.testing.assert_array_equal(read_only, 1)
    assert picking.fill(out, mask, np.zeros(()), out) is out
    np.testing.assert_array_equal(out, 0)


def test_the_unusual_is_left_alone():
    x, places = values((4, 6), "float32"), np.array([0, 3])
    pairs = np.zeros((4, 2), np.int64)
    one = np.ones((), np.float32)
    for strange in (x.T, x[:, ::2]):
        assert picking.fill(strange, strange > 0, one) is None
        assert picking.triangle(strange, 0, True) is None
        assert picking.select(strange, 0, places[:1]) is None
        assert picking.gather(strange, 1, pairs) is None
        assert picking.masked(strange, strange > 0) is None
    for indices in (places + 1, places - 1, places.astype(np.int32), places[::-1], places > 1):
        assert picking.select(x, 0, indices) is None
    assert picking.select(x, 0, places - 5, from_end=True) is None
    assert picking.select(x, np.int64(0), places) is None
    for indices in (pairs[:3], pairs[0], pairs + 6, pairs - 1, pairs.astype(np.int32)):
        assert picking.gather(x, 1, indices) is None
    assert picking.gather(np.zeros(()), 0, np.zeros((), np.int64)) is None
    assert picking.masked(x, x[0] > 0) is None
    assert picking.masked(x, (x > 0).astype(np.uint8)) is None
    assert picking.fill(x, x[0] > 0, one) is None
    assert picking.triangle(x, 1 << 64, True) is None
    for classes in (3, 0, -1, True, picking.FEW):
        assert picking.one_hot(places, classes) is None
    number, subclass = np.int64(0), np.zeros(2, np.int64).view(np.recarray)
    for strange in (number, subclass, [0]):
        assert picking.select(x, 0, strange) is None
        assert picking.gather(places, 0, strange) is None
        assert not picking.add(places, 0, strange, places)
    assert picking.triangle(np.array([[None]]), 0, True) is None
    many = np.zeros(picking.FEW + 1, np.int64)
    assert picking.select(x, 0, many) is None
    assert picking.gather(many, 0, many) is None
    assert picking.masked(many, many == 0) is None
    assert picking.fill(many, many == 0, many[0]) is None


def test_adding_refuses_before_it_writes():
    out, places, value = np.ones((4, 6)), np.array([0, 3]), np.ones((2, 6))
    read_only = out.copy()
    read_only.flags.writeable = False
    refused = [
        (out, places + 1, value),
        (out, places - 1, value),
        (out, places, value[:1]),
        (out, places, value.astype(np.float32)),
        (out, places, out[:2]),
        (out.T, np.array([0, 5]), value.T),
        (read_only, places, value),
    ]
    for target, indices, given in refused:
        assert not picking.add(target, 0, indices, given)
    counts = np.array([0, 1, 1])
    assert not picking.add(counts, 0, counts, np.ones(3, np.int64))
    np.testing.assert_array_equal(out, 1)
    np.testing.assert_array_equal(counts, [0, 1, 1])


def test_what_fills_must_be_an_array_of_the_dtype() -> None:
    x, mask = np.arange(6.0), np.arange(6) % 2 == 0
    for value in (np.float64(9), np.array(9), np.array(9, np.float32)):
        assert picking.fill(x, mask, value) is None
    assert picking.fill(x, mask, np.array(9.0)).tolist() == [9, 1, 9, 3, 9, 5]
