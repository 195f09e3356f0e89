"""The kernels of matrix multiplication: operands in place, for small ones; packed, for large ones."""

from __future__ import annotations

from .intrinsics import float32_at as element_at
from .intrinsics import helper, int64_at, offset, wide_vectors, zero
from .microkernel import fetch_add, multiply_tile, stack, transpose_block

# Bound for each dtype by `matmul`: the geometry of tiles and blocks.
ROWS = VECTORS = LANES = WIDTH = DEPTH = PANEL = SIDE = A_ROW = 1

# Words of the descriptor of a packed product; strides in elements.
WORDS = 20
(PACKED, NEXT_PANEL, NEXT_BLOCK, M, N, K, A, A_M, A_K, B, B_K, B_N, C, C_M, ADD,
 PANELS, BLOCKS, BLOCK_ROWS, BLOCK_COLUMNS, SPARE) = range(WORDS)  # fmt: skip


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
    """One worker's share of C = A @ B (or C += A @ B), through packed copies of A and B.

    Workers claim pieces as they get to them: first of packing B, then blocks of C. Each block's
    worker packs the rows of A that it needs.
    """
    wide_vectors()
    d = int64_at(descriptor)
    m, n, k, c_m = d[M], d[N], d[K], d[C_M]
    a, b, c = element_at(d[A]), element_at(d[B]), element_at(d[C])
    panels, block = element_at(d[PANELS]), offset(element_at(d[BLOCKS]), worker * d[BLOCK_ROWS] * A_ROW)
    across, strips = -(-n // WIDTH), -(-k // DEPTH)
    while True:
        piece = fetch_add(offset(d, NEXT_PANEL), 1)
        if piece >= across * strips:
            break
        p, j = piece // across * DEPTH, piece % across * WIDTH
        depth, columns = min(DEPTH, k - p), min(WIDTH, n - j)
        target = offset(panels, p * across * WIDTH + j * depth)
        pack(target, WIDTH, offset(b, p * d[B_K] + j * d[B_N]), d[B_K], d[B_N], depth, columns, WIDTH)
        fetch_add(offset(d, PACKED), 1)
    while fetch_add(offset(d, PACKED), 0) < across * strips:
        pass
    block_rows, block_columns = d[BLOCK_ROWS], d[BLOCK_COLUMNS]
    blocks_across = -(-n // block_columns)
    while True:
        piece = fetch_add(offset(d, NEXT_BLOCK), 1)
        top, left = piece // blocks_across * block_rows, piece % blocks_across * block_columns
        if top >= m:
            break
        rows, right = min(block_rows, m - top), min(left + block_columns, n)
        for p in range(0, k, DEPTH):
            depth = min(DEPTH, k - p)
            pack(block, A_ROW, offset(a, top * d[A_M] + p * d[A_K]), d[A_M], d[A_K], rows, depth, depth)
            for j in range(left, right, WIDTH):
                panel = offset(panels, p * across * WIDTH + j * depth)
                for i in range(0, rows, ROWS):
                    multiply_tile(
                        ROWS, VECTORS, LANES, offset(block, i * A_ROW), A_ROW, 1, panel, WIDTH, depth,
                        offset(c, (top + i) * c_m + j), c_m, min(ROWS, rows - i), min(WIDTH, n - j),
                        p > 0 or d[ADD] != 0,
                    )  # fmt: skip


@helper
def pack(target, target_row, source, source_row, source_column, rows, columns, width):
    """Copies (rows, columns) of any strides to adjacent rows, filled up to ``width`` with zeros."""
    whole_rows = whole_columns = 0
    if source_row == 1 and source_column != 1:
        whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
        for i in range(0, whole_rows, SIDE):
            for j in range(0, whole_columns, SIDE):
                place = offset(source, i + j * source_column)
                transpose_block(SIDE, offset(target, i * target_row + j), target_row, place, source_column)
    for i in range(rows):
        row = offset(source, i * source_row)
        for j in range(whole_columns if i < whole_rows else 0, columns):
            target[i * target_row + j] = row[j * source_column]
        for j in range(columns, width):
            target[i * target_row + j] = zero(target)
