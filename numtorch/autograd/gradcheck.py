"""Checks of derivatives against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtype import float64
from ..tensor import Tensor, wrap, wrap_array
from .calls import grad

Array = np.ndarray[Any, Any]
Inputs = Tensor | Sequence[Any]


class GradcheckError(RuntimeError):
    """A derivative is not what finite differences say."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Inputs,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of ``func`` are those that central differences of width ``eps`` show.

    ``inputs`` are its arguments; those that require grad are checked and should be float64.
    ``fast_mode`` is accepted, and checks every element all the same.

    Raises :class:`GradcheckError` where it does not hold, unless ``raise_exception`` is False;
    NotImplementedError for checks of forward-mode or batched derivatives.

    >>> import numtorch as torch
    >>> x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, x)
    True
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck: forward-mode and batched derivatives do not exist")
    if not check_backward_ad:
        raise AssertionError(
            "Expected at least one of check_forward_ad or check_backward_ad to be True"
        )
    given = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    check = _Check(func, given, eps, atol, rtol, nondet_tol)
    try:
        check.jacobians(check_grad_dtypes)
        check.zeros_in_zeros_out()
        if check_undefined_grad:
            check.missing_grads()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Inputs,
    grad_outputs: Inputs | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of ``func`` are those that finite differences show.

    ``grad_outputs`` are the gradients of its results, which are random if they are not given.
    Everything else is as in :func:`gradcheck`.
    """
    if check_fwd_over_rev:
        raise NotImplementedError("gradgradcheck: forward-mode derivatives do not exist")
    if not check_rev_over_rev:
        raise AssertionError(
            "Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True"
        )
    given = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    weights: tuple[Any, ...]
    if grad_outputs is None:
        weights = _random_like(_outputs(func(*given)), gen_non_contig_grad_outputs)
    else:
        several = isinstance(grad_outputs, list | tuple)
        weights = tuple(grad_outputs) if several else (grad_outputs,)
    count = len(weights)

    def gradients(*arguments: Any) -> tuple[Tensor, ...]:
        """The first derivatives, as a function of the inputs and the results' gradients."""
        own, starts = arguments[:-count], arguments[-count:]
        found = grad(
            _outputs(func(*own)),
            [x for x in own if isinstance(x, Tensor) and x.requires_grad],
            starts,
            create_graph=True,
            allow_unused=True,
        )
        return tuple(each for each in found if each is not None)

    return gradcheck(
        gradients,
        (*given, *weights),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        fast_mode=fast_mode,
        masked=masked,
    )


def _outputs(result: Any) -> tuple[Tensor, ...]:
    """The results that are differentiable."""
    results = result if isinstance(result, list | tuple) else (result,)
    return tuple(x for x in results if isinstance(x, Tensor) and x.requires_grad)


def _random_like(tensors: Sequence[Tensor], strided: bool) -> tuple[Tensor, ...]:
    """Gradients to start from: normal numbers, the same in every run."""
    generator = np.random.default_rng(0)
    found = []
    for tensor in tensors:
        values = generator.standard_normal((*tensor.shape, 2)).astype(tensor.dtype.numpy)
        start = values[..., 0] if strided else values[..., 0].copy()
        found.append(wrap(start, tensor.dtype).requires_grad_())
    return tuple(found)


class _Check:
    """One function with its inputs, and the tests it has to stand."""

    def __init__(
        self,
        func: Callable[..., Any],
        inputs: tuple[Any, ...],
        eps: float,
        atol: float,
        rtol: float,
        nondet_tol: float,
    ) -> None:
        self.func = func
        self.inputs = inputs
        self.eps = eps
        self.atol = atol
        self.rtol = rtol
        self.nondet_tol = nondet_tol
        self.wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
        self.refuse_bad_inputs()

    def refuse_bad_inputs(self) -> None:
        if not self.wanted:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, "
                "but none of them have requires_grad=True."
            )
        for place, x in enumerate(self.inputs):
            if not (isinstance(x, Tensor) and x.requires_grad):
                continue
            if x.dtype is not float64:
                warnings.warn(
                    f"Input #{place} requires gradient and is not a double precision floating "
                    "point or complex. This check will likely fail if all the inputs are not of "
                    "double precision floating point or complex. ",
                    stacklevel=4,
                )
            if any(not step and n > 1 for step, n in zip(x.stride(), x.shape, strict=True)):
                raise RuntimeError(
                    f"The {place}th input has a dimension with stride 0. gradcheck only supports "
                    "inputs that are non-overlapping to be able to compute the numerical gradients "
                    "correctly. You should call .contiguous on the input before passing it to "
                    "gradcheck."
                )

    # ------------------------------------------------------------------ Jacobians

    def jacobians(self, check_dtypes: bool) -> None:
        """Compares the derivative of every result for every input."""
        results = self.func(*self.inputs)
        results = results if isinstance(results, list | tuple) else (results,)
        for place, result in enumerate(results):
            if not isinstance(result, Tensor):
                raise ValueError(f"Expected the results to be tensors, but got {type(result)}")
            numerical = [self.numerical(x, place, result.numel()) for x in self.wanted]
            if not result.requires_grad:
                if any(np.any(np.abs(each) > self.atol) for each in numerical):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
                continue
            analytical = self.analytical(result, check_dtypes)
            for index, (a, n) in enumerate(zip(analytical, numerical, strict=True)):
                if not np.allclose(a, n, self.rtol, self.atol, equal_nan=False):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {place} with respect to input {index},\n"
                        f"numerical:{wrap_array(n)}\nanalytical:{wrap_array(a)}\n"
                    )

    def numerical(self, x: Tensor, place: int, count: int) -> Array:
        """The derivative of one result for one input, by central differences: (inputs, outputs)."""
        jacobian = np.zeros((x.numel(), count), x.dtype.numpy)
        for row, index in enumerate(np.ndindex(x._array.shape)):
            before = x._array[index].copy()
            sides = []
            for step in (self.eps, -self.eps):
                x._array[index] = before + step
                result = self.func(*self.inputs)
                result = result[place] if isinstance(result, list | tuple) else result
                sides.append(result._array.copy())
            x._array[index] = before
            jacobian[row] = ((sides[0] - sides[1]) / (2 * self.eps)).reshape(-1)
        return jacobian

    def analytical(self, result: Tensor, check_dtypes: bool) -> list[Array]:
        """The derivatives of a result by the graph, computed twice to see that they agree."""
        jacobians = [np.zeros((x.numel(), result.numel()), x.dtype.numpy) for x in self.wanted]
        for column in range(result.numel()):
            start = np.zeros(result.shape, result.dtype.numpy)
            start.reshape(-1)[column] = 1
            first, second = (
                grad(
                    result,
                    self.wanted,
                    wrap(start, result.dtype),
                    retain_graph=True,
                    allow_unused=True,
                )
                for _ in range(2)
            )
            for jacobian, x, found, again in zip(
                jacobians, self.wanted, first, second, strict=True
            ):
                if found is None or again is None:
                    continue
                if found.shape != x.shape:
                    raise GradcheckError("Analytical gradient has incorrect size")
                if check_dtypes and found.dtype is not x.dtype:
                    raise GradcheckError("Gradient has dtype mismatch")
                jacobian[:, column] = found._array.reshape(-1)
                if np.any(np.abs(found._array - again._array) > self.nondet_tol):
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and "
                        "grad_output multiple times gives different values, although analytical "
                        "gradient matches numerical gradient.The tolerance for nondeterminism was "
                        f"{self.nondet_tol}."
                    )
        return jacobians

    # ------------------------------------------------------------------ special gradients

    def zeros_in_zeros_out(self) -> None:
        """Sees that the gradients are linear in those of the results, as far as zero shows."""
        results = _outputs(self.func(*self.inputs))
        if results:
            self.refuse_unless_zero(results, "backward not multiplied by grad_output")

    def missing_grads(self) -> None:
        """Sees that the gradients exist where some results have none."""
        count = len(_outputs(self.func(*self.inputs)))
        for missing in range(count if count > 1 else 0):
            results = _outputs(self.func(*self.inputs))
            self.refuse_unless_zero(
                results[:missing] + results[missing + 1 :],
                "Expected all input grads to be undefined or zero when all output grads are "
                "undefined or zero.",
            )

    def refuse_unless_zero(self, results: tuple[Tensor, ...], message: str) -> None:
        starts = [wrap(np.zeros(x.shape, x.dtype.numpy), x.dtype) for x in results]
        for x, found in zip(
            self.wanted, grad(results, self.wanted, starts, allow_unused=True), strict=True
        ):
            if found is None:
                continue
            if found._array.any():
                raise GradcheckError(message)
            if found.shape != x.shape:
                raise GradcheckError("grad is incorrect size")
