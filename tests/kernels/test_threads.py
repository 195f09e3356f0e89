"""Forks, callers at once, threading layers: the same results everywhere."""

import ctypes
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numtorch_kernels import get_num_threads, set_num_threads, team, threads
from numtorch_kernels import symbols as s
from numtorch_kernels.build import task
from numtorch_kernels.intrinsics import int64_at
from processes import RESULT, environment, run


@pytest.fixture
def num_threads() -> Iterator[None]:
    """The number of threads is what it was after the test."""
    before = get_num_threads()
    yield
    set_num_threads(before)


def mark(descriptor, index):  # type: ignore[no-untyped-def]
    int64_at(descriptor)[index] += index + 1


@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 100])
def test_each_task_runs_once(tasks: int) -> None:
    words = np.zeros(101, np.int64)
    threads.parallel_for(task(mark), words, tasks)
    np.testing.assert_array_equal(words, [*range(1, tasks + 1), *[0] * (101 - tasks)])


@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 100])
def test_the_team_does_what_numbas_region_does(tasks: int) -> None:
    if threads.threading_layer() != "omp":
        pytest.skip("needs OpenMP")
    codes = threads.region_code(), threads.NUMBAS_REGION
    assert codes[0] is team.TEAM_CODE
    for code in codes:
        words = np.zeros(101, np.int64)
        word = ctypes.c_int64
        region = ctypes.CFUNCTYPE(None, word, word, word)(code.address)
        region(task(mark), words.ctypes.data, tasks)
        np.testing.assert_array_equal(words, [*range(1, tasks + 1), *[0] * (101 - tasks)])


def test_without_openmps_names_the_region_is_numbas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_RUNTIME", {**team._RUNTIME, "GOMP_absent": team._START})
    assert not team.is_available()
    assert threads.region_code.__wrapped__() is threads.NUMBAS_REGION


@pytest.mark.usefixtures("num_threads")
def test_set_num_threads() -> None:
    set_num_threads(1)
    assert get_num_threads() == 1
    set_num_threads(10_000)
    assert 1 <= get_num_threads() <= 10_000
    with pytest.raises(RuntimeError, match="expects a positive integer, but got 0"):
        set_num_threads(0)
    with pytest.raises(RuntimeError, match="expects an int, but got str"):
        set_num_threads("2")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="expects an int, but got bool"):
        set_num_threads(True)


def test_whoever_finds_the_region_taken_computes_serially(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.threading_layer()
    monkeypatch.setattr(threads._State, "exclusive", True)
    for taken in (False, True):
        entry = threading.Lock()
        if taken:
            entry.acquire()
        monkeypatch.setattr(threads._State, "entry", entry)
        words = np.zeros(4, np.int64)
        threads.parallel_for(task(mark), words, 4)
        assert words.tolist() == [1, 2, 3, 4]
        assert entry.locked() == taken


def test_ten_threads_at_once() -> None:
    x = np.random.standard_normal((600, 500)).astype(np.float32)
    wanted = s.tanh(x), s.mul(x, x[0])

    def work(_: int) -> bool:
        values = s.tanh(x), s.mul(x, x[0])
        return all(np.array_equal(a, b) for a, b in zip(values, wanted, strict=True))

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(work, range(60)))


LAYERS = ("omp", "workqueue")
CODE = {
    "plain": RESULT,
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(10) as pool:
    computed = pool.map(lambda _: compute(), range(30))
    results = [[float(each) for each in result] for result in computed]
assert all(result == results[0] for result in results)
print(results[0])
""",
    "fork": """
def child():
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking a process that has threads
        pid = os.fork()
    if not pid:
        os.write(writer, repr([float(each) for each in compute()]).encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return os.read(reader, 10000).decode()

before = child()
print([float(each) for each in compute()])
print(before)
print(child())
print([float(each) for each in compute()])
""",
    "fork while another thread compiles": """
import signal, threading

def compile_others():
    for function in (s.sin, s.cos, s.log, s.sinh, s.cosh):
        function(x)

background = threading.Thread(target=compile_others)
background.start()
while len(compiled) == 0 and background.is_alive():
    pass
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pid = os.fork()
if not pid:
    signal.alarm(120)
    results = compute()
    s.asinh(x)
    print([float(each) for each in results], flush=True)
    os._exit(0)
background.join()
assert os.waitpid(pid, 0)[1] == 0
""",
    "one thread": "from numtorch_kernels import set_num_threads\nset_num_threads(1)\n" + RESULT,
    "fork of fork": """
compute()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _ in range(2):
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            os._exit(0)
print([float(each) for each in compute()], flush=True)
""",
}


def available(layer: str) -> bool:
    variables = environment(None, NUMTORCH_CACHE="0", NUMBA_THREADING_LAYER=layer)
    code = "from numba.np.ufunc import omppool" if layer == "omp" else ""
    try:
        run(code, variables)
    except AssertionError:
        return False
    return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache, and the result that every process should give."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, run(RESULT, environment(cache, NUMBA_NUM_THREADS="1"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("what", CODE)
def test_layers(layer: str, what: str, shared: tuple[Path, str]) -> None:
    if not available(layer):
        pytest.skip(f"this Numba has no {layer}")
    cache, wanted = shared
    variables: dict[str, Any] = environment(cache, NUMBA_THREADING_LAYER=layer)
    printed = run(CODE[what], variables).splitlines()
    assert printed
    assert set(printed) == {wanted.strip()}


def test_launches_pause_after_one_that_waited_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long each time that happens again soon."""
    monkeypatch.setattr(threads, "state", threads.state.copy())
    monkeypatch.setattr(threads._Backoff, "until", 0.0)
    monkeypatch.setattr(threads._Backoff, "pause", threads.SHORTEST_PAUSE)
    monkeypatch.setattr(threads._State, "exclusive", False)
    monkeypatch.setattr(threads._State, "wanted", 2)
    now = 100.0
    monkeypatch.setattr(threads, "perf_counter", lambda: now)
    for pause in (threads.SHORTEST_PAUSE, 2 * threads.SHORTEST_PAUSE):
        with threads.admission() as workers:
            assert workers == 2
        threads.judge(now - 8e-3, 50e-6)
        now += pause - 0.001
        with threads.admission() as workers:
            assert workers == 1
        now += 0.002
    threads.judge(now - 60e-6, 50e-6)
    with threads.admission() as workers:
        assert workers == 2
    now += 1
    threads.judge(now - 8e-3, 50e-6)
    assert threads._Backoff.pause == threads.SHORTEST_PAUSE
