"""Kernels of the user's own: Python functions of numbers, as differentiable operations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from numtorch_kernels.build import Loop
from numtorch_kernels.deferral import settled
from numtorch_kernels.expression import Expr, cast, symbol
from numtorch_kernels.layout import native
from numtorch_kernels.meanings import MEANINGS, Arithmetic
from numtorch_kernels.pointwise import loop_of, run
from numtorch_kernels.scalarize import Body, ScalarFunction

from .dtype import DTYPES, type_name
from .ops import FUNCTIONS
from .ops.apply import apply
from .ops.derivation import Calls, mark
from .ops.elementwise import PointwiseOp
from .ops.formula import Derivative, Formula, Trace, distinct
from .ops.signature import EMPTY, must_be_tensor
from .ops.table import TABLE
from .tensor import Tensor

_DTYPES = frozenset(kind.numpy for kind in DTYPES)
_ARRAYS = (np.ndarray, np.generic)


class Kernel:
    """A function of numbers as an operation on tensors, arrays and numbers; see :func:`kernel`."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[..., Any]) -> None:
        if not isinstance(function, FunctionType):
            raise TypeError(
                f"a kernel is made of a Python function, not of {type_name(type(function))}"
            )
        functools.update_wrapper(self, function)
        self._scalar = ScalarFunction(function)
        self._signature = inspect.signature(function, follow_wrapped=False)
        self._names = list(self._signature.parameters)
        if not self._names:
            raise TypeError(f"{function.__name__} has no parameters to compute with")
        self._use({})

    def _use(self, given: dict[int, Derivative]) -> None:
        """Starts anew with some derivatives given by hand."""
        name = self.__name__ if self.__name__.isidentifier() else "lambda"
        self._formula = Formula(name, len(self._names), _traced(self._scalar))
        self._formula.given = given
        self._plans: dict[Any, tuple[Loop, list[np.dtype[Any]]]] = {}  # of calls with ndarrays

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}{self._signature}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # it is pickled by its name, as functions are

    # ------------------------------------------------------------------ calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function of each element of the arguments, which broadcast."""
        out = kwargs.pop("out", None) if "out" not in self._names else None
        values = args
        if kwargs or len(args) != len(self._names):
            values = self._bound(args, kwargs)
        kind = self._kind(values)
        if kind is Tensor:
            return apply(self._formula.op, values, out)
        if out is not None:
            raise TypeError(f"{self.__name__}(): out is for calls with tensors")
        if kind is np.ndarray:
            return self._compute(values)
        return self.__wrapped__(*args, **kwargs)

    def _bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in the order of the parameters."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}(): {error}") from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def _kind(self, values: tuple[Any, ...]) -> type:
        """What the arguments are beside numbers: Tensor, ndarray or nothing but float."""
        kind: type = float
        for x in values:
            if isinstance(x, Tensor):
                kind = Tensor
            elif isinstance(x, _ARRAYS):
                kind = np.ndarray if kind is float else kind
            elif not isinstance(x, int | float):
                self._refuse(x, values)
        if kind is Tensor:
            for x in values:
                if isinstance(x, np.ndarray):
                    self._refuse(x, values)
        return kind

    def _refuse(self, x: Any, values: tuple[Any, ...]) -> NoReturn:
        """Raises the error for an argument of a type that is not computed with."""
        position = next(i for i, each in enumerate(values) if each is x)
        must_be_tensor(self.__name__, self._names[position], position + 1, x)

    def _compute(self, values: tuple[Any, ...]) -> Any:
        """The result for ndarrays, NumPy's scalars and numbers, which promote as in NumPy."""
        key = tuple([x.dtype if isinstance(x, _ARRAYS) else x.__class__ for x in values])
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(values)
        loop, dtypes = plan
        with settled():
            result = run(loop, [np.asarray(x, d) for x, d in zip(values, dtypes, strict=True)])
        return result if any(isinstance(x, np.ndarray) for x in values) else result[()]

    def _plan(self, values: tuple[Any, ...]) -> tuple[Loop, list[np.dtype[Any]]]:
        """The loop for ndarrays and numbers, and the dtypes that it reads them in."""
        compute = native(np.result_type(*values))
        dtypes = [native(x.dtype) if isinstance(x, _ARRAYS) else compute for x in values]
        for dtype in (compute, *dtypes):
            if dtype not in _DTYPES:
                raise TypeError(f"{self.__name__}(): arrays of dtype {dtype} are not supported")
        if compute.kind != "f" and self._formula.makes_floats(compute):
            compute = np.dtype(np.float64)
        operands = [cast(symbol(i, dtype), compute) for i, dtype in enumerate(dtypes)]
        return loop_of([self._formula.trace(operands, {})], tuple(dtypes)), dtypes

    # ------------------------------------------------------------------ within other kernels

    def __inline__(self, body: Body, operands: list[Any], named: dict[str, Any]) -> Any:
        """What the function gives for symbols and numbers in the body of another kernel."""
        values = self._bound(operands, named)
        depth, at, calls = body.depth + 1, body.at, body.notes
        if not self._formula.given or not any(isinstance(x, Expr) for x in values):
            return self._scalar.evaluate(values, at, calls, depth)
        symbols = at.reals(*map(at.symbol, values))
        inputs = [distinct(x, calls) for x in symbols]
        result = at.symbol(self._scalar.evaluate(inputs, at, calls, depth))
        return mark(result, tuple(inputs), self._formula, calls)

    # ------------------------------------------------------------------ derivatives

    def derivative(self, **rules: Callable[..., Any]) -> Kernel:
        """Gives derivatives by hand, for the inputs named; returns the kernel itself.

        A rule is a function of numbers, of which the same holds as of a kernel. Its parameters say
        what it needs: ``g`` the gradient of the result, ``y`` the result, an input by its name
        (which comes before ``y``, where an input is called that). Its value is the gradient of the
        input. It is differentiated in turn for gradients of a higher order, and holds wherever the
        kernel is called by other kernels. Kernels that were used before keep what they had.

        Raises TypeError for a name that is no input, NameError for a parameter of a rule that
        means nothing, and what :func:`kernel` raises.

        >>> import numtorch
        >>> @numtorch.kernel
        ... def rounded(x):
        ...     return round(x)
        >>> rounded.derivative(x=lambda g: g)  # as if it were not rounded
        <kernel rounded(x)>
        >>> x = numtorch.tensor([0.4, 1.7], requires_grad=True)
        >>> rounded(x).sum().backward()
        >>> x.grad
        tensor([1., 1.])
        """
        given = dict(self._formula.given)
        for name, rule in rules.items():
            if name not in self._names:
                raise TypeError(f"{self.__name__} has no input {name!r}, only {self._listed()}")
            given[self._names.index(name)] = self._by_hand(name, rule)
        self._use(given)
        return self

    def _listed(self) -> str:
        return ", ".join(self._names)

    def _by_hand(self, name: str, rule: Any) -> Derivative:
        function = inspect.unwrap(rule)
        if not isinstance(function, FunctionType):
            raise TypeError(
                f"the derivative by {name} is a Python function, not {type_name(type(rule))}"
            )
        if "g" in self._names:
            raise TypeError(f"the input g of {self.__name__} takes the name of the gradient")
        meanings = {"g": "g", "y": "y", **{each: f"x{i}" for i, each in enumerate(self._names)}}
        asked = list(inspect.signature(function).parameters)
        for each in asked:
            if each not in meanings:
                raise NameError(
                    f"the derivative of {self.__name__} by {name} asks for {each!r}; there are "
                    f"g, y, {self._listed()}"
                )
        names = ["g", *(meanings[each] for each in asked if each != "g")]
        scalar = ScalarFunction(function)

        def trace(operands: Sequence[Expr], calls: Calls) -> Expr:
            known = dict(zip(names, operands, strict=True))
            return _traced(scalar)([known[meanings[each]] for each in asked], calls)

        return Derivative(names, Formula(self._formula.name + "_backward", len(names), trace))


def _traced(scalar: ScalarFunction) -> Trace:
    """The trace of a function."""

    def trace(operands: Sequence[Expr], calls: Calls) -> Expr:
        at = Arithmetic(operands[0].dtype)
        return at.symbol(scalar.evaluate(operands, at, calls))

    return trace


def kernel(function: Callable[..., Any]) -> Kernel:
    """Makes a differentiable operation on tensors of a Python function of numbers; a decorator.

    The result computes the function of each element, compiled and in parallel. Its arguments are
    tensors and numbers, which broadcast and promote as in PyTorch; the result is a tensor, of the
    default dtype if the function computes with fractions and no argument is floating; ``out=``
    takes a tensor for it. For ndarrays and numbers it is an ndarray, and dtypes are NumPy's. Of
    numbers alone it is the function itself.

    The function is read, not run, so only what can be read may stand in it: arithmetic and
    comparisons; ``and``, ``or``, ``not``; conditional expressions and statements, of which all
    branches are computed; ``for`` over a range or tuple of at most 256 elements that are known in
    advance, with ``break`` and ``continue``; assignments to names; tuples; ``abs``, ``min``,
    ``max``, ``round``, ``float``, ``int``, ``sum`` and the like, the elementary functions of
    :mod:`math` and NumPy, pointwise functions of numtorch; other such Python functions and kernels.
    Numbers from outside the function have the value that they have at its first use. Where Python
    would raise an error, such as for ``1 / 0``, the result is infinite or NaN.

    Derivatives of any order follow from the function, and are those of the branch that is taken;
    :meth:`Kernel.derivative` gives them by hand.

    Raises NotImplementedError naming the line of what cannot be read, some at once and some at the
    first use; OSError if the source of the function is not available; TypeError for what is no
    Python function, or has no parameters.

    >>> import math
    >>> import numtorch
    >>> @numtorch.kernel
    ... def swish(x, beta):
    ...     return x / (1 + math.exp(-beta * x))
    >>> x = numtorch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> swish(x, 1.0)
    tensor([-0.2689,  0.0000,  0.7311], grad_fn=<SwishBackward0>)
    """
    return Kernel(function)


def _row_meaning(row: PointwiseOp) -> Callable[..., Any]:
    """What a function of the table means within a kernel."""

    def meaning(at: Arithmetic, *operands: Any, **named: Any) -> Any:
        given = {**dict(zip(row.names, operands, strict=False)), **named}
        lift = at.reals if row.promote == "float" else at.numbers
        values = dict(zip(given, lift(*given.values()), strict=True))
        defaults = dict(zip(row.names, row.defaults, strict=True))
        return row._forward(**{k: v for k, v in defaults.items() if v is not EMPTY} | values)

    return meaning


for _name, _operation in TABLE.items():
    if isinstance(_operation, PointwiseOp):
        MEANINGS[_operation.function] = MEANINGS[FUNCTIONS.get(_name)] = _row_meaning(_operation)
