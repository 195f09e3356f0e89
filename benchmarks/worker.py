"""One library in one process: reads requests as lines of JSON, answers each with one line.

{"row": name}        make its inputs, run it -> {"answer": [mean, mean of squares, size]}
{"seconds": budget}  time it for about so long -> {"time": seconds a call}
Whatever a library cannot do is answered by {"error": message}.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from timeit import Timer
from types import ModuleType
from typing import Any

import numpy as np

from rows import ROWS, Row

BLOCKS = 3  # a turn's time is that of its best block


def prepare(row: Row, library: ModuleType) -> tuple[Timer, list[float]]:
    """The row's timer, warm, and a digest of its first answer."""
    namespace = row.namespace(library)
    answer = row.first_answer(library, namespace)
    timer = Timer(row.words(library.__name__), "import gc; gc.enable()", globals=namespace)
    return timer, [float(answer.mean()), float(np.square(answer).mean()), answer.size]


def calls_in(timer: Timer, seconds: float) -> int:
    """Number of calls that take about so long, at least one."""
    number = 1
    while (taken := timer.timeit(number)) < seconds / 4:
        number *= 2 if taken > seconds / 100 else 10
    return max(1, round(number * seconds / taken))


def replies(library: ModuleType, requests: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Answer the requests one by one."""
    rows = {row.name: row for row in ROWS}
    timer, number = Timer(), 0
    for request in map(json.loads, requests):
        try:
            if "row" in request:
                timer, number = Timer(), 0  # the last row's inputs go before the next row's come
                timer, digest = prepare(rows[request["row"]], library)
                yield {"answer": digest}
            else:
                block = request["seconds"] / BLOCKS
                number = number or calls_in(timer, block)
                yield {"time": min(timer.repeat(BLOCKS, number)) / number}
        except Exception as error:  # a library may fail in any way: the table says how
            yield {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def main(name: str, threads: int) -> None:
    """Serve until standard input ends, after a line with the library's version."""
    answers, sys.stdout = sys.stdout, sys.stderr
    library = importlib.import_module(name)
    if library is not np:
        library.set_num_threads(threads)
    print(json.dumps({"version": library.__version__}), file=answers, flush=True)
    for reply in replies(library, iter(sys.stdin.readline, "")):
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
