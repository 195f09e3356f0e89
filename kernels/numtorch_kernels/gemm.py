"""The kernels of matrix products: operands in place, packed operands, matrix by vector."""

from __future__ import annotations

from .intrinsics import (
    BLOCK,
    buffer,
    call_loop,
    cast,
    helper,
    int64_at,
    offset,
    words,
    zero,
)
from .intrinsics import float32_at as element_at
from .microkernel import (
    copy_vector,
    fetch_add,
    multiply_tile,
    prefetch,
    stack,
    transpose_block,
)

# The geometry of tiles and panels, bound for each dtype by `matmul`, like the functions that
# kernels call and that use it too.
ROWS = VECTORS = FEWER = LANES = WIDTH = DEPTH = PANEL = SIDE = LINE = A_ROW = FAR = 1

LONGEST_PIECE = 64 * BLOCK  # elements that a dot product sums at once; each sum costs 15 ns more

# Words of the descriptor of a product that workers share; strides are in elements. At the end is
# for each worker how many of its blocks are taken.
(WORKERS, M, N, K, BLOCK_ROWS, BLOCK_COLUMNS, A, A_M, A_K, B, B_K, B_N, C, C_M, C_N,
 LOOP, ITEM, ROOM, ROOM_EACH, BIAS, BIAS_N, TAKEN) = range(22)  # fmt: skip


def multiply_in_place(
    count, m, k, n, a, a_outer, a_m, a_k, b, b_outer, b_k, b_n, c, c_outer, c_m, c_n
):
    """C = A @ B, reading A in place, and B too where a tile of it has whole adjacent rows.

    Rows of B that lie far apart compete for few cache sets: many tiles of C are worth a copy.
    The rows of C must be adjacent.
    """
    panel = stack(b, PANEL)
    copies = b_n != 1 or (b_k >= FAR and m >= 8 * ROWS)
    for _ in range(count):
        for p in range(0, max(k, 1), DEPTH):
            depth, later = min(DEPTH, k - p), p > 0
            for j in range(0, n, 2 * LANES):
                columns = min(2 * LANES, n - j)
                width = LANES if columns <= LANES else 2 * LANES
                source, step = offset(b, p * b_k + j * b_n), b_k
                if copies or columns < width:
                    pack(panel, width, source, b_k, b_n, depth, columns, width)
                    source, step = panel, width
                for i in range(0, m, ROWS):
                    a_tile, c_tile = offset(a, i * a_m + p * a_k), offset(c, i * c_m + j)
                    rows = min(ROWS, m - i)
                    if columns <= LANES:
                        multiply_tile(ROWS, 1, LANES, a_tile, a_m, a_k, source, step, depth,
                                      c_tile, c_m, rows, columns, later)  # fmt: skip
                    else:
                        multiply_tile(ROWS, 2, LANES, a_tile, a_m, a_k, source, step, depth,
                                      c_tile, c_m, rows, columns, later)  # fmt: skip
        a, b, c = offset(a, a_outer), offset(b, b_outer), offset(c, c_outer)


@helper
def claim(d, worker):
    """A block of C that no worker has: its top, height, left edge and width, or height 0.

    A worker has the same blocks each time, which are in its cache, and then helps the others.
    """
    down, across = -(-d[M] // d[BLOCK_ROWS]), -(-d[N] // d[BLOCK_COLUMNS])
    blocks, workers = down * across, d[WORKERS]
    for step in range(workers):
        owner = (worker + step) % workers
        first, end = blocks * owner // workers, blocks * (owner + 1) // workers
        block = first + fetch_add(offset(d, TAKEN + owner), 1)
        if block < end:
            top, left = block // across * d[BLOCK_ROWS], block % across * d[BLOCK_COLUMNS]
            return top, min(d[BLOCK_ROWS], d[M] - top), left, min(d[BLOCK_COLUMNS], d[N] - left)
    return 0, 0, 0, 0


def add_bias(d, c, top, height, left, breadth):
    """Adds the bias, if there is one, to the rows of a block of C, which are in the cache yet."""
    if d[BIAS] == 0:
        return
    bias, step = offset(element_at(d[BIAS]), left * d[BIAS_N]), d[BIAS_N]
    for i in range(top, top + height):
        row = offset(c, i * d[C_M] + left)
        if step == 1:
            for j in range(breadth):
                row[j] = cast(row, row[j] + bias[j])
        else:
            for j in range(breadth):
                row[j] = cast(row, row[j] + bias[j * step])


def multiply_shared(descriptor, worker):
    """One worker's share of C = A @ B in place: it claims block after block until none is left."""
    d = int64_at(descriptor)
    frame = words()
    dims, steps, pointers = frame, offset(frame, 8), offset(frame, 24)
    item = d[ITEM]
    for operand in range(3):
        steps[operand] = 0
        steps[3 + 2 * operand] = d[A_M + 3 * operand] * item
        steps[4 + 2 * operand] = d[A_K + 3 * operand] * item
    dims[0], dims[2] = 1, d[K]
    top, dims[1], left, dims[3] = claim(d, worker)
    while dims[1] > 0:
        pointers[0] = d[A] + top * d[A_M] * item
        pointers[1] = d[B] + left * d[B_N] * item
        pointers[2] = d[C] + (top * d[C_M] + left * d[C_N]) * item
        call_loop(d[LOOP], pointers, dims, steps)
        add_bias(d, element_at(d[C]), top, dims[1], left, dims[3])
        top, dims[1], left, dims[3] = claim(d, worker)


def multiply_packed(descriptor, worker):
    """One worker's share of C = A @ B through packed copies of A and B.

    A block of A is packed to stay in the second-level cache while panels of B, packed one at a
    time, pass by; each panel stays close while tiles of C are computed from it.
    """
    d = int64_at(descriptor)
    a_m, a_k, b_k, b_n, c_m = d[A_M], d[A_K], d[B_K], d[B_N], d[C_M]
    a, b, c = element_at(d[A]), element_at(d[B]), element_at(d[C])
    panel = offset(element_at(d[ROOM]), worker * d[ROOM_EACH])
    block = offset(panel, PANEL)
    top, height, left, breadth = claim(d, worker)
    while height > 0:
        for p in range(0, d[K], DEPTH):
            depth, later = min(DEPTH, d[K] - p), p > 0
            pack(block, A_ROW, offset(a, top * a_m + p * a_k), a_m, a_k, height, depth, depth)
            for j in range(0, breadth, WIDTH):
                columns, following = min(WIDTH, breadth - j), min(WIDTH, breadth - j - WIDTH)
                source = offset(b, p * b_k + (left + j) * b_n)
                pack(panel, WIDTH, source, b_k, b_n, depth, columns, WIDTH)
                source = offset(source, WIDTH * b_n)
                for i in range(0, height, ROWS):
                    prefetch_part(source, b_k, b_n, depth, following, i, ROWS, height)
                    rows, c_tile = min(ROWS, height - i), offset(c, (top + i) * c_m + left + j)
                    a_tile = offset(block, i * A_ROW)
                    if columns > FEWER * LANES:
                        multiply_tile(ROWS, VECTORS, LANES, a_tile, A_ROW, 1, panel, WIDTH, depth,
                                      c_tile, c_m, rows, columns, later)  # fmt: skip
                    else:
                        multiply_tile(ROWS, FEWER, LANES, a_tile, A_ROW, 1, panel, WIDTH, depth,
                                      c_tile, c_m, rows, columns, later)  # fmt: skip
        add_bias(d, c, top, height, left, breadth)
        top, height, left, breadth = claim(d, worker)


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
                transpose_block(
                    SIDE, offset(target, i * target_row + j), target_row, place, source_column
                )
    for i in range(whole_rows if whole_columns == width else 0, rows):
        row = offset(source, i * source_row)
        for j in range(whole_columns if i < whole_rows else 0, columns):
            target[i * target_row + j] = row[j * source_column]
        for j in range(columns, width):
            target[i * target_row + j] = zero(target)


def prefetch_part(source, source_row, source_column, rows, columns, done, step, total):
    """Fetches into the cache as much of (rows, columns) as ``step`` is of ``total``."""
    if source_column != 1:
        source_row, rows, columns = source_column, columns, rows
    for i in range(rows * done // total, min(rows * (done + step) // total, rows)):
        for j in range(0, columns, LINE):
            prefetch(offset(source, i * source_row + j))


@helper
def piece_of(k, is_adjacent):
    """Of how many elements a dot product makes a sum: of few if they have to be copied.

    A long one has a multiple of eight pieces, of one length, so that threads share it evenly.
    """
    if not is_adjacent:
        return BLOCK
    if k <= LONGEST_PIECE:
        return LONGEST_PIECE
    pieces = -(-k // (8 * LONGEST_PIECE)) * 8
    return -(-k // (64 * pieces)) * 64


def dot_rows(count, m, k, a, a_outer, a_m, a_k, x, x_outer, x_k, y, y_outer, y_m):
    """Dot products of A's rows and x, by pieces, longer ones where nothing is copied.

    Four rows at once, where they need no copy: memory delivers four streams twice as fast as one.
    """
    memory, pieces = buffer(a), buffer(a)
    block = piece_of(k, a_k == 1 and x_k == 1)
    fours = m - m % 4 if a_k == 1 else 0
    for _ in range(count):
        for p in range(0, max(k, 1), block):
            size = min(block, k - p)
            piece = adjacent(offset(x, p * x_k), x_k, pieces, size)
            for i in range(0, fours, 4):
                row0 = offset(a, i * a_m + p)
                row1, row2 = offset(row0, a_m), offset(row0, 2 * a_m)
                row3 = offset(row2, a_m)
                total0, total1, total2, total3 = zero(y), zero(y), zero(y), zero(y)
                for e in range(size):
                    total0 = cast(y, total0 + row0[e] * piece[e])
                    total1 = cast(y, total1 + row1[e] * piece[e])
                    total2 = cast(y, total2 + row2[e] * piece[e])
                    total3 = cast(y, total3 + row3[e] * piece[e])
                y0, y1 = offset(y, i * y_m), offset(y, (i + 1) * y_m)
                y2, y3 = offset(y1, y_m), offset(y1, 2 * y_m)
                y0[0] = cast(y, y0[0] + total0) if p > 0 else total0
                y1[0] = cast(y, y1[0] + total1) if p > 0 else total1
                y2[0] = cast(y, y2[0] + total2) if p > 0 else total2
                y3[0] = cast(y, y3[0] + total3) if p > 0 else total3
            for i in range(fours, m):
                row = adjacent(offset(a, i * a_m + p * a_k), a_k, memory, size)
                total = zero(y)
                for e in range(size):
                    total = cast(y, total + row[e] * piece[e])
                y[i * y_m] = cast(y, y[i * y_m] + total) if p > 0 else total
        a, x, y = offset(a, a_outer), offset(x, x_outer), offset(y, y_outer)


# Words of the descriptor of a dot product that workers share; strides are in bytes.
(SHARES, PIECES_DONE, LENGTH, PIECE, LEFT, LEFT_STEP, RIGHT, RIGHT_STEP, PARTS, RESULT,
 DOT, DOT_ITEM) = range(12)  # fmt: skip


def dot_shared(descriptor, worker):
    """One worker's share of a long dot product, by pieces; the last adds the pieces' in order.

    An element of the result has the bits that :func:`dot_rows` would give it.
    """
    d = int64_at(descriptor)
    frame = words()
    dims, steps, pointers = frame, offset(frame, 8), offset(frame, 24)
    for place in range(7):
        steps[place] = 0
    steps[4], steps[5] = d[LEFT_STEP], d[RIGHT_STEP]
    length, size, item = d[LENGTH], d[PIECE], d[DOT_ITEM]
    left, right, parts = d[LEFT], d[RIGHT], d[PARTS]
    steps[0], steps[1], steps[2] = size * steps[4], size * steps[5], item
    pieces, shares = -(-length // size), d[SHARES]
    first, end = pieces * worker // shares, pieces * (worker + 1) // shares
    start, whole = first, min(end, length // size)
    while start < end:  # those of one length at once, and then what is left
        count = max(whole - start, 1)
        dims[0], dims[1], dims[2] = count, 1, min(size, length - start * size)
        pointers[0], pointers[1] = left + start * steps[0], right + start * steps[1]
        pointers[2] = parts + start * item
        call_loop(d[DOT], pointers, dims, steps)
        start += count
    if fetch_add(offset(d, PIECES_DONE), end - first) == pieces - (end - first):
        each, result = element_at(parts), element_at(d[RESULT])
        total = each[0]
        for k in range(1, pieces):
            total = cast(result, total + each[k])
        result[0] = total


def add_columns(count, m, k, a, a_outer, a_m, a_k, x, x_outer, x_k, y, y_outer, y_m):
    """The sum of A's columns, each times its element of x; for columns with adjacent elements."""
    memory, sums = buffer(a), buffer(a)
    for _ in range(count):
        for i in range(0, m, BLOCK):
            size = min(BLOCK, m - i)
            for start in range(0, max(k, 1), DEPTH):
                for e in range(size):
                    sums[e] = zero(y)
                for p in range(start, min(start + DEPTH, k)):
                    column = adjacent(offset(a, i * a_m + p * a_k), a_m, memory, size)
                    factor = x[p * x_k]
                    for e in range(size):
                        sums[e] = cast(y, sums[e] + column[e] * factor)
                for e in range(size):
                    place = (i + e) * y_m
                    y[place] = cast(y, y[place] + sums[e]) if start > 0 else sums[e]
        a, x, y = offset(a, a_outer), offset(x, x_outer), offset(y, y_outer)


@helper
def adjacent(source, step, memory, count):
    """A pointer to ``count`` adjacent elements: in place where step is 1, else copied to memory."""
    if step == 1:
        return source
    for i in range(count):
        memory[i] = source[i * step]
    return memory
