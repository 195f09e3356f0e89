"""erf, erfc and erfinv."""

from __future__ import annotations

import numpy as np

from ..bits import copysign, fabs, fma, polynomial, select, sqrt
from .exponential import clamp, exp_f64, exp_normal_f32, exp_normal_f64
from .logarithm import log_f64, log_short
from .vectorise import ONE, vectorisable

# erf(x) / x - 1 in x**2 on |x| <= 0.95 and |x| <= 1, relative to erf x: 2**-28.1 and 2**-55.3
ERF_F32 = (
    0.12837917,
    -0.3761263,
    0.112836257,
    -0.026855763,
    0.0051925224,
    -0.00080515217,
    8.00574e-05,
)
ERF_F64 = (
    0.12837916709551256,
    -0.37612638903183343,
    0.11283791670936948,
    -0.02686617064195832,
    0.0052239775967242745,
    -0.0008548325484177257,
    0.00012055280463436354,
    -1.4924464830769641e-05,
    1.6444138409721938e-06,
    -1.618388122841072e-07,
    1.361615148333895e-08,
    -7.606657473989493e-10,
)

# log(erfc x) on 0.9 <= x <= 4 and 1 <= x <= 6, as an error of erf x: 2**-28.4 and 2**-59.2
LOG_ERFC_F32 = (
    0.00016922446,
    -1.1294885,
    -0.6334008,
    -0.108220294,
    0.025080439,
    -0.0041561266,
    0.00043135008,
    -2.0822863e-05,
)
LOG_ERFC_F64 = (
    -1.7964865069314458e-07,
    -1.128377328984869,
    -0.6366284902010175,
    -0.1027472484518491,
    0.019078147613772446,
    0.00028050073039152134,
    -0.0017690144469779687,
    0.0006411849229121534,
    -4.483104636506388e-05,
    -7.03618035518257e-05,
    4.503519200891263e-05,
    -1.6513154031977033e-05,
    4.326821419389906e-06,
    -8.505265689387656e-07,
    1.2569719153318402e-07,
    -1.3625779714700937e-08,
    1.0256246303113472e-09,
    -4.795647196525852e-11,
    1.0495276362590654e-12,
)

# (1 + 2 x) exp(x**2) erfc(x) in t = (x - 3) / (x + 3), relative: on 0 <= x <= 27.5 2**-54.2, and
# for results that are rounded to float32 on 0 <= x <= 10.1 2**-29.0
ERFCX_F64 = (
    1.2530080582697296,
    -0.1356211061245807,
    -0.04756229435343746,
    0.1296451587027127,
    -0.11927366341596563,
    0.0683080273454017,
    -0.023770514905979128,
    0.0025293917967647442,
    0.0018886902335301045,
    -0.0007798321274815659,
    -0.00010515906757452027,
    0.00012509868803801716,
    4.9467942146974675e-06,
    -2.009857202021678e-05,
    -7.250344050231805e-07,
    3.468321206582044e-06,
    3.4643410700510997e-07,
    -6.107986740854935e-07,
    -1.3036377764270525e-07,
    9.614566065075171e-08,
    3.368554804659194e-08,
    -9.84211738577729e-09,
    -4.74107966725868e-09,
)
ERFCX_SHORT = (
    1.2530080591247685,
    -0.1356211392930502,
    -0.047562399534481575,
    0.1296464142792374,
    -0.11927097460132655,
    0.06829576936855472,
    -0.02379753126318473,
    0.0025673726725653585,
    0.0020018102790409823,
    -0.000777581479355033,
    -0.00026812660848530965,
)

# erfinv(x) / x, relative, with w = -log(1 - x**2): in w - 2.5 on 0 <= w <= 5 2**-52.1, in
# sqrt(w) - 3 on 5 <= w <= 14 2**-51.9, in sqrt(w) - 4.875 on 14 <= w <= 36.1 2**-53.1
ERFINV_NEAR = (
    1.501409351110792,
    0.24664027674416902,
    -0.004177317724385572,
    -0.001252707907834979,
    0.0002182502643535172,
    -4.996079515920623e-06,
    -3.416619613826938e-06,
    4.787250868708517e-07,
    1.3416818909331167e-08,
    -1.0861054081043056e-08,
    9.07296818696901e-10,
    1.195467657114671e-10,
    -3.1101431052217715e-11,
    9.313542127527031e-13,
    5.357095291536175e-13,
    -8.023176029017689e-14,
    -2.977458451491619e-15,
    2.4187922557390065e-15,
    -1.164044529800623e-16,
    -6.39836680332518e-17,
    3.018770348777905e-18,
    1.3032761603386373e-18,
)
ERFINV_MIDDLE = (
    2.8329767987282706,
    1.0016752766933872,
    0.009445522012029244,
    -0.007643805568695662,
    0.005685182416108844,
    -0.0035587940593128234,
    0.001483737373306832,
    -0.000148897472497257,
    -0.0002831246427376997,
    0.00020551159416252142,
    -4.645965399049356e-05,
    -2.2849573357618552e-05,
    2.1934033762748182e-05,
    -6.0156319405226344e-06,
    -1.657088301098058e-06,
    2.1198876924885746e-06,
    -6.295777800166933e-07,
    -2.0272533675030876e-07,
    1.5206669551249134e-07,
)
ERFINV_FAR = (
    4.7236171149637975,
    1.0103244465623955,
    -5.055681957885214e-05,
    -0.0002562887349927767,
    8.942926244765146e-05,
    -2.3429528694650605e-05,
    5.507971647244022e-06,
    -1.2683471509624998e-06,
    3.3151076361420836e-07,
    -1.2092718648523346e-07,
    6.026464614296115e-08,
    -3.243904471671917e-08,
    1.5894722465469236e-08,
    -6.386407110366876e-09,
    2.050364270688547e-09,
    -5.473543180610312e-10,
    9.492732202949697e-12,
    1.1346938583816407e-10,
    -4.002659152060552e-11,
)

# The same for results that are rounded to float32: in w - 2.5 on 0 <= w <= 5 2**-28.7, in
# sqrt(w) - 3.125 on 5 <= w <= 16.2 2**-29.5
ERFINV_NEAR_SHORT = (
    1.5014093535110613,
    0.24664028765279775,
    -0.0041773393768863186,
    -0.00125274471636576,
    0.00021828258434020373,
    -4.961871810515381e-06,
    -3.434585098107787e-06,
    4.65881899345137e-07,
    1.8031242832728767e-08,
    -8.771981170150643e-09,
    3.359948806553553e-10,
)
ERFINV_FAR_SHORT = (
    2.9583201467643008,
    1.0037186668767197,
    0.007048145353609129,
    -0.005300348886337649,
    0.003791181799161841,
    -0.0025245149758859266,
    0.0012756414404377638,
    -0.0003164770146277716,
    -0.00012135323841859201,
    0.0001250490363505498,
    -2.7366506048417605e-05,
)


@vectorisable
def _erf(x, near, tail, bound):
    """X + x near where |x| <= bound, else 1 - tail; NaN takes the first."""
    return select(fabs(x) > bound, copysign(ONE - tail, x), fma(x, near, x))


@vectorisable
def erf_f32(x):
    """The error function; 1.13 ULP."""
    tail = exp_normal_f32(polynomial(clamp(fabs(x), np.float32(0.9), 4.0), LOG_ERFC_F32))
    return _erf(x, polynomial(x * x, ERF_F32), tail, np.float32(0.95))


@vectorisable
def erf_f64(x):
    """The error function; 1.06 ULP."""
    tail = exp_normal_f64(polynomial(clamp(fabs(x), 1.0, 6.0), LOG_ERFC_F64))
    return _erf(x, polynomial(x * x, ERF_F64), tail, 1.0)


@vectorisable
def _erfc(x, coefficients, limit):
    """Erfc x in float64 for |x| up to a limit that erfc underflows at.

    exp(-x**2) times a polynomial in t = (|x| - 3) / (|x| + 3) (Shepherd and Laframboise, "Chebyshev
    approximation of (1 + 2x) exp(x**2) erfc x", 1981); the rounding error of x**2 is taken back.
    """
    a = clamp(fabs(x), 0.0, limit)
    scaled = polynomial((a - 3.0) / (a + 3.0), coefficients) / fma(a, 2.0, 1.0)
    square = a * a
    gauss = exp_f64(-square)
    gauss = fma(-gauss, fma(a, a, -square), gauss)
    upper = gauss * scaled
    return select(x < 0.0, 2.0 - upper, upper)


@vectorisable
def erfc_f32(x):
    """The complementary error function, in float64; 0.54 ULP."""
    return np.float32(_erfc(np.float64(x), ERFCX_SHORT, 10.1))


@vectorisable
def erfc_f64(x):
    """The complementary error function; near 0 it is 1 - erf x, which rounds less; 2.81 ULP."""
    near = fma(-x, polynomial(x * x, ERF_F64), 1.0 - x)
    return select(fabs(x) < 0.5, near, _erfc(x, ERFCX_F64, 27.5))


@vectorisable
def _erfinv_domain(x, y):
    """Y where |x| < 1; the inverse is infinite at 1 and NaN beyond."""
    return select(fabs(x) < 1.0, y, select(fabs(x) == 1.0, copysign(np.inf, x), np.nan))


@vectorisable
def erfinv_f32(x):
    """The inverse error function, in float64; 0.54 ULP.

    x times a polynomial in w = -log(1 - x**2) or in its root (Giles, "Approximating the erfinv
    function", 2010).
    """
    a = np.float64(x)
    w = -log_short(fma(-a, a, 1.0))
    near = polynomial(w - 2.5, ERFINV_NEAR_SHORT)
    far = polynomial(sqrt(w) - 3.125, ERFINV_FAR_SHORT)
    return np.float32(_erfinv_domain(a, a * select(w < 5.0, near, far)))


@vectorisable
def erfinv_f64(x):
    """The inverse error function: as in float32, with three polynomials; 3.06 ULP."""
    w = -log_f64(fma(-x, x, 1.0))
    root = sqrt(w)
    near = polynomial(w - 2.5, ERFINV_NEAR)
    middle = polynomial(root - 3.0, ERFINV_MIDDLE)
    far = polynomial(root - 4.875, ERFINV_FAR)
    return _erfinv_domain(x, x * select(w < 5.0, near, select(w < 14.0, middle, far)))
