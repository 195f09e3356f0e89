"""Broadcasting, merging of dimensions, the order of results in memory."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numtorch_kernels.layout import (
    aligned,
    broadcast_strides,
    memory_order,
    merge,
    result,
    with_long_rows,
)

F4 = np.dtype("f4")


@st.composite
def views(draw: st.DrawFn) -> Any:
    """An array of up to four dimensions with axes swapped, reversed, skipped and expanded."""
    shape = draw(st.lists(st.integers(1, 5), max_size=4))
    array = np.arange(np.prod(shape, dtype=int) * 2, dtype=F4).reshape([*shape, 2])[..., 0]
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    array = array[tuple(slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in shape)]
    if shape and draw(st.booleans()):
        axis = draw(st.integers(0, len(shape) - 1))
        first = np.take(array, [0], axis)
        wide = (*array.shape[:axis], 3, *array.shape[axis + 1 :])
        array = np.broadcast_to(first, wide)
    return array


def addresses(sizes: list[int], strides: list[int]) -> list[int]:
    """The offsets that a nest of loops visits."""
    places = np.zeros(sizes, int)
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        shape = [-1 if k == axis else 1 for k in range(len(sizes))]
        places += (np.arange(size) * stride).reshape(shape)
    return places.ravel().tolist()


@given(views(), views())
def test_merged_dimensions_visit_the_same_pairs(x: Any, y: Any) -> None:
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        shape, y = x.shape, x[..., :1] if x.ndim else x
    strides = [broadcast_strides(each, shape) for each in (x, y)]
    for each, mine in zip((x, y), strides, strict=True):
        whole = np.broadcast_to(each, shape).strides
        assert all(a == b or n == 1 for a, b, n in zip(mine, whole, shape, strict=True))
    sizes, merged = merge(shape, strides)
    assert len(sizes) <= max(len(shape), 1)
    visited = zip(*(addresses(sizes, each) for each in merged), strict=True)
    expected = zip(*(addresses(list(shape), each) for each in strides), strict=True)
    assert sorted(visited) == sorted(expected)


def test_merge() -> None:
    assert merge((), [[], []]) == ([1], [[0], [0]])
    assert merge((2, 3, 4), [[48, 16, 4]]) == ([24], [[4]])
    assert merge((2, 3, 4), [[0, 0, 4], [48, 16, 4]]) == ([6, 4], [[0, 4], [16, 4]])
    assert merge((3, 2), [[4, 12], [4, 12]]) == ([6], [[4], [4]])
    assert merge((1, 5, 1), [[99, 4, 7]]) == ([5], [[4]])


def test_a_short_last_dimension_gives_way_to_a_long_one() -> None:
    sizes, (strides, small) = merge((1000, 3), [[12, 4], [0, 4]])
    assert sizes == [3, 1000]
    assert (strides, small) == ([4, 12], [4, 0])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4, 5), F4),
        np.zeros((3, 4, 5), F4).transpose(2, 0, 1),
        np.zeros((3, 4, 5), F4).T,
        np.zeros((3, 1, 5), F4).transpose(1, 2, 0),
        np.zeros((4, 6), F4)[::2, ::3],
        np.zeros((4, 6), F4).T[::2, ::3],
        np.broadcast_to(np.zeros((4, 1), F4), (2, 4, 3)),
        np.zeros((1, 1), F4),
        np.zeros((), F4),
    ],
    ids=lambda array: f"{array.shape}{array.strides}",
)
def test_results_are_laid_out_as_pytorch_does(array: Any, oracle: ModuleType) -> None:
    made = result(array.shape, F4, [array])
    assert made.shape == array.shape
    assert sorted(memory_order(array.shape, (array,))) == list(range(array.ndim))
    tensor = oracle.from_numpy(array.copy()).as_strided(
        array.shape, [stride // 4 for stride in array.strides]
    ) if array.size and 0 in array.strides else oracle.from_numpy(array)  # fmt: skip
    wanted = [4 * stride for stride in oracle.neg(tensor).stride()]
    assert [s for s, n in zip(made.strides, made.shape, strict=True) if n > 1] == [
        s for s, n in zip(wanted, made.shape, strict=True) if n > 1
    ]


def test_aligned() -> None:
    x = np.arange(6, dtype=F4)
    assert aligned(x) is x
    assert aligned(x[::-2]).base is x
    odd = np.zeros(25, np.uint8)[1:].view(F4)
    odd[:] = x
    for each in (odd, x.astype(">f4"), x.astype("<f4")):
        fixed = aligned(each)
        assert fixed.flags.aligned
        assert fixed.dtype.isnative
        np.testing.assert_array_equal(fixed, x)
    pairs = np.zeros(3, np.dtype([("a", "u1"), ("b", "f4")]))
    pairs["b"] = x[:3]
    np.testing.assert_array_equal(aligned(pairs["b"]), x[:3])


@pytest.mark.parametrize("shape", [(1000, 3), (256, 1, 9, 3), (513, 31), (7, 2), (400, 1)])
@pytest.mark.parametrize("numbers", [(), (1,), (1, 1)])
def test_long_rows_are_the_same_elements(shape: tuple[int, ...], numbers: tuple[int, ...]) -> None:
    whole, row = np.random.standard_normal(shape), np.random.standard_normal(shape[-1])
    number, out = np.full(numbers, 2.0), np.zeros(shape)
    for x, y, z, target in with_long_rows([whole, row, number, out]):
        np.add(x * z, y, out=target)
    np.testing.assert_array_equal(out, whole * 2 + row)


def test_long_rows() -> None:
    x, row = np.zeros((65536, 3)), np.zeros(3)
    shapes = [[each.shape for each in part] for part in with_long_rows([x, row, x])]
    assert shapes == [[(385, 510), (510,), (385, 510)], [(86, 3), (3,), (86, 3)]]
    others = [[x, x], [x, x[:, :1], x], [x.T, np.zeros(65536), x.T], [row, row]]
    others += [[np.zeros((9, 40)), np.zeros(40), np.zeros((9, 40))], [x[::2], row, x[::2].copy()]]
    for operands in others:
        assert all(a is b for a, b in zip(*with_long_rows(operands), operands, strict=True))
