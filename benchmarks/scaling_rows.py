"""Rows of one operation each at many sizes, by which cliffs are found."""

from rows import Row, uniform

SIZES = [10**decade * step for decade in range(3, 8) for step in (1, 2, 5)] + [10**8]
SIDES = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072]

_STATEMENTS = {
    "add": ("a + b", "a + b"),
    "exp": ("a.exp()", "np.exp(a)"),
    "sum": ("a.sum()", "a.sum()"),
    "argmax": ("a.argmax()", "a.argmax()"),
}


def _flat(size: int) -> list[Row]:
    inputs = {"a": uniform(size), "b": uniform(size)}
    return [
        Row(f"{name}, {size}", statement, numpy, inputs)
        for name, (statement, numpy) in _STATEMENTS.items()
    ]


def _square(side: int) -> Row:
    inputs = {"A": uniform(side, side), "B": uniform(side, side)}
    return Row(f"matmul, {side}", "A @ B", "A @ B", inputs)


SCALING_ROWS = [row for size in SIZES for row in _flat(size)] + [_square(side) for side in SIDES]


def operation(row: Row) -> str:
    """The operation that a row measures."""
    return row.group.partition(",")[0]


def size(row: Row) -> int:
    """How many elements it has; of a matrix, one side."""
    return int(row.group.partition(",")[2])


def work(row: Row) -> int:
    """By what its time grows: elements, or a product's multiply-adds."""
    return size(row) ** 3 if operation(row) == "matmul" else size(row)
