"""Compiled training steps and modules: eager execution to the bit, step after step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch import compiler, nn
from numtorch.ops.table import TABLE

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "AMSGrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))


def trained(wrap: Callable[..., Any], optimizer: str, steps: int) -> tuple[list[float], list[Any]]:
    """Losses and weights after some steps, whose learning rate falls and whose batches shrink."""
    torch.manual_seed(0)
    network = perceptron()
    updates = OPTIMIZERS[optimizer](network.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(updates, 0.9)
    loss_of = nn.CrossEntropyLoss()

    def step(x: Any, target: Any) -> Any:
        updates.zero_grad()
        loss = loss_of(network(x), target)
        loss.backward()
        updates.step()
        return loss

    step = wrap(step)
    losses: list[float] = []
    for number in range(steps):
        size = 16 if number % 3 else 5
        x, target = torch.randn(size, 6), torch.randint(0, 3, (size,))
        losses.append(step(x, target).item())
        schedule.step()
    return losses, [p.detach().numpy() for p in network.parameters()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_step_is_eager_to_the_bit(optimizer: str) -> None:
    steps: list[Any] = []

    def compiled(step: Any) -> Any:
        steps.append(torch.compile(step))
        return steps[-1]

    losses, weights = trained(compiled, optimizer, 12)
    assert len(compiler._all[max(compiler._all)].replays) >= 2  # of two batch sizes
    expected_losses, expected_weights = trained(lambda step: step, optimizer, 12)
    assert losses == expected_losses
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_accumulate_in_a_compiled_step() -> None:
    def steps(wrap: Callable[..., Any]) -> Any:
        w = torch.tensor([1.0, -2.0], requires_grad=True)

        def step(x: Any) -> None:
            (w * x).sin().sum().backward()

        step = wrap(step)
        for number in range(4):
            step(torch.full((2,), float(number)))
        return w.grad

    found, expected = steps(torch.compile), steps(lambda step: step)
    assert found.tolist() == expected.tolist()


def test_the_notebooks_step() -> None:
    """Weights replaced through ``data``, gradients zeroed in place."""
    torch.manual_seed(0)
    X, y = torch.randn(50, 2), torch.randn(50, 1)

    def descend(wrap: Callable[..., Any]) -> tuple[list[float], Any]:
        w = torch.tensor([[1.0], [0.0]], requires_grad=True)

        def step() -> Any:
            loss = torch.norm(y - X @ w) ** 2 / 50
            loss.backward()
            w.data = w.data - 0.1 * w.grad
            w.grad.zero_()
            return loss

        step = wrap(step)
        return [step().item() for _ in range(6)], w

    losses, w = descend(torch.compile)
    expected_losses, expected = descend(lambda step: step)
    assert losses == expected_losses
    assert w.tolist() == expected.tolist()
    assert w.grad.tolist() == [[0.0], [0.0]]


# ---------------------------------------------------------------------- backward outside


def gradients(module: Any, x: Any) -> list[Any]:
    module.zero_grad()
    loss = (module(x) ** 2).mean()
    loss.backward()
    return [loss.item(), *[p.grad.numpy().copy() for p in module.parameters()]]


def test_a_module_forward_and_backward() -> None:
    torch.manual_seed(0)
    network = perceptron()
    compiled = torch.compile(network)
    assert list(compiled.state_dict()) == [f"_orig_mod.{name}" for name in network.state_dict()]
    for size in (16, 16, 5):
        x = torch.randn(size, 6)
        for one, other in zip(gradients(compiled, x), gradients(network, x), strict=True):
            np.testing.assert_array_equal(one, other)
    network.eval()
    with torch.no_grad():
        assert not compiled(torch.randn(4, 6)).requires_grad


def test_changes_of_a_module_are_seen() -> None:
    network = perceptron()
    compiled = torch.compile(network)
    x = torch.randn(4, 6)
    compiled(x)
    network[3] = nn.Linear(8, 3)
    assert compiled(x).tolist() == network(x).tolist()
    network[0].weight = nn.Parameter(torch.zeros(8, 6))
    assert compiled(x).tolist() == network(x).tolist()
    network[3].weight.requires_grad_(False)
    compiled(x).sum().backward()
    assert network[3].weight.grad is None
    handle = network[0].register_forward_hook(lambda module, args, result: result * 0)
    assert compiled(x).tolist() == network(x).tolist()
    handle.remove()
    assert compiled(x).tolist() == network(x).tolist()


def test_inputs_that_were_computed_pass_gradients_on() -> None:
    function = torch.compile(lambda a, b: (a * b).sum())
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        w.grad = None
        function(w * 2, w).backward()
        assert w.grad.tolist() == [4.0, 8.0]


def test_several_results_some_without_gradient() -> None:
    def function(x: Any, y: Any) -> Any:
        return x * y, x.detach() + 1, (y * y).sum()

    compiled = torch.compile(function)
    x, y = torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
    for _ in range(2):
        x.grad = y.grad = None
        product, plain, square = compiled(x, y)
        assert not plain.requires_grad
        (product.sum() + square).backward()
        assert x.grad.tolist() == [2.0] * 3
        assert y.grad.tolist() == [5.0] * 3
        x.grad = y.grad = None
        compiled(x, y)[2].backward()
        assert x.grad is None or x.grad.tolist() == [0.0] * 3
        assert y.grad.tolist() == [4.0] * 3


def test_derivatives_of_any_order() -> None:
    cube = torch.compile(lambda x: (x**3).sum())
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (first,) = torch.autograd.grad(cube(x), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        (third,) = torch.autograd.grad(second.sum(), x)
        assert first.tolist() == [3.0, 12.0]
        assert second.tolist() == [6.0, 12.0]
        assert third.tolist() == [6.0, 6.0]


def test_gradcheck_of_a_compiled_function() -> None:
    function = torch.compile(lambda a, b: torch.tanh(a * b) + torch.softmax(a, 0))
    inputs = [torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for _ in range(2):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_a_graph_is_freed_and_its_inputs_are_watched() -> None:
    function = torch.compile(lambda x: (x * x).sum())
    x = torch.ones(2, requires_grad=True)
    for _ in range(2):
        loss = function(x)
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()
        stale = function(x)
        with torch.no_grad():
            x.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            stale.backward()


def test_the_graph_of_a_result_was_freed_inside() -> None:
    w = torch.ones(2, requires_grad=True)

    @torch.compile
    def step() -> Any:
        loss = (w * w).sum()
        loss.backward()
        return loss

    for _ in range(3):
        loss = step()
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()


def test_what_was_changed_is_not_computed_again_from() -> None:
    """Backward needs y = 2 x, and x has changed since."""

    def function(x: Any, w: Any) -> Any:
        y = x * 2
        x.add_(1)
        return (y * w).sum()

    compiled = torch.compile(function)
    for _ in range(3):
        w = torch.ones(3, requires_grad=True)
        compiled(torch.full((3,), 5.0), w).backward()
        assert w.grad.tolist() == [10.0] * 3


@torch.kernel
def cube(x):  # type: ignore[no-untyped-def]
    return x * x * x


def test_recording_a_backward_compiles_no_loops_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(TABLE["mul"])
    python, planned = kind._plan_backward, []

    def watched(op: Any, *rest: Any) -> Any:
        planned.append(op.name)
        return python(op, *rest)

    monkeypatch.setattr(kind, "_plan_backward", watched)
    w = torch.tensor([1.0, -2.0], requires_grad=True)

    def step() -> None:
        w.grad = None
        cube(w).sum().backward()

    torch.compile(step)()
    assert planned == []
    expected = w.grad.tolist()
    step()
    assert planned == ["cube"]
    assert w.grad.tolist() == expected == [3.0, 12.0]
