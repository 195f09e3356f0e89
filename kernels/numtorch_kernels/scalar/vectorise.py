"""What every elementary function is written with.

House rules of this package, which keep loops over these functions vectorised:

- no branches: both sides are computed and `select` chooses;
- no calls to the C library: polynomials, `fma` and bit patterns;
- integers beside float32 are cut back to int32 where their value is used more than once, or made a
  float: Numba widens all arithmetic to int64, of which a vector holds half as many;
- a Python float is float64 to Numba, so float32 arithmetic with operators takes its constants from
  here, where they are float32 (they adapt to float64); the intrinsics of :mod:`..bits` convert
  constants themselves.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..bits import fma, polynomial
from ..intrinsics import Helper

vectorisable: Any = partial(Helper, forceinline=True)
"""Decorates a function of scalars that LLVM inlines into a loop and vectorises with it.

Fast-math stays off: reassociation would undo the compensated arithmetic.
"""

QUARTER = np.float32(0.25)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
TWO = np.float32(2.0)

ONE_BITS_F32 = 0x3F800000
ONE_BITS_F64 = 0x3FF0000000000000


@vectorisable
def odd_series(x, square, coefficients):
    """X + x**3 p(x**2), given x**2."""
    return fma(x * square, polynomial(square, coefficients), x)
