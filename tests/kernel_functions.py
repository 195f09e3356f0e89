"""Functions of numbers of many shapes, and the kernels made of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch

F64 = numtorch.float64
COEFFICIENTS = (1.0, -0.5, 0.25, 2.0)
SCALE = np.float64(1.5)
LIMITS = np.array([-1.0, 2.0])


def swish(x, beta):
    return x / (1 + math.exp(-beta * x))


def piecewise(x):
    """Three pieces."""
    if x < -1:
        y = -x - 0.5
    elif x < 1:
        y = x * x / 2
    else:
        y: float = x - 0.5
    return y


def early(x, y):
    if x > y:
        return x * y
    if x < 0:
        if y > 0:
            return x - y
        x = x * 2
    return math.sin(x) + y


def horner(x):
    total = 0.0
    for c in COEFFICIENTS:
        total = total * x + c
    return total


def indexed(x):
    total = 0
    for i, c in enumerate(reversed(COEFFICIENTS[1:])):
        total += c * COEFFICIENTS[i] * x**i
    return total


def newton(x):
    y = 1.0 + 0 * x
    for _ in range(6):
        y = 0.5 * (y + (1 + x * x) / y)
    return y


def escape(x, y):
    a, b, turns = 0.0, 0.0, 0.0
    for _ in range(5):
        if a * a + b * b > 2:
            break
        a, b = a * a - b * b + x, 2 * a * b + y
        turns += 1
    return turns + (a + b) / 100


def skipping(x):
    total = 0.0
    for k in range(1, 5):
        if x * k > 2:
            continue
        if k == 3:
            total -= x
            continue
        if total > 6:
            return total
        total += k * x + 1
    return total * x


def continued(x, y):
    total = x
    for k in range(3):
        if x > k:
            total += 1
            continue
        if y > 0:
            return total * y
        total += y
        if y < -1:
            break
    return total - x * x


def nested(x, y):
    total = 0.0
    for i in range(3):
        for j in range(3):
            if j > i:
                break
            if x > i + 1:
                return total - x
            total += (x - i) * (y + j)
        if total > 5:
            continue
        total += 0.5
    return total


def logic(x, y):
    if (0 < x <= 1 or not y > 0) and x != y:
        return x + y
    return x * y if x and y < 2 else abs(x - y)


def _half(x, by=2):
    return x / by


def helped(x, y):
    return _half(_half(x), by=3) + max(x, y, 0.5) * min(x, y)


def elementary(x, y):
    a = math.log(2 + x * x) + math.log(3 + y * y, 3) + math.sqrt(1 + x * x) + np.tanh(x * y)
    b = math.atan2(x, 3 + y * y) + math.hypot(x, y + 10) + np.square(y) + math.erf(x)
    c = np.clip(x, -1, 1) + np.where(x > y, x, -y) + math.degrees(x) * pow(1 + x * x, 0.3)
    return a * b + c


def rounding(x, y):
    quotient, rest = divmod(x, 2)
    return quotient + rest * 3 + x // 3 + y % 2 + round(x) + int(y) + math.floor(x) + float(x > y)


def outer(x):
    return sum((x, x * x, SCALE)) + LIMITS[1] * x - len(COEFFICIENTS)


def composed(x, beta=0.5):
    return numtorch.sigmoid(x) * SWISH(x, beta) + numtorch.where(x > 0, x, 0.1 * x)


SWISH = numtorch.kernel(swish)
square_or_cube = lambda x: x**2 if x > 0 else x**3  # noqa: E731

FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "swish": (swish, 2),
    "piecewise": (piecewise, 1),
    "early": (early, 2),
    "horner": (horner, 1),
    "indexed": (indexed, 1),
    "newton": (newton, 1),
    "escape": (escape, 2),
    "skipping": (skipping, 1),
    "continued": (continued, 2),
    "nested": (nested, 2),
    "logic": (logic, 2),
    "helped": (helped, 2),
    "elementary": (elementary, 2),
    "rounding": (rounding, 2),
    "outer": (outer, 1),
    "square_or_cube": (square_or_cube, 1),
}
KERNELS = {name: numtorch.kernel(function) for name, (function, _) in FUNCTIONS.items()}
COMPOSED = numtorch.kernel(composed)
each_function = pytest.mark.parametrize("name", FUNCTIONS)


@numtorch.kernel
def step(x):
    return 1.0 if x > 0 else 0.0


@numtorch.kernel
def passed(x):
    return (x > 0) + (x > 1)


def by_python(function: Callable[..., Any], *operands: Any) -> Any:
    """The function of each element, by Python."""
    arrays = np.broadcast_arrays(*operands)
    values = [function(*map(float, each)) for each in zip(*(x.flat for x in arrays), strict=True)]
    return np.array(values, "float64").reshape(arrays[0].shape)


def samples(count: int, *shapes: Any) -> list[Any]:
    random = np.random.default_rng(3)
    return [random.uniform(-2.5, 2.5, shape) for shape in (shapes or [(40,)] * count)][:count]
