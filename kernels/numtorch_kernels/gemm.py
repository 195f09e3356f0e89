"""The kernels of matrix multiplication: operands in place, for small ones; packed, for large ones."""

from __future__ import annotations

from .intrinsics import float32_at as element_at
from .intrinsics import helper, int64_at, offset, wide_vectors, zero
from .microkernel import copy_vector, fetch_add, multiply_tile, prefetch, stack, transpose_block

# Bound for each dtype by `matmul`: the geometry of tiles and blocks.
ROWS = VECTORS = LANES = WIDTH = DEPTH = PANEL = SIDE = LINE = A_ROW = 1

# Words of the descriptor of a packed product; strides are in elements.
WORDS = 16
(NEXT, M, N, K, A, A_M, A_K, B, B_K, B_N, C, C_M, ROOM, ROOM_EACH, BLOCK_ROWS, BLOCK_COLUMNS) = range(WORDS)  # fmt: skip


def multiply_in_place(
    count, m, k, n, a, a_outer, a_m, a_k, b, b_outer, b_k, b_n, c, c_outer, c_m, c_n
):
    """C = A @ B, reading A in place, and B too where whole tiles of it have adjacent rows.

    C's rows must be adjacent (c_n == 1, or n == 1).
    """
    wide_vectors()
    panel = stack(b, PANEL)
    for batch in range(count):
        for p in range(0, max(k, 1), DEPTH):
            depth = min(DEPTH, k - p)
            for j in range(0, n, WIDTH):
                columns = min(WIDTH, n - j)
                a_at = offset(a, p * a_k)
                b_at, b_step = offset(b, p * b_k + j * b_n), b_k
                c_at = offset(c, j)
                narrow = columns <= LANES
                width = LANES if narrow else WIDTH
                if b_n != 1 or columns < width:
                    pack(panel, width, b_at, b_k, b_n, depth, columns, width)
                    b_at, b_step = panel, width
                for i in range(0, m, ROWS):
                    a_tile, c_tile, rows = offset(a_at, i * a_m), offset(c_at, i * c_m), min(ROWS, m - i)
                    if narrow:
                        multiply_tile(ROWS, 1, LANES, a_tile, a_m, a_k, b_at, b_step, depth, c_tile, c_m, rows, columns, p > 0)
                    else:
                        multiply_tile(ROWS, 2, LANES, a_tile, a_m, a_k, b_at, b_step, depth, c_tile, c_m, rows, columns, p > 0)
        a, b, c = offset(a, a_outer), offset(b, b_outer), offset(c, c_outer)



def multiply_packed(descriptor, worker):
    """One worker's share of C = A @ B: it claims block after block of C until none is left.

    A block of A is packed to stay in the second-level cache while panels of B, packed one at a
    time, pass by; each panel stays close while tiles of C are computed from it.
    """
    wide_vectors()
    d = int64_at(descriptor)
    m, n, k, c_m = d[M], d[N], d[K], d[C_M]
    a_m, a_k, b_k, b_n = d[A_M], d[A_K], d[B_K], d[B_N]
    a, b, c = element_at(d[A]), element_at(d[B]), element_at(d[C])
    panel = offset(element_at(d[ROOM]), worker * d[ROOM_EACH])
    block = offset(panel, PANEL)
    across = -(-n // d[BLOCK_COLUMNS])
    blocks = -(-m // d[BLOCK_ROWS]) * across
    while True:
        claimed = fetch_add(offset(d, NEXT), 1)
        if claimed >= blocks:
            break
        top, left = claimed // across * d[BLOCK_ROWS], claimed % across * d[BLOCK_COLUMNS]
        bottom, right = min(top + d[BLOCK_ROWS], m), min(left + d[BLOCK_COLUMNS], n)
        for p in range(0, k, DEPTH):
            depth = min(DEPTH, k - p)
            pack(block, A_ROW, offset(a, top * a_m + p * a_k), a_m, a_k, bottom - top, depth, depth)
            for j in range(left, right, WIDTH):
                columns = min(WIDTH, right - j)
                source = offset(b, p * b_k + j * b_n)
                pack(panel, WIDTH, source, b_k, b_n, depth, columns, WIDTH)
                source, following = offset(source, WIDTH * b_n), min(WIDTH, right - j - WIDTH)
                for i in range(top, bottom, ROWS):
                    part, parts = (i - top) // ROWS, -(-(bottom - top) // ROWS)
                    prefetch_part(source, b_k, b_n, depth, following, part, parts)
                    multiply_tile(
                        ROWS, VECTORS, LANES, offset(block, (i - top) * A_ROW), A_ROW, 1, panel, WIDTH,
                        depth, offset(c, i * c_m + j), c_m, min(ROWS, bottom - i), columns, p > 0,
                    )  # fmt: skip


@helper
def pack(target, target_row, source, source_row, source_column, rows, columns, width):
    """Copies (rows, columns) of any strides to adjacent rows, filled up to ``width`` with zeros."""
    whole_rows = whole_columns = 0
    if source_column == 1:
        whole_rows, whole_columns = rows, columns // LANES * LANES
        for i in range(rows):
            for j in range(0, whole_columns, LANES):
                place = offset(source, i * source_row + j)
                copy_vector(LANES, offset(target, i * target_row + j), place)
    elif source_row == 1:
        whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
        for j in range(0, whole_columns, SIDE):
            for i in range(0, whole_rows, SIDE):
                place = offset(source, i + j * source_column)
                transpose_block(SIDE, offset(target, i * target_row + j), target_row, place, source_column)
    for i in range(rows):
        row = offset(source, i * source_row)
        for j in range(whole_columns if i < whole_rows else 0, columns):
            target[i * target_row + j] = row[j * source_column]
        for j in range(columns, width):
            target[i * target_row + j] = zero(target)


@helper
def prefetch_part(source, source_row, source_column, rows, columns, part, parts):
    """Fetches one of ``parts`` of (rows, columns) into the cache."""
    if source_column != 1:
        source_row, rows, columns = source_column, columns, rows
    for i in range(rows * part // parts, rows * (part + 1) // parts):
        for j in range(0, columns, LINE):
            prefetch(offset(source, i * source_row + j))
