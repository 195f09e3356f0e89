"""Calls of products and of large reductions that compiled code answers: the bits of Python's."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

import numtorch
from numtorch import Tensor
from numtorch.ops.table import TABLE
from numtorch_kernels import matmul, threads
from numtorch_kernels.calls import callables
from python_calls import are_answered, in_python


@pytest.fixture(autouse=True)
def _compiled() -> None:
    callables.begin()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("sizes", [(128, 128, 128), (7, 1000, 200), (1000, 40, 70)])
def test_shared_products_have_the_bits_of_pythons(sizes: tuple[int, ...], dtype: str) -> None:
    threads.set_num_threads(2)
    m, k, n = sizes
    kind = getattr(numtorch, dtype)
    x, y = (8 * numtorch.rand(m, k)).to(kind), (8 * numtorch.rand(n, k)).to(kind).t()
    expected = in_python("mm")(x, y).numpy()
    for _ in range(3):
        np.testing.assert_array_equal((x @ y).numpy(), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 5), (0, 3, 4, 5), (40, 30, 70, 20), (3, 130, 90, 70)])
def test_products_of_batches_have_the_bits_of_pythons(sizes: tuple[int, ...], dtype: str) -> None:
    threads.set_num_threads(2)
    batch, m, k, n = sizes
    kind = getattr(numtorch, dtype)
    x, y = (8 * numtorch.rand(batch, m, k)).to(kind), (8 * numtorch.rand(batch, k, n)).to(kind)
    expected = in_python("bmm")(x, y).numpy()
    columns = y.transpose(1, 2).contiguous().transpose(1, 2)
    stacks = [z[:, None].expand(batch, 2, *z.shape[1:]) for z in (x, y)]
    for _ in range(3):
        np.testing.assert_array_equal(numtorch.bmm(x, y).numpy(), expected)
        np.testing.assert_array_equal((x @ columns).numpy(), expected)
        np.testing.assert_array_equal((stacks[0] @ stacks[1]).numpy()[:, 1], expected)
        wide = stacks[0].contiguous() @ stacks[1].contiguous()
        np.testing.assert_array_equal(wide.numpy()[:, 0], expected)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "stacks",
    [
        ((8, 1), (8,)), ((8,), ()), ((), (9,)), ((3, 1), (4,)), ((2, 1, 3), (7, 1)), ((0,), ()),
        ((2, 3, 1), (2, 1, 3)), ((2, 2, 1, 1), (3, 2)), ((1,), (0,)), ((1, 1), (5,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sizes", [(3, 4, 5), (64, 60, 62)])
def test_products_of_stacks_that_broadcast_have_the_bits_of_pythons(
    sizes: tuple[int, ...], stacks: tuple[tuple[int, ...], ...], workers: int
) -> None:
    threads.set_num_threads(workers)
    m, k, n = sizes
    x, y = numtorch.rand(*stacks[0], m, k), numtorch.rand(*stacks[1], n, k).mT
    expected = matmul.matmul(x.numpy(), y.numpy())
    for _ in range(3):
        found = numtorch.matmul(x, y).numpy()
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_batches_do_not_broadcast() -> None:
    x = numtorch.rand(2, 3, 3)
    numtorch.bmm(x, x), numtorch.bmm(x, x)
    for other in (x[:1], x[0], x[None]):
        with pytest.raises(RuntimeError, match=r"3D tensor|to be: \[2, 3\] but got: \[1, 3\]"):
            numtorch.bmm(x, other)


def test_gradients_of_products_of_batches() -> None:
    x, y = (numtorch.rand(2, 3, 3, requires_grad=True) for _ in range(2))
    grads = []
    for product in (in_python("bmm"), numtorch.bmm, numtorch.bmm, numtorch.matmul, numtorch.matmul):
        x.grad = y.grad = None
        product(x, y).sum().backward()
        grads.append((x.grad.numpy(), y.grad.numpy()))
    for found in grads[1:]:
        np.testing.assert_array_equal(found, grads[0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    "shape", [(5, 7), (1, 7), (7,), (2, 3, 7), (0, 7), (300, 170), (4, 90, 170)]
)
def test_linear_maps_have_the_bits_of_pythons(shape: tuple[int, ...], dtype: str) -> None:
    threads.set_num_threads(2)
    kind = getattr(numtorch, dtype)
    columns = shape[-1]
    x = (8 * numtorch.rand(*shape)).to(kind)
    for n in (1, 6, 130):
        weight, bias = ((8 * numtorch.rand(*size)).to(kind) for size in ((n, columns), (n,)))
        turned = (8 * numtorch.rand(columns, n)).to(kind).t()
        for operands in ((x, weight, bias), (x, weight), (x, turned, None), (x, weight, bias[:1])):
            expected = in_python("linear")(*operands)
            for _ in range(3):
                result = TABLE["linear"].function(*operands)
                assert result.shape == expected.shape
                np.testing.assert_array_equal(result.numpy(), expected.numpy())


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7)])
def test_gradients_of_linear_maps(shape: tuple[int, ...]) -> None:
    x, weight, bias = (numtorch.rand(*size, requires_grad=True) for size in (shape, (4, 7), (4,)))
    grads = []
    for linear in (in_python("linear"), *[TABLE["linear"].function] * 3):
        x.grad = weight.grad = bias.grad = None
        linear(x, weight, bias).sum().backward()
        grads.append([each.grad.numpy() for each in (x, weight, bias)])
    for found in grads[1:]:
        for one, other in zip(found, grads[0], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("size", [7, 20_000, 500_003, 3_000_000])
def test_dot_products_have_the_bits_of_pythons(size: int, dtype: str) -> None:
    threads.set_num_threads(2)
    kind = getattr(numtorch, dtype)
    x, y = ((8 * numtorch.rand(size)).to(kind) for _ in range(2))
    for a, b in ((x, y), (x[: size // 2 * 2 : 2], y[1::2]), (x.flip(0), y)):
        expected = in_python("dot")(a, b).numpy()
        for _ in range(3):
            np.testing.assert_array_equal(a.dot(b).numpy(), expected)
        threads.set_num_threads(1)
        np.testing.assert_array_equal(a.dot(b).numpy(), expected)
        threads.set_num_threads(2)


@pytest.mark.parametrize("size", [40_000, (1 << 19) + 77, (1 << 22) + 8193])
def test_large_reductions_have_the_bits_of_pythons(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads.set_num_threads(2)
    matrix, line = numtorch.rand(2048, 300), numtorch.rand(size)
    ragged = matrix[:2001, :290].contiguous()  # the last chunk of rows is shorter
    cases = (
        *((x, arguments) for x in (matrix, ragged) for arguments in ((0,), (1, True))),
        *((x, arguments) for x in (line, line[:200_000]) for arguments in ((), (0,))),
    )
    for name in ("sum", "mean", "amax"):
        method = getattr(Tensor, name)
        for x, arguments in cases:
            expected = in_python(name)(x, *arguments).numpy()
            for _ in range(3):
                np.testing.assert_array_equal(method(x, *arguments).numpy(), expected)
        for call in (partial(method, line), partial(method, ragged, 0)):
            assert are_answered(call, monkeypatch) or sys.platform != "linux"
