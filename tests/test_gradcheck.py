"""What gradcheck accepts, and what it refuses."""

from typing import Any

import pytest

import numtorch as torch


class _Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 3


def _double(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradcheck_accepts_and_refuses() -> None:
    x, y = _double(0.5, 1.5), _double(2.0, 3.0)
    assert torch.autograd.gradcheck(lambda a, b: (a * b, a.exp()), (x, y))
    assert torch.autograd.gradgradcheck(lambda a, b: (a * b, a.exp()), (x, y))
    assert not torch.autograd.gradcheck(_Wrong.apply, x, raise_exception=False)
    with pytest.raises(
        RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"
    ):
        torch.autograd.gradcheck(_Wrong.apply, x)
    assert x.tolist() == [0.5, 1.5]


def test_gradcheck_refuses_its_own_misuse() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        torch.autograd.gradcheck(torch.exp, torch.ones(2))
    with (
        pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"),
        pytest.raises(RuntimeError, match="Jacobian mismatch"),
    ):
        torch.autograd.gradcheck(torch.exp, torch.tensor([1.0, 2.0], requires_grad=True))
    with pytest.raises(RuntimeError, match="0th input has a dimension with stride 0"):
        torch.autograd.gradcheck(torch.exp, _double(1.0).expand(3))


def test_gradcheck_sees_what_is_not_reentrant() -> None:
    calls = iter(range(1000))

    class Drifting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * (2 + 1e-7 * next(calls))

    with pytest.raises(RuntimeError, match="Backward is not reentrant"):
        torch.autograd.gradcheck(Drifting.apply, _double(1.0))
