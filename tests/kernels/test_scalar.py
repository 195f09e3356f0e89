"""The elementary functions: accuracy against mpmath, exact landmarks, vectorised loops."""

from __future__ import annotations

import math
import platform
import re

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from numtorch_kernels import scalar, translation
from numtorch_kernels.build import gufunc
from numtorch_kernels.llvmtext import codegen

inf, nan = math.inf, math.nan

BOUND = {32: 2.0, 64: 4.0}  # ULP
DTYPE = {32: np.dtype(np.float32), 64: np.dtype(np.float64)}
RANDOM = 500  # samples of random bit patterns
DENSE = 900  # samples of the main interval
PRECISION = 180  # bits that mpmath computes with


def _erf_tail(function, low, high):
    """erf or erfc, constant where float64 cannot tell it from its limit and mpmath takes long."""
    return lambda x: function(x) if abs(x) < 30 else mpf(low if x < 0 else high)


def _exponential(function):
    """A function that is settled beyond |x| = 2000, where mpmath would build huge numbers."""
    return lambda x: function(max(mpf(-2000), min(mpf(2000), x)))


def _pow(x, y):
    if x == 0:
        return mpf(inf) if y < 0 else mpf(0)
    magnitude = mp.exp(max(mpf(-2000), min(mpf(2000), y * mp.log(abs(x)))))
    if x > 0:
        return magnitude
    if y != mp.floor(y):
        return mpf(nan)
    return -magnitude if y % 2 else magnitude


# name: (exact function, main interval of each argument)
FUNCTIONS = {
    "exp": (_exponential(mp.exp), [(-90, 90)]),
    "exp2": (_exponential(lambda x: mpf(2) ** x), [(-130, 130)]),
    "expm1": (_exponential(mp.expm1), [(-3, 3)]),
    "sigmoid": (_exponential(lambda x: 1 / (1 + mp.exp(-x))), [(-20, 20)]),
    "sinh": (_exponential(mp.sinh), [(-4, 4)]),
    "cosh": (_exponential(mp.cosh), [(-4, 4)]),
    "tanh": (_exponential(mp.tanh), [(-2, 2)]),
    "log": (mp.log, [(0, 3)]),
    "log2": (lambda x: mp.log(x) / mp.ln2, [(0, 3)]),
    "log10": (mp.log10, [(0, 3)]),
    "log1p": (mp.log1p, [(-1, 2)]),
    "asinh": (mp.asinh, [(-3, 3)]),
    "acosh": (mp.acosh, [(1, 3)]),
    "atanh": (mp.atanh, [(-1, 1)]),
    "sin": (mp.sin, [(-20, 20)]),
    "cos": (mp.cos, [(-20, 20)]),
    "tan": (mp.tan, [(-20, 20)]),
    "asin": (mp.asin, [(-1, 1)]),
    "acos": (mp.acos, [(-1, 1)]),
    "atan": (mp.atan, [(-3, 3)]),
    "atan2": (mp.atan2, [(-3, 3), (-3, 3)]),
    "erf": (_erf_tail(mp.erf, -1, 1), [(-4, 4)]),
    "erfc": (_erf_tail(mp.erfc, 2, 0), [(-4, 27)]),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), [(0, 4)]),
    "pow": (_pow, [(0, 4), (-300, 300)]),
}
BOUNDED = {"sin_bounded": "sin", "cos_bounded": "cos"}
EACH = pytest.mark.parametrize(
    ("name", "width"), [(name, width) for name in [*FUNCTIONS, "erfinv"] for width in (32, 64)]
)


def unary(count, x, x_outer, out, out_outer):
    for i in range(count):
        out[i] = function(x[i])  # noqa: F821


def binary(count, x, x_outer, y, y_outer, out, out_outer):
    for i in range(count):
        out[i] = function(x[i], y[i])  # noqa: F821


def loop(name: str, width: int):
    """The function compiled into a loop over arrays."""
    bind = {"function": getattr(scalar, f"{name}_f{width}")}
    dtype = np.dtype(f"f{width // 8}")
    if name in ("pow", "atan2"):
        return gufunc(binary, "(),()->()", (dtype,) * 3, bind=bind)
    return gufunc(unary, "()->()", (dtype,) * 2, bind=bind)


def evaluate(name, width, *arguments):
    arguments = [np.ascontiguousarray(x, DTYPE[width]) for x in arguments]
    out = np.empty_like(arguments[0])
    loop(name, width).ufunc(*arguments, out)
    return out


def exact(function, arguments):
    """The exact result at finite floats: NaN outside the domain."""
    result = function(*(mpf(float(x)) for x in arguments))
    return mpf(nan) if isinstance(result, mpmath.mpc) else result


def ulp_error(got, wanted, dtype):
    """|got - wanted| in units in the last place of wanted; an overflow counts as 2**maxexp."""
    info = np.finfo(dtype)
    got = mpf(float(got))
    if mp.isnan(wanted) or mp.isnan(got):
        return 0.0 if mp.isnan(wanted) and mp.isnan(got) else inf
    ceiling = mpf(2) ** info.maxexp
    got, wanted = (max(-ceiling, min(ceiling, value)) for value in (got, wanted))
    exponent = max(mp.mag(wanted) - 1 if wanted else info.minexp, info.minexp)
    return float(abs(got - wanted) / mpf(2) ** (exponent - info.nmant))


def random_patterns(rng, dtype, count):
    """Finite numbers with random bits: every exponent and sign alike, subnormals among them."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    x = rng.integers(0, np.iinfo(unsigned).max, count, unsigned, endpoint=True).view(dtype)
    return np.where(np.isfinite(x) & (x != 0), x, dtype.type(1.5))


def samples(name, dtype):
    rng = np.random.default_rng(20)
    columns = []
    for low, high in FUNCTIONS[name][1]:
        dense = rng.uniform(low, high, DENSE)
        close = rng.choice([low, 0, 1, high], RANDOM) + rng.normal(size=RANDOM) * 10.0 ** (
            rng.uniform(-8, 0, RANDOM)
        )
        wide = rng.normal(size=RANDOM) * 10.0 ** rng.uniform(-5, 9, RANDOM)
        columns.append(
            np.concatenate(
                [
                    random_patterns(rng, dtype, RANDOM),
                    *(x.astype(dtype) for x in (dense, close, wide)),
                ]
            )
        )
    if name == "pow":
        # Bases near 1 and exponents that bring the result anywhere between 0 and infinity.
        limit = math.log(np.finfo(dtype).max)
        log = np.clip(rng.normal(size=DENSE) * 10.0 ** rng.uniform(-5, 2, DENSE), -80, 80)
        base = np.exp(log).astype(dtype)
        exponent = rng.uniform(-1.1, 1.1, DENSE) * limit / log
        whole = rng.integers(-30, 30, RANDOM).astype(dtype)
        columns[0] = np.concatenate([columns[0], base, -columns[0][RANDOM : 2 * RANDOM]])
        columns[1] = np.concatenate([columns[1], exponent.astype(dtype), whole])
    if name in ("sin", "cos", "tan"):
        # The floats closest to multiples of pi/2 lose most digits in the reduction.
        turns = np.concatenate([np.arange(1, 200), rng.integers(200, 2**20, RANDOM)])
        columns[0] = np.concatenate([columns[0], (turns * (np.pi / 2)).astype(dtype)])
    return [column[columns[0] != 0] for column in columns]


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy_over_the_whole_domain(name, width):
    arguments = samples(name, DTYPE[width])
    got = evaluate(name, width, *arguments)
    with mp.workprec(PRECISION):
        errors = [
            ulp_error(value, exact(FUNCTIONS[name][0], point), DTYPE[width])
            for value, *point in zip(got, *arguments, strict=True)
        ]
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUND[width], [float(x[worst]).hex() for x in arguments]


@pytest.mark.parametrize("width", [32, 64])
def test_accuracy_of_erfinv(width):
    """Against the float whose erf it should be: mpmath's erf, one Newton step to the exact root."""
    dtype = DTYPE[width]
    rng = np.random.default_rng(5)
    edge = 1 - 10.0 ** rng.uniform(-16, 0, 300)
    small = np.abs(random_patterns(rng, dtype, 100))
    x = np.concatenate([rng.uniform(-1, 1, 500), edge, -edge]).astype(dtype)
    x = np.concatenate([x[np.abs(x) < 1], small[small < 1]])
    got = evaluate("erfinv", width, x)
    with mp.workprec(PRECISION):
        for point, value in zip(x, got, strict=True):
            y = mpf(float(value))
            for _ in range(2):
                y -= (mp.erf(y) - mpf(float(point))) * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
            assert ulp_error(value, y, dtype) <= BOUND[width], float(point).hex()


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_functions_equal_the_full_ones_within_their_bound(name, width):
    bound = {32: 2.0**16, 64: 2.0**30}[width]
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 10000) * bound ** rng.uniform(-1, 1, 10000)
    np.testing.assert_array_equal(
        evaluate(name, width, x), evaluate(BOUNDED[name], width, x), strict=True
    )


ODD = (
    "asin",
    "asinh",
    "atan",
    "atanh",
    "erf",
    "erfinv",
    "expm1",
    "log1p",
    "sin",
    "sinh",
    "tan",
    "tanh",
)
FULL, HALF, QUARTER = math.pi, math.pi / 2, math.pi / 4

# name: rows of arguments and result, to the bit; two arguments as in C99's annex F
LANDMARKS = {
    "exp": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0), (nan, nan), (1e4, inf), (-1e4, 0.0)],
    "exp2": [
        (0.0, 1),
        (1, 2),
        (-1, 0.5),
        (10, 1024),
        (-126, 2.0**-126),
        (inf, inf),
        (-inf, 0.0),
        (nan, nan),
    ],
    "expm1": [(inf, inf), (-inf, -1), (nan, nan), (1e4, inf), (-100, -1)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (inf, 1), (-inf, 0.0), (nan, nan), (1e4, 1), (-1e4, 0.0)],
    "sinh": [(inf, inf), (-inf, -inf), (nan, nan), (1e4, inf), (-1e4, -inf)],
    "cosh": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, inf), (nan, nan), (1e4, inf)],
    "tanh": [(inf, 1), (-inf, -1), (nan, nan), (50, 1), (-50, -1)],
    "log": [(1, 0.0), (0.0, -inf), (-0.0, -inf), (-1, nan), (inf, inf), (-inf, nan), (nan, nan)],
    "log2": [
        (1, 0.0),
        (8, 3),
        (0.125, -3),
        (0.0, -inf),
        (-0.0, -inf),
        (-1, nan),
        (inf, inf),
        (nan, nan),
    ],
    "log10": [
        (1, 0.0),
        (10, 1),
        (100, 2),
        (1e10, 10),
        (0.0, -inf),
        (-1, nan),
        (inf, inf),
        (nan, nan),
    ],
    "log1p": [(-1, -inf), (-2, nan), (inf, inf), (-inf, nan), (nan, nan)],
    "asinh": [(inf, inf), (-inf, -inf), (nan, nan)],
    "acosh": [(1, 0.0), (0.5, nan), (-inf, nan), (-1e30, nan), (inf, inf), (nan, nan)],
    "atanh": [(1, inf), (-1, -inf), (2, nan), (-2, nan), (inf, nan), (nan, nan)],
    "sin": [(inf, nan), (-inf, nan), (nan, nan)],
    "cos": [(0.0, 1), (-0.0, 1), (inf, nan), (-inf, nan), (nan, nan)],
    "tan": [(inf, nan), (-inf, nan), (nan, nan)],
    "asin": [(1, HALF), (-1, -HALF), (2, nan), (inf, nan), (nan, nan)],
    "acos": [(1, 0.0), (0.0, HALF), (-0.0, HALF), (-1, FULL), (2, nan), (-inf, nan), (nan, nan)],
    "atan": [(inf, HALF), (-inf, -HALF), (1, QUARTER), (-1, -QUARTER), (nan, nan)],
    "erf": [(inf, 1), (-inf, -1), (10, 1), (-10, -1), (nan, nan)],
    "erfc": [(0.0, 1), (-0.0, 1), (inf, 0.0), (-inf, 2), (100, 0.0), (-100, 2), (nan, nan)],
    "erfinv": [(1, inf), (-1, -inf), (2, nan), (-inf, nan), (nan, nan)],
    "rsqrt": [(1, 1), (4, 0.5), (0.0, inf), (-0.0, -inf), (-1, nan), (inf, 0.0), (nan, nan)],
    "atan2": [
        (0.0, 1, 0.0),
        (-0.0, 1, -0.0),
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, -0.0),
        (0.0, -0.0, FULL),
        (-0.0, -0.0, -FULL),
        (0.0, -1, FULL),
        (-0.0, -1, -FULL),
        (1, 0.0, HALF),
        (1, -0.0, HALF),
        (-1, 0.0, -HALF),
        (1, 1, QUARTER),
        (1, -1, 3 * QUARTER),
        (-1, -1, -3 * QUARTER),
        (inf, inf, QUARTER),
        (inf, -inf, 3 * QUARTER),
        (-inf, inf, -QUARTER),
        (-inf, -inf, -3 * QUARTER),
        (1, inf, 0.0),
        (-1, inf, -0.0),
        (1, -inf, FULL),
        (-1, -inf, -FULL),
        (inf, 1, HALF),
        (-inf, -1, -HALF),
        (nan, 1, nan),
        (1, nan, nan),
        (nan, inf, nan),
    ],
    "pow": [
        (2, 10, 1024),
        (2, -1, 0.5),
        (-2, 3, -8),
        (-2, 2, 4),
        (-8, 1 / 3, nan),
        (4, 0.5, 2),
        (1, nan, 1),
        (1, inf, 1),
        (nan, 0.0, 1),
        (nan, -0.0, 1),
        (0.0, 0.0, 1),
        (inf, 0.0, 1),
        (-1, inf, 1),
        (-1, -inf, 1),
        (0.0, 3, 0.0),
        (-0.0, 3, -0.0),
        (-0.0, 2, 0.0),
        (-0.0, 2.5, 0.0),
        (0.0, -3, inf),
        (-0.0, -3, -inf),
        (-0.0, -2, inf),
        (-0.0, -2.5, inf),
        (0.0, inf, 0.0),
        (0.0, -inf, inf),
        (-0.0, -inf, inf),
        (0.5, inf, 0.0),
        (0.5, -inf, inf),
        (-0.5, inf, 0.0),
        (2, inf, inf),
        (2, -inf, 0.0),
        (-2, inf, inf),
        (inf, 2, inf),
        (inf, -2, 0.0),
        (-inf, 3, -inf),
        (-inf, 2, inf),
        (-inf, 2.5, inf),
        (-inf, -3, -0.0),
        (-inf, -2, 0.0),
        (-inf, -2.5, 0.0),
        (inf, inf, inf),
        (inf, -inf, 0.0),
        (nan, 1, nan),
        (nan, inf, nan),
        (2, nan, nan),
        (-1, nan, nan),
        (0.0, nan, nan),
        (inf, nan, nan),
        (1e30, 1e30, inf),
        (-1e30, 1e30, inf),
        (1e30, -1e30, 0.0),
        (-10, 399, -inf),
        (-10, -399, -0.0),
        (3, 0.0, 1),
    ],
}


def assert_same(got, wanted):
    """Equal to the bit, but for the sign and payload of NaN."""
    np.testing.assert_array_equal(got, wanted, strict=True)
    signed = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(wanted[signed]))


@EACH
def test_landmarks(name, width):
    *arguments, wanted = np.array(LANDMARKS[name], DTYPE[width]).T
    assert_same(evaluate(name, width, *arguments), wanted)


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", ODD)
def test_odd_functions_keep_signed_zeros_and_are_odd(name, width):
    zeros = np.array([0.0, -0.0], DTYPE[width])
    assert_same(evaluate(name, width, zeros), zeros)
    if name not in ("expm1", "log1p"):
        x = random_patterns(np.random.default_rng(1), DTYPE[width], 1000)
        np.testing.assert_array_equal(evaluate(name, width, -x), -evaluate(name, width, x))


@pytest.mark.parametrize("width", [32, 64])
def test_powers_of_the_base_are_exact(width):
    info = np.finfo(DTYPE[width])
    exponents = np.arange(info.minexp - info.nmant, info.maxexp).astype(DTYPE[width])
    powers = np.ldexp(DTYPE[width].type(1), exponents.astype(np.int32))
    assert_same(evaluate("exp2", width, exponents), powers)
    assert_same(evaluate("log2", width, powers), exponents)
    assert_same(evaluate("pow", width, np.full_like(exponents, 2), exponents), powers)
    decades = np.arange(11 if width == 32 else 23).astype(DTYPE[width])
    assert_same(evaluate("log10", width, [10.0**k for k in range(len(decades))]), decades)


@pytest.mark.parametrize("width", [32, 64])
def test_exp_underflows_through_the_subnormals(width):
    info = np.finfo(DTYPE[width])
    lowest = (info.minexp - info.nmant - 1) * math.log(2)
    highest = math.log(info.max)
    x = np.array([lowest * 1.001, lowest * 0.995, highest * 0.9999, highest * 1.0001], DTYPE[width])
    zero, tiny, huge, infinite = evaluate("exp", width, x)
    assert zero == 0
    assert 0 < tiny < info.smallest_normal
    assert info.max / 2 < huge < infinite == inf


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"),
    reason="no vector unit is known here",
)
@EACH
def test_loops_are_vectorised_without_the_c_library(name, width):
    code = str(translation.optimised(loop(name, width).code.lowered(), codegen().apart()))
    element = "float" if width == 32 else "double"
    assert re.search(rf"<\d+ x {element}>", code)
    assert not re.search(r"call [^@\n]*@(llvm\.)?a?(exp|log|pow|sin|cos|tan|erf)", code)
