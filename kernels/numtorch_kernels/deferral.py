"""Launches that are put off: kernels are noted in a queue, to be fused and run together.

While a thread defers, ``loop.ufunc`` notes its operands instead of running, so arrays have shapes
and memory but not yet values. Whoever looks at values calls :func:`settle` first, which runs what
is in the queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import Any, Protocol, TypeVar

import numpy as np

from .build import Loop, made_ufunc, replace_ufuncs
from .calls.holders import set_busy

Array = np.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


class Queue(Protocol):
    """What takes launches, and runs them when asked to."""

    def put(self, loop: Loop, operands: tuple[Any, ...]) -> Any:
        """Notes a launch and gives its outputs, as the ufunc would."""

    def require(self, condition: Array, otherwise: Callable[[], None]) -> None:
        """Notes that what follows makes sense only if a 0-d array is true."""

    def refresh(self, array: Array, numbers: Callable[[], Any]) -> None:
        """Notes that an array holds numbers that are computed anew for each run."""

    def run(self) -> None:
        """Runs what was noted, and forgets it."""


class _Current:
    """The one queue that there is at a time, and whose it is."""

    lock = threading.Lock()
    queue: Queue | None = None
    thread = 0


def _own_queue() -> Queue | None:
    """The queue that takes this thread's launches, if they are put off."""
    queue = _Current.queue
    return queue if queue is not None and _Current.thread == get_ident() else None


def deferring() -> bool:
    """Whether this thread's launches are put off."""
    return _own_queue() is not None


def nobody_defers() -> bool:
    """Whether no thread's launches are put off, which is quicker to tell."""
    return _Current.queue is None


def settle() -> None:
    """Gives arrays the values that launches of this thread are to write."""
    if _Current.queue is None:
        return
    queue = _own_queue()
    if queue is not None:
        with _suspended():
            queue.run()


def require(condition: Array, otherwise: Callable[[], None]) -> None:
    """Calls ``otherwise``, which may raise, unless a 0-d array is true; put off like launches."""
    queue = _own_queue()
    if queue is not None:
        queue.require(condition, otherwise)
    elif not condition:
        otherwise()


def refresh(array: Array, numbers: Callable[[], Any]) -> None:
    """Says that an array that launches read holds numbers that another run computes anew."""
    queue = _own_queue()
    if queue is not None:
        queue.refresh(array, numbers)


def _ufunc(loop: Loop) -> Any:
    """What ``loop.ufunc`` gives while some thread defers."""
    queue = _own_queue()
    if queue is None:
        return made_ufunc(loop)
    return lambda *operands: queue.put(loop, operands)


@contextmanager
def deferred_to(queue: Queue) -> Iterator[bool]:
    """Puts this thread's launches off; does nothing and says so where another queue is in use."""
    if not _Current.lock.acquire(blocking=False):
        yield False
        return
    try:
        _Current.queue, _Current.thread = queue, get_ident()
        set_busy(True)
        replace_ufuncs(_ufunc)
        yield True
    finally:
        replace_ufuncs(None)
        _Current.queue = None
        set_busy(False)
        _Current.lock.release()


@contextmanager
def _suspended() -> Iterator[None]:
    """Launches within are not put off."""
    queue, _Current.queue = _Current.queue, None
    replace_ufuncs(None)
    try:
        yield
    finally:
        replace_ufuncs(_ufunc)
        _Current.queue = queue


class settled:
    """What is done within is done at once, after all that was put off.

    A block in a ``with`` statement, or a function that it decorates.
    """

    __slots__ = ("_suspension",)

    def __enter__(self) -> None:
        settle()
        self._suspension = _suspended() if deferring() else None
        if self._suspension is not None:
            self._suspension.__enter__()

    def __exit__(self, *raised: Any) -> None:
        if self._suspension is not None:
            self._suspension.__exit__(*raised)

    def __call__(self, function: Function) -> Function:
        """The function, all of whose calls are such blocks."""

        @wraps(function)
        def at_once(*args: Any, **kwargs: Any) -> Any:
            if nobody_defers():
                return function(*args, **kwargs)
            with settled():
                return function(*args, **kwargs)

        return at_once  # type: ignore[return-value]
