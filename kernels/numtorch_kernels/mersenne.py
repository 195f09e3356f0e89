"""MT19937, the generator behind PyTorch's CPU random numbers, and its saved state.

Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudorandom
number generator", ACM TOMACS 8 (1998); seeded by their 2002 initialisation.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .build import Loop, gufunc
from .deferral import settled
from .intrinsics import helper, offset, typed_pointer

Array = np.ndarray[Any, Any]

SIZE = 624  # words of state
_SHIFT = 397  # how far ahead the word is that a twist mixes in
# Behind the words: draws before the next twist plus 1, the next word, whether a float64 is kept.
_LEFT, _NEXT, KEEPS = SIZE, SIZE + 1, SIZE + 2
KEPT = SIZE + 4  # its place, of two words, which is aligned
_WORDS = SIZE + 6

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_INITIAL = 5489  # the algorithm's default seed

STATE = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("words", "<u8", SIZE),
        ("unused_x", "<f8"),
        ("normal", "<f8"),
        ("unused_rho", "<f8"),
        ("has_normal", "<i4"),
        ("padding", "<i4"),
        ("float_normal", "<f4"),
        ("has_float_normal", "<i4"),
    ]
)
"""The layout of a saved state: 5056 bytes."""

uint32_at = typed_pointer(np.dtype(np.uint32))


@helper
def twisted(high, low, ahead):
    """The successor of a word, from it, its neighbour and the word 397 places ahead."""
    mixed = (high & 0x80000000) | (low & 0x7FFFFFFF)
    return ahead ^ (mixed >> 1) ^ ((low & 1) * 0x9908B0DF)


@helper
def twist(words):
    """Replaces all words by their successors."""
    for i in range(SIZE - _SHIFT):
        words[i] = twisted(words[i], words[i + 1], words[i + _SHIFT])
    for i in range(SIZE - _SHIFT, SIZE - 1):
        words[i] = twisted(words[i], words[i + 1], words[i + _SHIFT - SIZE])
    words[SIZE - 1] = twisted(words[SIZE - 1], words[0], words[_SHIFT - 1])


def seed_words(count, size, seed, seed_outer, state, state_outer, state_step):
    """Fills a state from a 32-bit seed."""
    words = uint32_at(state)
    words[0] = seed[0]
    for i in range(1, SIZE):
        before = words[i - 1]
        words[i] = 1812433253 * (before ^ (before >> 30)) + i
    state[_LEFT] = 1
    state[_NEXT] = 0


@helper
def next_words(state, n, memory):
    """Fills memory with the next n words and advances the state."""
    words, drawn = uint32_at(state), uint32_at(memory)
    left, position = state[_LEFT], state[_NEXT]
    done = 0
    while done < n:
        if left == 1:
            twist(words)
            left = SIZE + 1
            position = 0
        size = min(left - 1, n - done)
        source, target = offset(words, position), offset(drawn, done)
        for i in range(size):
            word = source[i]
            word ^= word >> 11
            word ^= (word << 7) & 0x9D2C5680
            word ^= (word << 15) & 0xEFC60000
            target[i] = word ^ (word >> 18)
        left -= size
        position += size
        done += size
    state[_LEFT] = left
    state[_NEXT] = position


def draw_words(count, size, n, state, state_outer, state_step, out, out_outer, out_step):
    """Fills out with the next n words and advances the state, which is changed in place."""
    next_words(state, n, out)


@cache
def _seed_loop() -> Loop:
    return gufunc(seed_words, "()->(s)", (_INT64, _INT32))


@cache
def _draw_loop() -> Loop:
    return gufunc(draw_words, "(s)->(n)", (_INT32, _INT32))


class MersenneTwister:
    """A stream of random words, with the state that PyTorch's CPU generator saves and restores.

    >>> from numtorch_kernels.mersenne import MersenneTwister
    >>> generator = MersenneTwister(5489)
    >>> int(generator.words(1)[0].astype("u4"))
    3499211612
    """

    __slots__ = ("_kept", "first", "lock", "next_float_normal", "seed", "state")

    def __init__(self, seed: int = _INITIAL) -> None:
        self.lock = threading.RLock()
        self.state = np.empty(_WORDS, _INT32)
        self.first = self.state[0, ...]
        """The first word of the state, for loops to which only its address matters."""
        self._kept = self.state[KEPT:].view(np.float64)
        self.manual_seed(seed)

    @property
    def next_normal(self) -> float | None:
        """The normal number that was drawn along with one that was asked for."""
        return float(self._kept[0]) if self.state[KEEPS] else None

    @next_normal.setter
    def next_normal(self, value: float | None) -> None:
        self.state[KEEPS] = value is not None
        if value is not None:
            self._kept[0] = value

    @settled()
    def manual_seed(self, seed: int) -> None:
        """Starts the stream of a seed, of which the low 32 bits count."""
        with self.lock:
            self.seed = seed & 0xFFFFFFFFFFFFFFFF
            self.next_normal = None
            self.next_float_normal: float | None = None
            _seed_loop().ufunc(np.array(seed & 0xFFFFFFFF, _INT64), self.state)

    @settled()
    def words(self, count: int) -> Array:
        """The next words of the stream, int32[count]."""
        out = memory.empty((count,), _INT32)
        with self.lock:
            _draw_loop().ufunc(self.state, out)
        return out

    def get_state(self) -> Array:
        """The state as uint8[5056], byte for byte what PyTorch saves."""
        saved = np.zeros((), STATE)
        with self.lock:
            saved["seed"], saved["seeded"] = self.seed, 1
            saved["left"], saved["next"] = self.state[_LEFT], self.state[_NEXT]
            saved["words"] = self.state[:SIZE].view(np.uint32)
            if self.next_normal is not None:
                saved["has_normal"], saved["normal"] = 1, self.next_normal
            if self.next_float_normal is not None:
                saved["has_float_normal"], saved["float_normal"] = 1, self.next_float_normal
        return np.frombuffer(saved.tobytes(), np.uint8).copy()

    def set_state(self, state: Array) -> None:
        """Takes over a state that :meth:`get_state` gave; RuntimeError if it cannot be one."""
        if state.size != STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE.itemsize} "
                f"but found the input RNG state size to be {state.size}"
            )
        saved = np.frombuffer(state.astype(np.uint8).tobytes(), STATE)[0]
        if not (saved["seeded"] and 0 < saved["left"] <= SIZE and saved["next"] <= SIZE):
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self.seed = int(saved["seed"])
            self.state[:SIZE] = saved["words"].astype(np.uint32).view(np.int32)
            self.state[_LEFT], self.state[_NEXT] = saved["left"], saved["next"]
            self.next_normal = float(saved["normal"]) if saved["has_normal"] else None
            has_float = saved["has_float_normal"] & 0xFF
            self.next_float_normal = float(saved["float_normal"]) if has_float else None
