"""Rows: views, joining and shaping."""

from __future__ import annotations

from .row import Call, Make, Row

FEW = ("float64", "int64")


def _row(name: str, *given: tuple[tuple[int, ...], tuple[object, ...]], **others: object) -> Row:
    """A row whose calls are a tensor of a shape and constant arguments."""

    def calls(make: Make) -> list[Call]:
        return [Call(make(*shape), *arguments) for shape, arguments in given]

    defaults = {"dtypes": FEW, "inplace": False, "path": f"Tensor.{name}"}
    return Row(name=name, calls=calls, **(defaults | others))  # type: ignore[arg-type]


def _refusing(*given: tuple[tuple[int, ...], tuple[object, ...]]) -> object:
    return lambda make: [Call(make(*shape), *arguments) for shape, arguments in given]


def _joined(make: Make) -> list[Call]:
    return [
        Call([make(2, 3), make(4, 3)]),
        Call([make(2, 3), make(2, 1)], 1),
        Call((make(2, 3), make(2, 3), make(2, 3)), dim=-1),
        Call([make(3)]),
        Call([make(0), make(2)]),
    ]


def _stacked(make: Make) -> list[Call]:
    return [Call([make(2, 3), make(2, 3)], dim) for dim in (0, 1, 2, -1)] + [Call([make(), make()])]


ROWS = [
    _row(
        "view",
        ((2, 6), (3, 4)),
        ((2, 6), (-1,)),
        ((2, 6), ((4, 3),)),
        ((0, 3), (3, 0)),
        ((), (1,)),
        layouts=False,
        refused=_refusing(((2, 6), (5,)), ((2, 6), (-1, -1)), ((2, 6), (5, -1)), ((2,), (-2,))),
    ),
    _row(
        "as_strided",
        ((3, 4), ((2, 2), (1, 2))),
        ((3, 4), ((2, 2), (4, 1), 1)),
        ((6,), ((3, 3), (1, 1))),
        layouts=False,
        refused=_refusing(((3,), ((2, 2), (4, 1))), ((3,), ((2,), (1, 1)))),
    ),
    _row(
        "transpose",
        ((2, 3), (0, 1)),
        ((2, 3, 4), (-1, 0)),
        ((), (0, -1)),
        refused=_refusing(((2, 3), (0, 2)), ((2,), (0, 1))),
    ),
    _row(
        "permute",
        ((2, 3, 4), (2, 0, 1)),
        ((2, 3), ((1, 0),)),
        ((), ((),)),
        refused=_refusing(((2, 3), (0,)), ((2, 3), (0, 0)), ((2, 3), (0, 2))),
    ),
    _row("t", ((2, 3), ()), ((3,), ()), ((), ()), refused=_refusing(((2, 3, 4), ()))),
    _row("unsqueeze", ((2, 3), (0,)), ((2, 3), (-1,)), ((), (0,)), refused=_refusing(((2,), (3,)))),
    _row(
        "squeeze",
        ((2, 1, 3, 1), ()),
        ((2, 1, 3, 1), (1,)),
        ((2, 1), (0,)),
        ((1, 2, 1), ((0, 2),)),
        ((), (0,)),
        refused=_refusing(((2, 1), (2,))),
    ),
    _row(
        "expand",
        ((2, 1), (2, 3)),
        ((3,), (2, -1)),
        ((), ((2, 2),)),
        ((1, 3), (0, 3)),
        refused=_refusing(((2, 3), (3, 3)), ((2, 3), (3,)), ((2,), (-1, 2))),
    ),
    _row(
        "select",
        ((2, 3), (0, 1)),
        ((2, 3, 4), (-1, -2)),
        refused=_refusing(((2, 3), (0, 2)), ((2, 3), (2, 0)), ((), (0, 0))),
    ),
    _row(
        "narrow",
        ((5, 3), (0, 1, 3)),
        ((5, 3), (1, -2, 2)),
        ((5,), (0, 5, 0)),
        refused=_refusing(
            ((5,), (0, 3, 3)), ((5,), (0, 6, 0)), ((5,), (0, 0, -1)), ((), (0, 0, 1))
        ),
    ),
    _row(
        "diagonal",
        ((3, 4), ()),
        ((3, 4), (1,)),
        ((4, 3), (-2,)),
        ((2, 3, 4), (0, 2, 0)),
        ((3, 4), (5,)),
        refused=_refusing(((3, 4), (0, 0, 0)), ((3,), ())),
    ),
    _row(
        "unfold",
        ((7,), (0, 3, 2)),
        ((2, 5), (1, 2, 1)),
        ((), (0, 1, 1)),
        refused=_refusing(((3,), (0, 4, 1))),
    ),
    _row("split", ((7, 2), (3,)), ((2, 6), (2, 1)), refused=_refusing(((3,), (-1,)), ((3,), (0,)))),
    _row(
        "split_with_sizes",
        ((7, 2), ([3, 4],)),
        ((2, 6), ([1, 2, 3], 1)),
        refused=_refusing(((3,), ([1],))),
    ),
    _row(
        "unbind",
        ((3, 2), ()),
        ((3, 2), (1,)),
        ((0, 2), ()),
        refused=_refusing(((), ()), ((2,), (1,))),
    ),
    _row(
        "flip",
        ((3, 4), (0,)),
        ((3, 4), (0, -1)),
        ((3,), ((0,),)),
        ((), ((),)),
        refused=_refusing(((3,), (0, 0))),
    ),
    _row("roll", ((5,), (2,)), ((3, 4), (1, 1)), ((3, 4), ((1, -2), (0, 1))), ((3, 4), (5,))),
    _row(
        "repeat",
        ((2, 3), (2, 1)),
        ((3,), (2, 2)),
        ((), (3,)),
        ((2, 3), (0, 1)),
        refused=_refusing(((2, 3), (2,))),
    ),
    _row(
        "tril",
        ((3, 4), ()),
        ((4, 3), (1,)),
        ((2, 3, 3), (-1,)),
        refused=_refusing(((3,), ())),
        inplace=True,
    ),
    _row(
        "triu",
        ((3, 4), ()),
        ((4, 3), (1,)),
        ((2, 3, 3), (-1,)),
        refused=_refusing(((3,), ())),
        inplace=True,
    ),
    _row("diag_embed", ((3,), ()), ((2, 3), (1,)), ((2, 3), (-1, 0, 2))),
    _row("clone", ((2, 3), ()), ((), ()), ((0,), ())),
    Row(
        name="cat",
        calls=_joined,
        dtypes=FEW,
        inplace=False,
        refused=lambda make: [
            Call([]),
            Call([make(2), make(2, 2)]),
            Call([make(2, 3), make(2, 2)]),
            Call([make(2)], 1),
            Call([make(), make()]),
            Call(make(2)[0].item()),
        ],
    ),
    Row(
        name="stack",
        calls=_stacked,
        dtypes=FEW,
        inplace=False,
        refused=lambda make: [Call([]), Call([make(2), make(3)]), Call([make(2)], 2)],
    ),
]
