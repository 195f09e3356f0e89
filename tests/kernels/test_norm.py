"""Softmax, cross entropy and layer normalisation: PyTorch's results and gradients."""

import numpy as np
import pytest

from numtorch_kernels import norm

FLOATS = ["float32", "float64"]
TOLERANCE = {"float32": 4e-6, "float64": 2e-14}
SHAPES = [(12,), (1, 1), (3, 4), (5, 100), (100, 5), (700, 33), (2, 3, 40, 50), (0, 3), (3, 0)]
MATRICES = [(1, 1), (3, 4), (200, 10), (5, 100), (130, 600)]


def sample(shape, dtype):
    return (np.random.randn(*shape) * 4).astype(dtype)


def layouts(x):
    yield x
    yield np.asfortranarray(x)
    yield np.repeat(x, 2, -1)[..., ::-2]


def close(ours, theirs, tolerance):
    theirs = theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def leaf(oracle, x):
    return None if x is None else oracle.tensor(x.copy(), requires_grad=True)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax(oracle, dtype, name, shape):
    for x in layouts(sample(shape, dtype)):
        for axis in range(x.ndim):
            theirs, grad = leaf(oracle, x), sample(shape, dtype)
            expected = getattr(oracle, name)(theirs, axis)
            expected.backward(oracle.from_numpy(grad))
            found = getattr(norm, name)(x, axis)
            close(found, expected, TOLERANCE[dtype])
            backward = getattr(norm, f"{name}_backward")
            close(backward(grad, found, axis), theirs.grad, 4 * TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_extremes(oracle, name):
    inf, nan = np.inf, np.nan
    rows = [[inf, 1, 2], [-inf, -inf, -inf], [nan, 1, 2], [-inf, 0, 1], [1000, 1001, -1000]]
    x = np.array(rows, np.float32)
    for wide, axis in ((x, 1), (np.repeat(x.T, 40, 1), 0)):
        expected = getattr(oracle, name)(oracle.from_numpy(wide), axis)
        np.testing.assert_allclose(getattr(norm, name)(wide, axis), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(oracle, dtype, shape, weighted):
    rows, classes = shape
    target = np.random.randint(0, classes, rows)
    target[1::5] = -100
    weight = np.random.rand(classes).astype(dtype) if weighted else None
    slope = np.random.rand(rows).astype(dtype)
    tolerance = TOLERANCE[dtype]

    def expect(function, x):
        theirs = leaf(oracle, x)
        scale = None if weight is None else oracle.from_numpy(weight)
        loss = function(theirs, oracle.from_numpy(target), scale, reduction="none")
        loss.backward(oracle.from_numpy(slope))
        return loss, theirs.grad

    functions = oracle.nn.functional
    for x in layouts(sample(shape, dtype)):
        loss, lse, share = norm.cross_entropy(x, target, weight)
        expected, gradient = expect(functions.cross_entropy, x)
        close(loss, expected, tolerance)
        close(lse, oracle.from_numpy(x.copy()).logsumexp(1), tolerance)
        found = norm.cross_entropy_backward(x, target, lse, slope * share)
        close(found, gradient, tolerance)
        chosen = np.ones(rows) if weight is None else weight[np.maximum(target, 0)]
        np.testing.assert_array_equal(share, np.where(target == -100, 0, chosen).astype(dtype))

        logarithms = norm.log_softmax(x, 1)
        loss, share = norm.nll(logarithms, target, weight)
        expected, gradient = expect(functions.nll_loss, logarithms)
        close(loss, expected, tolerance)
        close(norm.nll_backward(target, slope * share, classes), gradient, tolerance)


def test_targets_that_are_no_class_give_nan():
    target = np.array([4, -1, -100, 3])
    for found in norm.nll(np.zeros((4, 4)), target):
        np.testing.assert_array_equal(np.isnan(found), [True, True, False, False])
    loss, _, share = norm.cross_entropy(np.zeros((4, 4)), target)
    np.testing.assert_array_equal(np.isnan(loss), [True, True, False, False])
    np.testing.assert_array_equal(np.isnan(share), [True, True, False, False])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [shape for shape in MATRICES if shape[1] > 1] + [(2, 70, 33)])
@pytest.mark.parametrize("affine", ["", "w", "wb"])
def test_layer_norm(oracle, dtype, shape, affine):
    size = shape[-1]
    weight = np.random.rand(size).astype(dtype) if "w" in affine else None
    bias = np.random.rand(size).astype(dtype) if "b" in affine else None
    tolerance = 20 * TOLERANCE[dtype]
    for x in layouts(sample(shape, dtype)):
        grad = sample(shape, dtype)
        theirs, scale, shift = leaf(oracle, x), leaf(oracle, weight), leaf(oracle, bias)
        expected = oracle.nn.functional.layer_norm(theirs, (size,), scale, shift, 1e-5)
        expected.backward(oracle.from_numpy(grad))
        y, mean, rstd = norm.layer_norm(x, weight, bias, 1e-5)
        close(y, expected, tolerance)
        np.testing.assert_allclose(mean, x.mean(-1), tolerance, tolerance)
        np.testing.assert_allclose(rstd, (x.var(-1) + 1e-5) ** -0.5, tolerance)
        close(norm.layer_norm_backward(grad, x, weight, mean, rstd), theirs.grad, tolerance)
        by_weight, by_bias = norm.layer_norm_backward_weights(grad, x, mean, rstd)
        if scale is not None:
            close(by_weight, scale.grad, 4 * tolerance)
        if shift is not None:
            close(by_bias, shift.grad, 4 * tolerance)


def test_threads_change_no_bit(thread_counts):
    x = np.random.randn(1000, 300).astype(np.float32)
    target = np.random.randint(0, 300, 1000)

    def run():
        y, mean, rstd = norm.layer_norm(x, None, None, 1e-5)
        weights = norm.layer_norm_backward_weights(x, x, mean, rstd)
        softmaxes = [norm.softmax(x, 0), norm.log_softmax(x, 1)]
        return [a.tobytes() for a in (y, *weights, *softmaxes, *norm.cross_entropy(x, target))]

    found = [run() for _ in thread_counts()]
    assert found[0] == found[1]
