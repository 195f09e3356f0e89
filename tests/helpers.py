"""Crossing between numtorch and the oracle."""

from types import ModuleType
from typing import Any

import numpy as np

import numtorch


def to_torch(oracle: ModuleType, value: Any) -> Any:
    """PyTorch's copy of a numtorch tensor, or of the tensors in a tuple, list or dict."""
    return _map(
        value,
        numtorch.Tensor,
        lambda t: oracle.tensor(t.detach().numpy().copy(), requires_grad=t.requires_grad),
    )


def to_numtorch(oracle: ModuleType, value: Any) -> Any:
    """numtorch's copy of a PyTorch tensor, or of the tensors in a tuple, list or dict."""
    return _map(
        value,
        oracle.Tensor,
        lambda t: numtorch.tensor(t.detach().numpy().copy(), requires_grad=t.requires_grad),
    )


def assert_same(actual: Any, expected: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Check that a result has the oracle's structure, shapes, dtypes and values, NaN included."""
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, rtol, atol)
    elif hasattr(expected, "detach"):
        assert tuple(actual.shape) == tuple(expected.shape)
        assert str(actual.dtype).split(".")[-1] == str(expected.dtype).split(".")[-1]
        assert actual.requires_grad == expected.requires_grad
        np.testing.assert_allclose(
            actual.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol
        )
    else:
        assert type(actual) is type(expected)
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def _map(value: Any, kind: type, convert: Any) -> Any:
    if isinstance(value, kind):
        return convert(value)
    if isinstance(value, tuple | list):
        return type(value)([_map(item, kind, convert) for item in value])
    if isinstance(value, dict):
        return {key: _map(item, kind, convert) for key, item in value.items()}
    return value
