"""Losses of a few rows by one call: the bits of loops that are launched one by one."""

import numpy as np
import pytest

from numtorch_kernels import classlosses, norm, reduce

LOSSES = [(norm.nll, norm.nll_loop), (norm.cross_entropy, norm.cross_entropy_loop)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "loop_for"), LOSSES)
def test_bits_are_those_of_the_loops(dtype, weighted, loss, loop_for):
    for rows, classes in ((1, 1), (4, 3), (33, 7), (500, 8)):
        x = np.random.randn(rows, classes).astype(dtype)
        weight = np.random.rand(classes).astype(dtype) if weighted else None
        target = np.random.randint(0, classes, rows)
        target[1::3] = -100
        losses, *others, weights = loss(x, target, weight)
        total = reduce.sum(weights, (0,))
        mean = reduce.MEAN(losses, (0,), False, losses.dtype, scale=total)
        for reduction, expected in (("mean", mean), ("sum", reduce.sum(losses, (0,)))):
            found = classlosses.reduced(loop_for, x, target, weight, reduction, -100)
            assert found is not None
            assert [each.dtype for each in found] == [x.dtype] * 3
            np.testing.assert_array_equal(found[0], expected)
            np.testing.assert_array_equal(found[1], total)
            np.testing.assert_array_equal(found[2], [losses, *others, weights])


def test_the_unusual_is_left_alone():
    x, target, weight = np.ones((4, 3)), np.array([0, 1, 2, 0]), np.ones(3)
    unusual = [
        (x.T, target[:3], None),
        (x[0], target[0], None),
        (x.astype(np.int64), target, None),
        (x[:0], target[:0], None),
        (x, target[:3], None),
        (x, target.astype(np.int32), None),
        (x, target[:, None], None),
        (x, target[::-1], None),
        (x, target + 1, None),
        (x, target - 1, None),
        (x, [0, 1, 2, 0], None),
        (x, np.int64(0), None),
        (x, target, [1.0, 1.0, 1.0]),
        (x, target, weight[:2]),
        (x, target, weight.astype(np.float32)),
        (x, target, weight * np.nan),
        (np.ones((classlosses.FEW + 1, 1)), target, None),
    ]
    for given in unusual:
        assert classlosses.reduced(norm.nll_loop, *given, "mean", -100) is None
    for reduction, ignored in (("none", -100), ("mean", 1 << 64), ("mean", 1.0)):
        assert classlosses.reduced(norm.nll_loop, x, target, None, reduction, ignored) is None
