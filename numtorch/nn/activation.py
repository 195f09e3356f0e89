"""Activation functions as layers.

A layer is its function of :mod:`.functional`; what the function takes besides the input, with its
defaults, is what the layer is made with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from ..creation import full
from ..tensor import Tensor
from . import functional as F
from .module import Module
from .parameter import Parameter


class _Activation(Module):
    """A layer that is a function with fixed parameters."""

    function: ClassVar[Callable[..., Any]]
    signature: ClassVar[inspect.Signature]
    silent: ClassVar[tuple[str, ...]] = ()  # parameters that the layer's text leaves out
    bare: ClassVar[bool] = False  # whether it has their values without names

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = self.signature.bind(*args, **kwargs)
        given.apply_defaults()
        vars(self).update(given.arguments)

    def forward(self, input: Tensor) -> Tensor:
        """The function of the input."""
        own = vars(self)
        options = {name: own[name] for name in self.signature.parameters}
        return type(self).function(input, **options)

    def extra_repr(self) -> str:
        """The parameters; ``inplace`` only if it is set."""
        own = vars(self)
        shown = [
            repr(own[name]) if self.bare else f"{name}={own[name]!r}"
            for name in self.signature.parameters
            if name not in self.silent and (name != "inplace" or own[name])
        ]
        return ", ".join(shown)


_HIDDEN = ("input", "_stacklevel", "dtype", "out", "others")


def _layer(
    name: str, function: Callable[..., Any], silent: tuple[str, ...] = (), bare: bool = False
) -> Any:
    """The class of a layer for a function."""
    signature = inspect.signature(function)
    kept = [
        p.replace(kind=p.POSITIONAL_OR_KEYWORD)
        for p in signature.parameters.values()
        if p.name not in _HIDDEN
    ]
    namespace = {
        "function": staticmethod(function),
        "signature": inspect.Signature(kept),
        "silent": silent,
        "bare": bare,
        "__doc__": f"The layer of :func:`numtorch.nn.functional.{function.__name__}`.",
        "__module__": __name__,
        "__qualname__": name,
    }
    return type(name, (_Activation,), namespace)


ReLU = _layer("ReLU", F.relu)
ReLU6 = _layer("ReLU6", F.relu6)
Hardtanh = _layer("Hardtanh", F.hardtanh)
LeakyReLU = _layer("LeakyReLU", F.leaky_relu)
ELU = _layer("ELU", F.elu)
SELU = _layer("SELU", F.selu)
CELU = _layer("CELU", F.celu)
GELU = _layer("GELU", F.gelu)
SiLU = _layer("SiLU", F.silu)
Mish = _layer("Mish", F.mish)
Sigmoid = _layer("Sigmoid", F.sigmoid)
LogSigmoid = _layer("LogSigmoid", F.logsigmoid)
Hardsigmoid = _layer("Hardsigmoid", F.hardsigmoid, silent=("inplace",))
Hardswish = _layer("Hardswish", F.hardswish, silent=("inplace",))
Tanh = _layer("Tanh", F.tanh)
Tanhshrink = _layer("Tanhshrink", F.tanhshrink)
Softplus = _layer("Softplus", F.softplus)
Softsign = _layer("Softsign", F.softsign)
Threshold = _layer("Threshold", F.threshold)
GLU = _layer("GLU", F.glu)
Softmax = _layer("Softmax", F.softmax)
Softmin = _layer("Softmin", F.softmin)
LogSoftmax = _layer("LogSoftmax", F.log_softmax)
Hardshrink = _layer("Hardshrink", F.hardshrink, bare=True)
Softshrink = _layer("Softshrink", F.softshrink, bare=True)


class PReLU(Module):
    """:class:`ReLU` with learnt slopes of the negative side: one, or one for each channel."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), init, device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        """The function of the input."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """How many slopes."""
        return f"num_parameters={self.num_parameters}"
