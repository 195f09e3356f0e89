"""Whether operations are recorded: ``no_grad`` and its kin, per thread."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

from numtorch_kernels.calls.recording import set_traced

Function = TypeVar("Function", bound=Callable[..., Any])


class _Mode(threading.local):
    recording: bool = True
    inference: bool = False
    anomaly: bool = False
    check_nan: bool = True


mode = _Mode()
"""This thread's mode; the dispatch path reads ``mode.recording``."""


class _Switch:
    """Sets attributes of :data:`mode` inside a ``with`` block or a decorated function."""

    settings: dict[str, bool]

    def __init__(self) -> None:
        self._saved: list[dict[str, bool]] = []

    def _fresh(self) -> Self:
        return type(self)()

    def __enter__(self) -> None:
        self._saved.append({name: getattr(mode, name) for name in self.settings})
        for name, value in self.settings.items():
            setattr(mode, name, value)

    def __exit__(self, *_: object) -> None:
        for name, value in self._saved.pop().items():
            setattr(mode, name, value)

    def __call__(self, function: Function) -> Function:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _generator(self, function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            sent = None
            while True:
                with self._fresh():
                    try:
                        value = generator.send(sent)
                    except StopIteration as stop:
                        return stop.value
                sent = yield value

        return wrapped  # type: ignore[return-value]


class no_grad(_Switch):
    """Operations inside are not recorded, and their results do not require gradients.

    A context manager and a decorator.

    >>> import numtorch as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    recording: ClassVar[bool] = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """``@no_grad`` without parentheses decorates too."""
        switch = super().__new__(cls)
        if function is None:
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.settings = {"recording": self.recording}


class enable_grad(no_grad):
    """Operations inside are recorded, even within :class:`no_grad`."""

    recording = True


class set_grad_enabled(_Switch):
    """Turns recording on or off at once; as a context manager, until the block ends."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        if not isinstance(mode, bool):
            raise TypeError(f"enabled must be a bool (got {type(mode).__name__})")
        self.settings = {"recording": mode}
        super().__enter__()

    def _fresh(self) -> Self:
        return type(self)(self.settings["recording"])

    def __enter__(self) -> None:
        """The switch was made at construction."""

    def __call__(self, function: Function) -> Function:
        """Decorates a function."""
        self.__exit__()  # decorating switches nothing until the function is called
        return super().__call__(function)


class inference_mode(_Switch):
    """Like :class:`no_grad`; a promise that no result will be used in recorded operations."""

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        """``@inference_mode`` without parentheses decorates too."""
        switch = super().__new__(cls)
        if isinstance(mode, bool):
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(mode)

    def __init__(self, mode: bool | Callable[..., Any] = True) -> None:
        super().__init__()
        self.settings = {"recording": False, "inference": True} if mode else {}

    def _fresh(self) -> Self:
        return type(self)(bool(self.settings))


class set_detect_anomaly(_Switch):
    """Records where each operation was called, and names that place if its backward fails."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__()
        if mode:
            set_traced(True)  # for good: modes are each thread's own, and nobody debugs in haste
        self.settings = {"anomaly": mode, "check_nan": check_nan}
        super().__enter__()

    def _fresh(self) -> Self:
        return type(self)(self.settings["anomaly"], self.settings["check_nan"])

    def __enter__(self) -> None:
        """The switch was made at construction."""


class detect_anomaly(_Switch):
    """:class:`set_detect_anomaly` for a ``with`` block; warns that it makes programs slower."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )
        set_traced(True)
        self.settings = {"anomaly": True, "check_nan": check_nan}

    def _fresh(self) -> Self:
        return type(self)(self.settings["check_nan"])


def is_grad_enabled() -> bool:
    """Whether operations are recorded now, in this thread."""
    return mode.recording


def is_inference_mode_enabled() -> bool:
    """Whether :class:`inference_mode` is on, in this thread."""
    return mode.inference


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on, in this thread."""
    return mode.anomaly
