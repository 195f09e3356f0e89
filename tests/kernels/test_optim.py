"""Optimizer steps, against PyTorch's optimizers over several steps."""

import numpy as np
import pytest

from numtorch_kernels import optim

SHAPES = [(16,), (33, 7), (), (0,), (1000,), (70_000,)]
STEPS = 5


def compare(oracle, dtype, make, step, tolerance):
    """Runs both on the same parameters and gradients."""
    params = [
        np.random.randn(*shape).astype(dtype) if shape else np.array(1.5, dtype) for shape in SHAPES
    ]
    theirs = [oracle.nn.Parameter(oracle.from_numpy(p.copy())) for p in params]
    optimizer = make(theirs)
    for number in range(1, STEPS + 1):
        grads = [np.asarray(np.random.randn(*shape), dtype) for shape in SHAPES]
        for parameter, grad in zip(theirs, grads, strict=True):
            parameter.grad = oracle.from_numpy(grad.copy())
        optimizer.step()
        step(params, [np.asfortranarray(grad) for grad in grads], number)
    for ours, parameter in zip(params, theirs, strict=True):
        np.testing.assert_allclose(ours, parameter.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.01, "maximize": True},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
    ],
)
def test_sgd_has_the_same_bits(oracle, dtype, options):
    buffers = [np.zeros(shape, dtype) for shape in SHAPES] if "momentum" in options else None

    def step(params, grads, number):
        optim.sgd(params, grads, buffers, lr=0.1, first=number == 1, **options)

    compare(oracle, dtype, lambda p: oracle.optim.SGD(p, lr=0.1, **options), step, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"betas": (0.9, 0.999), "eps": 1e-8},
        {"betas": (0.3, 0.99), "eps": 1e-6, "weight_decay": 0.01, "maximize": True},
    ],
)
def test_adam(oracle, dtype, decoupled, amsgrad, options):
    """To a few units in the last place of a step: PyTorch's square root is not exactly rounded."""
    means, squares, largest = ([np.zeros(shape, dtype) for shape in SHAPES] for _ in range(3))

    def step(params, grads, number):
        optim.adam(
            params, grads, means, squares, largest if amsgrad else None,
            step=number, lr=0.01, decoupled=decoupled, **options,
        )  # fmt: skip

    options = {"weight_decay": 0.0, **options}
    theirs = oracle.optim.AdamW if decoupled else oracle.optim.Adam
    tolerance = 2 * float(np.finfo(dtype).eps)
    compare(
        oracle, dtype, lambda p: theirs(p, lr=0.01, amsgrad=amsgrad, **options), step, tolerance
    )


def test_strided_parameters_and_gradients():
    memory = np.ones((4, 6))
    optim.sgd([memory[:, ::2]], [np.full((3, 4), 2.0).T], None, lr=0.25)
    assert memory.tolist() == [[0.5, 1.0] * 3] * 4


def test_no_parameters():
    optim.sgd([], [], None, lr=0.1)
    optim.adam([], [], [], [], None, step=1, lr=0.1, betas=(0.9, 0.99), eps=1e-8)


def test_any_number_of_threads(thread_counts):
    results = []
    start, grad = np.random.randn(2, 300_003)
    for _ in thread_counts():
        arrays = [start.copy(), np.zeros_like(start), np.zeros_like(start)]
        optim.adam(
            arrays[:1], [grad], arrays[1:2], arrays[2:], None,
            step=1, lr=0.1, betas=(0.9, 0.99), eps=1e-8,
        )  # fmt: skip
        results.append(b"".join(x.tobytes() for x in arrays))
    assert results[0] == results[1]
