"""The rows on which compiled steps are measured: each makes its inputs and a step over them.

A step gives back what it computed, for comparison. It runs CALLS times before that: its first calls
are those in which it is compiled, and the answer to compare is that of compiled code.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from rows import SIZES, Input, Row, integers, leaf, perceptron, training_step, uniform

CALLS = 4
Step = Callable[[], Any]


def step_row(name: str, make: Input) -> Row:
    """Row of that name which times the step that `make` makes."""
    return Row(name, "step()", None, {"step": make}, calls=CALLS)


def tanh_of_product(n: int) -> Input:
    """Step that differentiates a sum over n elements."""

    def make(torch: ModuleType, random: np.random.Generator) -> Step:
        a, b = (leaf(n)(torch, random) for _ in range(2))

        def step() -> Any:
            a.grad = b.grad = None
            loss = torch.tanh(a * b + a).sum()
            loss.backward()
            return loss, a.grad, b.grad

        return step

    return make


def chain(n: int) -> Input:
    """Step of ten pointwise operations over n elements."""

    def make(torch: ModuleType, random: np.random.Generator) -> Step:
        a, b = (uniform(n)(torch, random) for _ in range(2))

        def step() -> Any:
            x = torch.sin(a) * b + 1.5
            x = torch.exp(-x * x)
            return torch.tanh(torch.sqrt(x + 0.5)) - a

        return step

    return make


def cross_entropy(samples: int, classes: int) -> Input:
    """Step that differentiates softmax and cross entropy with respect to the logits."""

    def make(torch: ModuleType, random: np.random.Generator) -> Step:
        x = leaf(samples, classes)(torch, random)
        y = integers(samples, high=classes)(torch, random)

        def step() -> Any:
            x.grad = None
            loss = torch.nn.functional.cross_entropy(x, y)
            loss.backward()
            return loss, x.grad

        return step

    return make


def normalised_gelu(samples: int, features: int) -> Input:
    """Step that differentiates gelu(layer_norm(x)) with respect to all that goes in."""

    def make(torch: ModuleType, random: np.random.Generator) -> Step:
        x = leaf(samples, features)(torch, random)
        weight, bias = (leaf(features)(torch, random) for _ in range(2))
        gradient = uniform(samples, features)(torch, random)
        F = torch.nn.functional

        def step() -> Any:
            x.grad = weight.grad = bias.grad = None
            y = F.gelu(F.layer_norm(x, (features,), weight, bias))
            y.backward(gradient)
            return y.detach(), x.grad, weight.grad, bias.grad

        return step

    return make


def gradient_descent(torch: ModuleType, random: np.random.Generator) -> Step:
    """Step down the gradient of a linear model, by hand."""
    n = 50
    X, y, w = (make(torch, random) for make in (uniform(n, 2), uniform(n, 1), leaf(2, 1)))

    def step() -> Any:
        loss = torch.norm(y - X @ w) ** 2 / n
        loss.backward()
        w.data = w.data - 0.1 * w.grad
        w.grad.zero_()
        return loss, w.data

    return step


def logistic_regression(torch: ModuleType, random: np.random.Generator) -> Step:
    """Step of SGD on all of scikit-learn's digits at once, 1797 x 64 to 10 classes."""
    images, labels = importlib.import_module("sklearn.datasets").load_digits(return_X_y=True)
    x, y = torch.tensor((images / 16).astype("float32")), torch.tensor(labels.astype("int64"))
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    return training_step(torch, model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)


COMPILED_ROWS = [
    *(
        step_row(f"tanh(a * b + a).sum() and backward, {size}", tanh_of_product(n))
        for size, n in {"4": 4, **SIZES}.items()
    ),
    *(
        step_row(f"ten pointwise operations, {size}", chain(n))
        for size, n in {"4": 4, **SIZES}.items()
    ),
    step_row("cross entropy and backward, 512 x 1000", cross_entropy(512, 1000)),
    step_row("layer norm, gelu and backward, 512 x 1000", normalised_gelu(512, 1000)),
    step_row("gradient descent by hand, 50 x 2", gradient_descent),
    *(
        step_row(
            f"perceptron {'-'.join(map(str, widths))}, batch {batch}, {optimizer}",
            perceptron(*widths, batch=batch, optimizer=optimizer),
        )
        for widths, batch in (((64, 32, 10), 32), ((784, 256, 10), 64))
        for optimizer in ("SGD", "Adam")
    ),
    step_row("logistic regression, digits, SGD", logistic_regression),
]
