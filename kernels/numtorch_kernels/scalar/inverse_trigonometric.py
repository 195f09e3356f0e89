"""asin, acos, atan and atan2, each an odd minimax series after a reduction of the argument."""

from __future__ import annotations

import numpy as np

from ..bits import bits, copysign, fabs, select, sqrt
from .vectorise import HALF, odd_series, vectorisable

# pi / 2 and pi, each in two parts
HALF_PI_F32 = (np.float32(1.5707964), np.float32(-4.371139e-08))
HALF_PI_F64 = (1.5707963267948966, 6.123233995736766e-17)
PI_F32 = (np.float32(3.1415927), np.float32(-8.742278e-08))
PI_F64 = (3.141592653589793, 1.2246467991473532e-16)

# (atan t - t) / t**3 in t**2 on |t| <= 1, relative to atan t: 2**-25.7 and 2**-56.8. In float32 the
# second coefficient is two units above the best fit, so that atan 1 is pi / 4 to the last bit.
ATAN_F32 = (
    -0.333333,
    0.19998533,
    -0.14264013,
    0.10950835,
    -0.083991155,
    0.057877064,
    -0.031091532,
    0.0108651,
    -0.0017818629,
)
ATAN_F64 = (
    -0.3333333333333307,
    0.19999999999951745,
    -0.14285714282587786,
    0.11111111007332117,
    -0.09090907007611698,
    0.07692279886619102,
    -0.06666404403848188,
    0.0588052968887006,
    -0.052535262415696386,
    0.04722346518752233,
    -0.042192387594022655,
    0.03664306277235289,
    -0.02990559545254313,
    0.021986893838832282,
    -0.013902406244618906,
    0.007197763845130417,
    -0.002885546496396508,
    0.0008315371450987051,
    -0.000152206251429976,
    1.3229509296432853e-05,
)

# (asin s - s) / s**3 in s**2 on |s| <= 1/2, relative to asin s: 2**-59.5, and for results that are
# rounded to float32 2**-31.4
ASIN_F64 = (
    0.1666666666666676,
    0.07499999999970863,
    0.044642857174564,
    0.030381942709692616,
    0.022372214941165113,
    0.017351612755880333,
    0.013980812468102575,
    0.011398973222514595,
    0.010779933356693444,
    0.0037075474881210994,
    0.021704810037485832,
    -0.020995485495362114,
    0.03262646685942432,
)
ASIN_SHORT = (
    0.16666659712791443,
    0.07500521838665009,
    0.044513288885354996,
    0.03184022009372711,
    0.014309071935713291,
    0.037707023322582245,
)


@vectorisable
def _minus(constant, r):
    """A constant in two parts minus r."""
    return constant[0] - (r - constant[1])


@vectorisable
def _atan2(y, x, coefficients, half_pi, pi):
    """The angle of (x, y), from the ratio of the smaller to the larger magnitude.

    Equal magnitudes need no division, which would be 0 / 0 or inf / inf.
    """
    height, width = fabs(y), fabs(x)
    steep = height > width
    small, large = select(steep, width, height), select(steep, height, width)
    t = select(small == large, select(large == 0.0, 0.0, 1.0), small / large)
    angle = odd_series(t, t * t, coefficients)
    left = bits(x) < 0
    mirrored = select(left, -angle, angle)
    base = select(steep, half_pi[0], select(left, pi[0], 0.0))
    base_low = select(steep, half_pi[1], select(left, pi[1], 0.0))
    return copysign(base + (select(steep, -mirrored, mirrored) + base_low), y)


@vectorisable
def atan2_f32(y, x):
    """The angle of the point (x, y) in (-pi, pi], with C99's special cases; 1.47 ULP."""
    return _atan2(y, x, ATAN_F32, HALF_PI_F32, PI_F32)


@vectorisable
def atan2_f64(y, x):
    """The angle of the point (x, y) in (-pi, pi], with C99's special cases; 1.61 ULP."""
    return _atan2(y, x, ATAN_F64, HALF_PI_F64, PI_F64)


@vectorisable
def _atan(x, coefficients, half_pi):
    """Atan |x| = pi/2 - atan(1 / |x|) where |x| > 1."""
    a = fabs(x)
    steep = a > 1.0
    t = select(steep, 1.0, a) / select(steep, a, 1.0)
    angle = odd_series(t, t * t, coefficients)
    return copysign(select(steep, _minus(half_pi, angle), angle), x)


@vectorisable
def atan_f32(x):
    """The inverse tangent; 1.47 ULP."""
    return _atan(x, ATAN_F32, HALF_PI_F32)


@vectorisable
def atan_f64(x):
    """The inverse tangent; 1.58 ULP."""
    return _atan(x, ATAN_F64, HALF_PI_F64)


@vectorisable
def _asin_folded(a, coefficients):
    """Asin a where a <= 1/2, else asin(sqrt((1 - a) / 2)), of which asin a is pi/2 minus twice."""
    square = select(a > 0.5, HALF - HALF * a, a * a)
    return odd_series(select(a > 0.5, sqrt(square), a), square, coefficients)


@vectorisable
def _asin(x, coefficients):
    """Asin x in float64."""
    a = fabs(x)
    r = _asin_folded(a, coefficients)
    return copysign(select(a > 0.5, _minus(HALF_PI_F64, r + r), r), x)


@vectorisable
def _acos(x, coefficients):
    """Acos x in float64."""
    a = fabs(x)
    r = _asin_folded(a, coefficients)
    outer = select(x < 0.0, _minus(PI_F64, r + r), r + r)
    return select(a > 0.5, outer, _minus(HALF_PI_F64, copysign(r, x)))


@vectorisable
def asin_f32(x):
    """The inverse sine, in float64; 0.51 ULP."""
    return np.float32(_asin(np.float64(x), ASIN_SHORT))


@vectorisable
def asin_f64(x):
    """The inverse sine; 2.10 ULP."""
    return _asin(x, ASIN_F64)


@vectorisable
def acos_f32(x):
    """The inverse cosine, in float64; 0.51 ULP."""
    return np.float32(_acos(np.float64(x), ASIN_SHORT))


@vectorisable
def acos_f64(x):
    """The inverse cosine; 1.11 ULP."""
    return _acos(x, ASIN_F64)
