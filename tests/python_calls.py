"""Which operations Python computes, where compiled calls might answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import numtorch
from numtorch.ops.table import TABLE
from numtorch_kernels.calls import pythontypes


def in_python(name: str) -> Callable[..., Any]:
    """The Python function behind a row's method."""
    return pythontypes.wrapped(TABLE[name].method)


def python_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of operations that Python computes from now on."""
    seen: list[str] = []
    monkeypatch.setattr(
        numtorch.ops.apply.Hook,
        "trace",
        lambda op, given: seen.append(op.name) or op.compute(given),
    )
    return seen


def are_answered(calls: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether compiled code answers calls, once it knows their loops; launches may pause first."""
    seen = python_calls(monkeypatch)
    for _ in range(20):
        seen.clear()
        calls()
        if not seen:
            return True
        time.sleep(0.05)
    return False
