"""PyTorch's API on NumPy's memory, compiled by Numba."""

from __future__ import annotations

from math import e, inf, nan, pi

from . import autograd, creation, cuda, legacy, methods, nn, optim, queries, random, utils
from .autograd import functional as _autograd_functional
from .autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .compiler import compile
from .dtype import (
    ALIASES,
    can_cast,
    dtype,
    finfo,
    get_default_dtype,
    iinfo,
    promote_types,
    set_default_dtype,
)
from .ops import FUNCTIONS
from .printing import set_printoptions
from .random import Generator, default_generator
from .size import (
    Size,
    channels_last,
    contiguous_format,
    device,
    layout,
    memory_format,
    preserve_format,
    strided,
)
from .tensor import Tensor
from .userkernel import kernel

__version__ = "0.1.0"

globals().update(ALIASES)
globals().update(FUNCTIONS)
for _family in (creation, legacy, random, queries):
    globals().update(_family.FUNCTIONS)
methods.attach()
__all__ = [name for name in globals() if not name.startswith("_")]
