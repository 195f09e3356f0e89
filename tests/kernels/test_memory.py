"""The pool: what is handed out again, what is not, and who owns an array alone."""

import gc
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numtorch_kernels import cached_bytes, empty_cache, memory, set_cache_limit
from numtorch_kernels.memory import ALIGNMENT, SMALLEST, empty, size_class, sole_owner

F4, U1 = np.dtype("f4"), np.dtype("u1")
SHAPE = (1 << 10, 1 << 10)  # 4 MB of float32


class Holder:
    """What holds an array as tensors do."""

    __slots__ = ("_array",)

    def __init__(self, array: Any) -> None:
        self._array = array


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a pool of its own."""
    monkeypatch.setattr(memory, "_pool", memory._Pool())
    yield
    gc.collect()


def address(array: Any) -> int:
    return array.ctypes.data


@given(st.integers(SMALLEST, 1 << 45))
def test_size_class(size: int) -> None:
    rounded = size_class(size)
    assert size <= rounded
    assert size_class(rounded) == rounded
    assert rounded <= 1.25 * size


def test_arrays() -> None:
    for shape in [(), (0,), (3, 0, 2), (5,), SHAPE, (1, *SHAPE), (300_001,)]:
        for dtype in (F4, U1, np.dtype("f8"), np.dtype("?")):
            array = empty(shape, dtype)
            assert array.shape == shape
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert array.flags.writeable
            if array.nbytes >= SMALLEST:
                assert address(array) % ALIGNMENT == 0


def test_a_dropped_block_is_used_again() -> None:
    first = empty(SHAPE, F4)
    place = address(first)
    del first
    second = empty(SHAPE, F4)
    assert address(second) == place
    assert address(empty(SHAPE, F4)) != place
    other_size = empty((3, *SHAPE), F4)
    assert not np.may_share_memory(second, other_size)


def test_small_arrays_are_not_pooled() -> None:
    assert empty((SMALLEST - 1,), U1).base is None
    assert cached_bytes() == 0


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[3:5, ::2],
        lambda x: x.T[1:][2:],
        lambda x: x.view(np.int32)[0],
        lambda x: np.broadcast_to(x[0], (7, 1 << 10)),
        memoryview,
        lambda x: np.lib.stride_tricks.as_strided(x, (2,), (8,)),
        lambda x: np.frombuffer(x, np.uint8),
        lambda x: x.flat,
        lambda x: [x],
    ],
)
def test_views_keep_their_block(view: Any) -> None:
    array = empty(SHAPE, F4)
    place = address(array)
    kept = view(array)
    del array
    assert address(empty(SHAPE, F4)) != place
    empty_cache()
    assert cached_bytes() > 0
    del kept
    assert address(empty(SHAPE, F4)) == place


def test_no_two_living_arrays_share_memory() -> None:
    living: list[Any] = []
    for step in range(300):
        array = empty((int(np.random.randint(1, 4)) << 18,), U1)
        array[...] = step % 256
        living.append((step % 256, array[7:] if step % 3 else array))
        if len(living) > 8:
            del living[np.random.randint(len(living))]
        assert all((array == value).all() for value, array in living)


def test_empty_cache_and_limit() -> None:
    one, two = empty(SHAPE, F4), empty(SHAPE, F4)
    held = cached_bytes()
    assert held >= one.nbytes + two.nbytes
    del one
    assert cached_bytes() == held
    empty_cache()
    assert cached_bytes() == held // 2
    set_cache_limit(held // 2)
    three = empty(SHAPE, F4)  # beyond the limit: not kept
    assert cached_bytes() == held // 2
    place = address(two)
    del two
    assert address(empty(SHAPE, F4)) == place
    three[...] = 1
    set_cache_limit(0)
    assert cached_bytes() == 0
    assert empty(SHAPE, F4).shape == SHAPE
    assert cached_bytes() == 0
    with pytest.raises(ValueError, match="must not be negative, but got -1"):
        set_cache_limit(-1)


def test_at_the_limit_unused_blocks_of_other_sizes_make_room() -> None:
    set_cache_limit(3 * size_class(4 << 20))
    for factor in (1, 2, 1, 2, 3):
        array = empty((factor, *SHAPE), F4)
        del array
        assert cached_bytes() <= 3 * size_class(4 << 20)


def test_threads_never_get_the_same_block() -> None:
    wrong = []

    def work(mine: int) -> None:
        for _ in range(100):
            array = empty((SMALLEST,), U1)
            array[...] = mine
            array[::4096] += 1
            if not ((array[::4096] == mine + 1).all() and (array[1::4096] == mine).all()):
                wrong.append(mine)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("shape", [(3,), SHAPE], ids=["small", "pooled"])
def test_sole_owner(shape: tuple[int, ...]) -> None:
    holder = Holder(empty(shape, F4))
    assert sole_owner(holder)
    another = Holder(holder._array)
    assert not sole_owner(holder)
    del another
    assert sole_owner(holder)
    view = holder._array[:1]
    assert not sole_owner(holder)
    assert not sole_owner(Holder(view))
    del view
    assert sole_owner(holder)
    whole = holder._array
    view = whole[...]
    holder._array = None
    del whole
    assert not sole_owner(Holder(view)) or view.base is None


def test_sole_owner_of_a_view_whose_array_is_gone() -> None:
    """A view of a pooled block refers to the block, not to the array it was taken of."""
    array = empty(SHAPE, F4)
    holder = Holder(array[1:])
    assert not sole_owner(holder)
    del array
    other = Holder(np.frombuffer(bytearray(16), np.uint8))
    assert not sole_owner(other)


def test_foreign_memory_has_no_sole_owner() -> None:
    backing = np.zeros(10)
    assert not sole_owner(Holder(backing[2:]))
    assert not sole_owner(SimpleNamespace(_array=backing))
