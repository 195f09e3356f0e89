"""Indexing and copies: PyTorch's results for every dtype and layout."""

import itertools
import math

import numpy as np
import pytest

from numtorch_kernels import copying, index, sort

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
SHAPES = [(5,), (4, 6), (3, 4, 5)]
CASES = [(shape, axis) for shape in SHAPES for axis in range(len(shape))]


def values(shape, dtype):
    if dtype == "bool":
        return np.random.rand(*shape) > 0.5
    return (np.random.randn(*shape) * 20).astype(dtype)


def layouts(x):
    """The same values adjacent, in Fortran order, with gaps, and backwards."""
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    read_only = x.copy()
    read_only.flags.writeable = False
    return [x, np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2], backwards, read_only]


def targets(x):
    """Writable copies in three layouts."""
    return [x.copy(), np.array(x, order="F"), np.repeat(x, 2, -1)[..., ::2]]


def same(ours, theirs):
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def tensor(oracle):
    return lambda x: oracle.from_numpy(np.ascontiguousarray(x).copy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_reading(tensor, dtype, shape, axis):
    data, size = values(shape, dtype), shape[axis]
    smaller = tuple(7 if k == axis else max(1, n - 1) for k, n in enumerate(shape))
    places = np.random.randint(0, size, smaller)
    along = np.random.randint(0, size, 9)
    anywhere = np.random.randint(-data.size, data.size, (3, 4))
    repeats = np.random.randint(0, 4, size)
    mask = np.random.rand(*shape) > 0.5
    t = tensor(data)
    for x in layouts(data):
        same(index.gather(x, axis, places), t.gather(axis, tensor(places)))
        same(index.index_select(x, axis, along), t.index_select(axis, tensor(along)))
        same(index.take(x, anywhere), t.take(tensor(anywhere)))
        same(index.masked_select(x, mask), t.masked_select(tensor(mask)))
        same(index.masked_select(x, mask[:1]), t.masked_select(tensor(mask[:1])))
        same(index.nonzero(x), t.nonzero())
        ours = index.repeat_interleave(x, repeats, axis)
        same(ours, t.repeat_interleave(tensor(repeats), axis))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "count"), [(shape, axis + 1) for shape, axis in CASES])
def test_advanced_indexing(tensor, dtype, shape, count):
    data = values(shape, dtype)
    indices = [np.random.randint(-n, n, (2, 3) if k == 0 else (3,)) for k, n in enumerate(shape)]
    indices = indices[:count]
    theirs = tuple(tensor(i) for i in indices)
    for x in layouts(data):
        same(index.index_get(x, indices), tensor(data)[theirs])
    new = values((2, 3, *shape[count:]), dtype)
    for out in targets(data):
        same(
            index.index_put(out, indices, new[0, :1]),
            tensor(data).index_put(theirs, tensor(new[0, :1])),
        )
    if dtype != "bool":
        for out in targets(data):
            same(
                index.index_put(out, indices, new, accumulate=True),
                tensor(data).index_put(theirs, tensor(new), accumulate=True),
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_writing(tensor, dtype, shape, axis):
    data, size = values(shape, dtype), shape[axis]
    columns = np.argsort(np.random.rand(*shape), axis=axis)
    rows = np.random.permutation(size)[:3]
    some = values((*shape[:axis], len(rows), *shape[axis + 1 :]), dtype)
    mask, new = np.random.rand(*shape) > 0.5, values(shape, dtype)
    places, few = np.random.permutation(data.size)[:4], values((4,), dtype)
    one = np.ones((), dtype)
    for out in targets(data):
        same(
            index.scatter(out, axis, columns, new),
            tensor(data).scatter(axis, tensor(columns), tensor(new)),
        )
    for out in targets(data):
        same(
            index.index_copy(out, axis, rows, some),
            tensor(data).index_copy(axis, tensor(rows), tensor(some)),
        )
    for out in targets(data):
        same(index.index_fill(out, axis, rows, one), tensor(data).index_fill(axis, tensor(rows), 1))
    for out in targets(data):
        same(
            index.masked_scatter(out, mask, new),
            tensor(data).masked_scatter(tensor(mask), tensor(new)),
        )
    for out in targets(data):
        same(index.put(out, places, few), tensor(data).put_(tensor(places), tensor(few)))
    for x in layouts(data):
        same(index.masked_fill(x, mask, one), tensor(data).masked_fill(tensor(mask), 1))
    for out in targets(data):
        assert index.masked_fill(out, mask, one, out) is out
        same(out, tensor(data).masked_fill(tensor(mask), 1))


@pytest.mark.parametrize("how", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_scatter_reduce(tensor, how, include_self, dtype, shape, axis):
    data, new = values(shape, dtype), values(tuple(n + 4 for n in shape), dtype)
    smaller = tuple(7 if k == axis else max(1, n - 1) for k, n in enumerate(shape))
    places = np.random.randint(0, shape[axis], smaller)
    theirs = tensor(data).scatter_reduce(
        axis, tensor(places), tensor(new), how, include_self=include_self
    )
    for out in targets(data):
        same(index.scatter_reduce(out, axis, places, new, how, include_self), theirs)


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8"])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_index_add(tensor, dtype, shape, axis):
    data, rows = values(shape, dtype), np.random.randint(0, shape[axis], 9)
    new = values((*shape[:axis], 9, *shape[axis + 1 :]), dtype)
    for out in targets(data):
        same(
            index.index_add(out, axis, rows, new),
            tensor(data).index_add(axis, tensor(rows), tensor(new)),
        )


def test_the_last_of_several_writes_stays():
    out = np.zeros(3)
    index.scatter(out, 0, np.array([1, 1, 1]), np.array([1.0, 2.0, 3.0]))
    assert out.tolist() == [0.0, 3.0, 0.0]


def test_shared_memory():
    out = np.arange(5)
    assert index.index_add(out, 0, np.array([1, 2, 3, 4, 0]), out).tolist() == [4, 1, 3, 5, 7]
    out = np.arange(6.0)
    assert copying.copy_into(out[1:], out[:-1]).tolist() == [0, 1, 2, 3, 4]
    square = np.arange(16).reshape(4, 4)
    assert copying.copy_into(square, square.T).tolist() == np.arange(16).reshape(4, 4).T.tolist()


def test_out_of_range():
    places = np.random.randint(0, 100, 100_000)
    assert index.out_of_range(places, 0, 100) is None
    places[70_001], places[70_005] = -7, 200
    assert index.out_of_range(places.reshape(1000, 100), 0, 100) == -7
    assert index.out_of_range(places.reshape(100, 1000).T, -7, 100) == 200
    assert index.out_of_range(np.array(5), 0, 5) == 5
    assert index.out_of_range(np.empty((0, 3), np.int64), 0, 0) is None


def test_no_dimension_and_no_elements():
    scalar = np.array(3.0)
    assert index.gather(scalar, 0, np.array(0)).tolist() == 3.0
    assert index.scatter(scalar.copy(), 0, np.array(0), np.array(5.0)).tolist() == 5.0
    assert index.nonzero(scalar).shape == (1, 0)
    empty = np.empty((0, 4))
    assert index.index_select(empty, 1, np.array([1, 1])).shape == (0, 2)
    assert index.index_get(np.ones((3, 0)), [np.array([1, 2])]).shape == (2, 0)
    assert index.nonzero(empty).shape == (0, 2)
    assert index.masked_select(empty, empty > 0).shape == (0,)
    assert copying.contiguous(empty.T).shape == (4, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(oracle, tensor, dtype, right):
    wanted = values((5, 7), dtype)
    line, lines = np.sort(values((40,), dtype)), np.sort(values((5, 40), dtype))
    if dtype.startswith("float"):
        wanted[0, 0] = line[-1] = np.nan
    for x in (line, lines):
        ours = sort.searchsorted(x, wanted, right)
        same(ours, oracle.searchsorted(tensor(x), tensor(wanted), right=right))


def test_counting(oracle, tensor):
    x, weights = np.random.randint(0, 50, 1000), np.random.rand(1000)
    same(index.bincount(x, 55), tensor(x).bincount(minlength=55))
    same(index.bincount(x, 55, weights), tensor(x).bincount(tensor(weights), 55))
    same(
        index.one_hot(x.reshape(10, 100), 50), oracle.nn.functional.one_hot(tensor(x).view(10, 100))
    )


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_casts(oracle, tensor, source, target):
    x = values((7, 33), source)
    same(copying.contiguous(x.T, np.dtype(target)), tensor(x).t().to(getattr(oracle, target)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16"])
@pytest.mark.parametrize("shape", [(100, 70), (300, 400), (3, 200, 129), (130, 5, 64)])
def test_transposed_copies(dtype, shape):
    x = values(shape, dtype)
    for axes in itertools.permutations(range(len(shape))):
        ours = copying.contiguous(x.transpose(axes))
        assert ours.flags.c_contiguous
        np.testing.assert_array_equal(ours, x.transpose(axes))


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5)])
def test_moved_parts(tensor, dtype, shape):
    data = values(shape, dtype)
    t = tensor(data)
    for x in layouts(data):
        for k in (-9, -2, 0, 1, 9):
            same(copying.tril(x, k), t.tril(k))
            same(copying.triu(x, k), t.triu(k))
        same(copying.flip(x, (0, 1)), t.flip(0, 1))
        same(copying.roll(x, (3,), (1,)), t.roll(3, 1))
        same(copying.roll(x, (-1, 2), (1, 0)), t.roll((-1, 2), (1, 0)))
        both = copying.cat([x, x], 1, np.empty((shape[0], 2 * shape[1], *shape[2:]), dtype))
        np.testing.assert_array_equal(both, np.concatenate([data, data], 1))


def test_any_number_of_threads(thread_counts):
    x, new = values((2000, 256), "float32"), values((5000, 256), "float32")
    places, rows = np.random.randint(0, 2000, (3000, 256)), np.random.randint(0, 2000, 5000)
    results = []
    for _ in thread_counts():
        results.append(
            [
                index.gather(x, 0, places),
                index.index_select(x, 0, rows),
                index.index_add(x.copy(), 0, rows, new),
                index.index_put(x.copy(), [rows], new, accumulate=True),
                index.scatter(x.copy(), 0, places, new[:3000], "sum"),
                index.scatter(x.copy(), 1, np.abs(places[:2000] % 256), x),
                copying.contiguous(x.T),
            ]
        )
    for first, second in zip(*results, strict=True):
        assert first.tobytes() == second.tobytes()


def test_nothing_is_written_beside_results(monkeypatch):
    rooms = []

    def guarded(shape, dtype):
        size = math.prod(shape) * dtype.itemsize
        rooms.append((np.full(size + 128, 0xA5, np.uint8), size))
        return np.ndarray(shape, dtype, rooms[-1][0], 64)

    monkeypatch.setattr(index.memory, "empty", guarded)
    for shape in ((), (0,), (1,), (3,), (0, 4), (2, 3)):
        x = np.ones(shape)
        index.nonzero(x)
        index.masked_select(x, x > 0)
        if x.ndim:
            index.index_select(x, 0, np.zeros(3 if x.shape[0] else 0, np.int64))
            index.gather(x, 0, np.zeros_like(x, np.int64))
    assert len(rooms) > 20
    for room, size in rooms:
        assert (room[:64] == 0xA5).all()
        assert (room[64 + size :] == 0xA5).all()
