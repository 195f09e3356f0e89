"""One variant in one process: reads requests as lines of JSON, answers each with one line.

{"row": name}        make its inputs, run it -> {"answer": [mean, root mean square, size] a part}
{"seconds": budget}  time it for about so long -> {"time": seconds a call}
{"first": name}      make that row's inputs, time its first calls -> {"times": seconds each}
Whatever a library cannot do is answered by {"error": message}.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from time import perf_counter
from timeit import Timer
from types import ModuleType
from typing import Any

import numpy as np

from compiled_rows import COMPILED_ROWS
from rows import ROWS, Namespace, Row, library_of
from scaling_rows import SCALING_ROWS
from small_rows import SMALL_ROWS

BLOCKS = 3  # a turn's time is that of its best block


def namespace_of(row: Row, library: ModuleType, compiles: bool) -> Namespace:
    """The row's inputs, its step compiled if asked, as if it were the first that is."""
    namespace = row.namespace(library)
    if compiles:
        library.compiler.reset()
        namespace["step"] = library.compile(namespace["step"])
    return namespace


def timer_of(row: Row, library: ModuleType, namespace: Namespace) -> Timer:
    """The timer of the row's statement."""
    return Timer(row.words(library.__name__), "import gc; gc.enable()", globals=namespace)


def digest(answer: list[np.ndarray]) -> list[float]:
    """Mean, root mean square and size of each part."""
    return [
        float(number)
        for part in answer
        for number in (part.mean(), np.sqrt(np.square(part).mean()), part.size)
    ]


def calls_in(timer: Timer, seconds: float) -> int:
    """Number of calls that take about so long, at least one."""
    number = 1
    while (taken := timer.timeit(number)) < seconds / 4:
        number *= 2 if taken > seconds / 100 else 10
    return max(1, round(number * seconds / taken))


@cache
def settle(library: ModuleType) -> None:
    """Have done what a machine does once, after some calls."""
    if library.__name__ == "numtorch":
        importlib.import_module("numtorch_kernels.calls.callables").begin()


def replies(
    library: ModuleType, compiles: bool, requests: Iterator[str]
) -> Iterator[dict[str, Any]]:
    """Answer the requests one by one."""
    rows = {row.name: row for row in [*ROWS, *COMPILED_ROWS, *SCALING_ROWS, *SMALL_ROWS]}
    timer, number = Timer(), 0
    for request in map(json.loads, requests):
        try:
            if "row" in request:
                settle(library)
                # A row's inputs go before the next's come.
                namespace, timer, number = {}, Timer(), 0
                row = rows[request["row"]]
                namespace = namespace_of(row, library, compiles)
                answer = digest(row.first_answer(library, namespace))
                timer = timer_of(row, library, namespace)
                yield {"answer": answer}
            elif "first" in request:
                row = rows[request["first"]]
                timer = timer_of(row, library, namespace_of(row, library, compiles))
                yield {"times": timer.repeat(row.calls, 1)}
            else:
                block = request["seconds"] / BLOCKS
                number = number or calls_in(timer, block)
                yield {"time": min(timer.repeat(BLOCKS, number)) / number}
        except Exception as error:  # a library may fail in any way: the table says how
            yield {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def main(variant: str, threads: int) -> None:
    """Serve until standard input ends, after a line with the library's version and import."""
    answers, sys.stdout = sys.stdout, sys.stderr
    start = perf_counter()
    library = importlib.import_module(library_of(variant))
    seconds = perf_counter() - start
    if library is not np:
        library.set_num_threads(threads)
    hello = {"version": library.__version__, "seconds": seconds}
    print(json.dumps(hello), file=answers, flush=True)
    compiles = variant != library_of(variant)
    for reply in replies(library, compiles, iter(sys.stdin.readline, "")):
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
