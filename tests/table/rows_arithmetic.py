"""Rows: arithmetic, comparison, logic and bits."""

from __future__ import annotations

from .row import EVERY, FLOATS, Call, Make, Row, binary, unary

BITS = ("int32", "int64", "uint8", "bool")
SMALL = (0, 1, -1, 2, 3, -7, 100)


def _scaled(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), make(3, 4)),
        Call(make(3, 4), make(4), alpha=2),
        Call(make(3), 2, alpha=3),
        Call(make(3, 1), make(2), alpha=-1),
    ]


def _divisions(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), make(3, 4, low=1), rounding_mode=mode) for mode in (None, "floor", "trunc")
    ] + [Call(make(3), -2, rounding_mode="floor"), Call(make(3), 2)]


def _powers(make: Make) -> list[Call]:
    base = make(3, 4, low=1)
    numbers = (0, 1, 2, 3, 5) if make.dtype.kind != "f" else (0, 0.5, 1, 2, 3, -0.5, -1, -2, 2.5)
    return [
        *[Call(base, number) for number in numbers],
        Call(base, make(3, 4, low=0)),
        Call(2, make(3, low=0)),
        Call(make(3, low=0), make(2, 1, low=0)),
    ]


def _clamps(make: Make) -> list[Call]:
    x = make(3, 4)
    return [
        Call(x, -1, 1),
        Call(x, min=0),
        Call(x, max=0),
        Call(x, 1, -1),
        Call(x, make(4), make(3, 1)),
        Call(x, min=make(4)),
        Call(x, max=make(3, 1)),
        Call(x, -0.5, 1.5),
    ]


def _wheres(make: Make) -> list[Call]:
    return [
        Call(make.mask(3, 4), make(3, 4), make(3, 4)),
        Call(make.mask(3, 1), make(4), make()),
        Call(make.mask(3), make(3), 0),
        Call(make.mask(3), 1, make(3)),
    ]


def _lerps(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), make(3, 4), make(3, 4, low=0, high=1)),
        Call(make(3, 4), make(4), 0.3),
        Call(make(3), make(3), 0.8),
    ]


def _fused(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), make(3, 4), make(3, 4, low=1)),
        Call(make(3, 4), make(4), make(3, 1, low=1), value=2),
        Call(make(3), make(3), make(3, low=1), value=-1),
    ]


ROWS = [
    binary("add", dtypes=EVERY),
    Row(name="add", calls=_scaled),
    binary("sub"),
    Row(name="sub", calls=_scaled),
    binary("rsub", refused=lambda make: [Call(make(3), make(4))]),
    binary("mul", dtypes=EVERY),
    binary("div", low=1, dtypes=EVERY),
    Row(name="div", calls=_divisions, integers=SMALL),
    binary("floor_divide", low=1, gradient=False, integers=(1, -1, 2, 3, -7, 2**62)),
    binary("remainder", least=1, integers=(1, -1, 2, 3, -7, 2**62)),
    binary("fmod", least=1, integers=(1, -1, 2, 3, -7, 2**62)),
    binary("pow", low=1, least=0, integers=(0, 1, 2, 3, 10)),
    Row(name="pow", calls=_powers),
    binary("minimum"),
    binary("maximum"),
    binary("copysign"),
    binary("atan2"),
    *[
        binary(name, gradient=False, dtypes=("float32", "int64", "bool"))
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
    ],
    *[
        binary(name, gradient=False, dtypes=("float32", "int64", "bool"))
        for name in ("logical_and", "logical_or", "logical_xor")
    ],
    *[
        binary(name, gradient=False, dtypes=BITS)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
    ],
    *[
        binary(
            name,
            gradient=False,
            least=0,
            dtypes=("int32", "int64", "uint8"),
            integers=(0, 1, 5, 40),
        )
        for name in ("bitwise_left_shift", "bitwise_right_shift")
    ],
    unary("logical_not", gradient=False, dtypes=("float32", "int64", "bool")),
    unary("bitwise_not", gradient=False, dtypes=BITS),
    unary("neg"),
    unary("positive"),
    unary("abs", dtypes=EVERY),
    unary("sign", dtypes=EVERY),
    unary("square"),
    unary("reciprocal", low=1),
    Row(name="clamp", calls=_clamps, refused=lambda make: [Call(make(3)), Call(make(3), make(4))]),
    Row(name="clamp_min", calls=lambda make: [Call(make(3, 4), make(4)), Call(make(3), 1)]),
    Row(name="clamp_max", calls=lambda make: [Call(make(3, 4), make(4)), Call(make(3), 1)]),
    Row(name="where", calls=_wheres, inplace=False),
    Row(name="lerp", calls=_lerps, dtypes=FLOATS),
    Row(name="addcmul", calls=_fused),
    Row(name="addcdiv", calls=_fused, dtypes=FLOATS),
]
