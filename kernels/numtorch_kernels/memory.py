"""A caching allocator for large arrays.

The operating system maps fresh memory page by page: 64 MB cost 20 ms, more than most kernels need
to fill them. Blocks are therefore kept, in size classes, and handed out again. Nobody has to give
one back: every view of a block, of any depth, holds a reference to it, so a block is free exactly
when the pool's own reference is the only one left.
"""

from __future__ import annotations

import os
import sys
import threading
from math import prod
from typing import Any

import numpy as np

from .objects import has_lock

Array = np.ndarray[Any, Any]

SMALLEST = 1 << 18  # below 256 KB, malloc keeps memory by itself and np.empty is faster
ALIGNMENT = 64  # a cache line, and the widest vector
_GIL = has_lock()


_MOST_LISTED = 1024


class _Pool:
    """All blocks, free and in use, by size class."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[tuple[Array, int]]] = {}  # and where in it a line begins
        self.ids: set[int] = set()
        self.lock = threading.Lock()
        # For compiled code: how many blocks there are; of each its size, object and first line.
        self.table = np.zeros(1 + 3 * _MOST_LISTED, np.int64)
        self.held = 0
        self.limit = _default_limit()

    def take(self, size: int) -> tuple[Array, int]:
        """A block of a size class that nobody uses, and the place of its first cache line."""
        with self.lock:
            for block, start in self.blocks.get(size, ()):
                if sys.getrefcount(block) == _UNUSED:
                    return block, start
            if self.held + size > self.limit:
                self.release_unused()
            block = np.empty(size + ALIGNMENT, np.uint8)
            start = -block.ctypes.data % ALIGNMENT
            if self.held + size <= self.limit:
                self.blocks.setdefault(size, []).append((block, start))
                self.ids.add(id(block))
                self.held += size
                self.enter(size, block, start)
            return block, start

    def release_unused(self) -> None:
        self.table[0] = 0  # nobody may take what is being released
        for size, blocks in list(self.blocks.items()):
            used = []
            while blocks:
                block, start = blocks.pop()
                if sys.getrefcount(block) > 2:  # this variable, and getrefcount's argument
                    used.append((block, start))
            self.blocks[size] = used
        self.ids = {id(block) for blocks in self.blocks.values() for block, _ in blocks}
        self.held = sum(size * len(blocks) for size, blocks in self.blocks.items())
        for size, blocks in self.blocks.items():
            for block, start in blocks:
                self.enter(size, block, start)

    def enter(self, size: int, block: Array, start: int) -> None:
        """Lists a block for compiled code."""
        count = int(self.table[0])
        if count < _MOST_LISTED:
            entry = size, id(block), block.ctypes.data + start
            self.table[1 + 3 * count : 4 + 3 * count] = entry
            self.table[0] = count + 1


def _default_limit() -> int:
    """A quarter of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return 1 << 32


def _unused_references() -> int:
    """What getrefcount says in :meth:`_Pool.take` of a block that only the pool holds."""
    blocks = [(np.empty(1, np.uint8), 0)]
    for block, _ in blocks:
        return sys.getrefcount(block)
    raise AssertionError


_UNUSED = _unused_references()
_pool = _Pool()


def size_class(size: int) -> int:
    """The size rounded up to a quarter of a power of two: at most a fifth is wasted."""
    step = 1 << max(size - 1, 1).bit_length() - 3
    return -(-size // step) * step


def aligned_size(size: int) -> int:
    """The size rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised C-contiguous array; large ones come from the pool, 64-byte aligned."""
    size = prod(shape) * dtype.itemsize
    if size < SMALLEST or not _GIL:
        return np.empty(shape, dtype)
    block, start = _pool.take(size_class(size))
    return np.ndarray(shape, dtype, block, start)


def empty_cache() -> None:
    """Gives the memory of all unused blocks back to the system."""
    with _pool.lock:
        _pool.release_unused()


def set_cache_limit(size: int) -> None:
    """Sets how many bytes the pool holds at most; more comes from the system each time."""
    if size < 0:
        raise ValueError(f"the cache limit must not be negative, but got {size}")
    _pool.limit = size
    if _pool.held > size:
        empty_cache()


def cached_bytes() -> int:
    """How many bytes the pool holds, in use or not."""
    return _pool.held


def pool_table() -> Array:
    """The pool's list of blocks for compiled code."""
    return _pool.table


def pooled_ids() -> set[int]:
    """The ids of all blocks, each of which the pool itself refers to once."""
    return _pool.ids


class _Holder:
    """What holds an array as a tensor does."""

    __slots__ = ("_array",)
    _array: Array


def _references(array: Array) -> int:
    return sys.getrefcount(array)


def _calibrate() -> tuple[int, int]:
    """What :func:`sole_owner` counts for an array, and for a pool block, that has one owner."""
    holder = _Holder()
    holder._array = np.empty(1, np.uint8)
    alone = _references(holder._array)
    blocks = [np.empty(1, np.uint8)]
    holder._array = np.ndarray((1,), np.uint8, blocks[0])
    base = holder._array.base
    assert base is blocks[0]
    return alone, _references(base)


_ALONE, _ALONE_IN_POOL = _calibrate()


def sole_owner(holder: Any) -> bool:
    """Whether ``holder._array`` is whole memory that no other object or view refers to."""
    base = holder._array.base
    if base is None:
        return _references(holder._array) == _ALONE
    return (
        id(base) in _pool.ids
        and _references(holder._array) == _ALONE
        and _references(base) == _ALONE_IN_POOL
    )
