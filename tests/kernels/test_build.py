"""What a kernel's key depends on, and that code of several processes gets along in one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.core import cpu

from numtorch_kernels import build, compiler, matmul, target, translation
from numtorch_kernels.intrinsics import cast, helper, zero
from processes import environment, run

F4, F8 = np.dtype("f4"), np.dtype("f8")
FACTOR = 2


@helper
def combine(a, b):  # type: ignore[no-untyped-def]
    return a + b


@helper
def multiply(a, b):  # type: ignore[no-untyped-def]
    return a * b


@helper
def twice(a, b):  # type: ignore[no-untyped-def]
    return combine(combine(a, b), combine(a, b))


def fold(count, n, x, x_outer, x_inner, out, out_outer):  # type: ignore[no-untyped-def]
    for row in range(count):
        total = x[row * x_outer]
        for i in range(1, n):
            total = combine(total, x[row * x_outer + i * x_inner])
        out[row * out_outer] = cast(out, total)


def sums(count, n, x, x_outer, x_inner, out, out_outer, out_inner):  # type: ignore[no-untyped-def]
    for row in range(count):
        total = zero(out)
        for i in range(n):
            total += cast(out, x[row * x_outer + i * x_inner])
            out[row * out_outer + i * out_inner] = total


def scaled(factor: int) -> Any:
    """A helper that holds a number in a cell; all of them have one name."""

    @helper
    def function(a, b):  # type: ignore[no-untyped-def]
        return a + b * factor

    return function


def digest(function: Callable[..., Any], **bind: Any) -> tuple[str, ...]:
    return build.meaning(build.with_globals(function, bind))


def test_gufunc_with_core_dimensions() -> None:
    x = np.random.standard_normal((3, 4, 5)).astype(F4)
    loop = build.gufunc(sums, "(n)->(n)", (F4, F8))
    for each in (x, x[::-1, :, ::-2], x.transpose(2, 0, 1), np.broadcast_to(x[:1], x.shape)):
        out = np.zeros(each.shape, F8)
        loop.ufunc(each, out)
        np.testing.assert_allclose(out, np.cumsum(each, -1, F8), rtol=1e-12)
    assert build.gufunc(sums, "(n)->(n)", (F4, F8)) is loop


def test_bind_replaces_a_global() -> None:
    x = np.random.randint(1, 9, (3, 4)).astype(F8)
    wanted = {combine: x.sum(-1), multiply: x.prod(-1), twice: None, scaled(1): x.sum(-1)}
    for function, result in wanted.items():
        out = np.empty(3)
        build.gufunc(fold, "(n)->()", (F8, F8), bind={"combine": function}).ufunc(x, out)
        if result is not None:
            np.testing.assert_array_equal(out, result)


def test_helpers_of_one_name_and_two_meanings() -> None:
    x = np.arange(1.0, 5.0)
    for factor in (1, 10, 100):
        out = np.empty(())
        loop = build.gufunc(fold, "(n)->()", (F8, F8), bind={"combine": scaled(factor)})
        loop.ufunc(x, out)
        assert out == 1 + 9 * factor


def test_meaning_follows_helpers_numbers_and_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(x: Any) -> Any:
        return twice(x, FACTOR)

    seen = {digest(kernel), digest(fold), digest(fold, combine=multiply)}
    seen |= {digest(fold, combine=scaled(1)), digest(fold, combine=scaled(2))}
    seen |= {digest(kernel, FACTOR=3), digest(kernel, FACTOR=3.0), digest(kernel, FACTOR=(3,))}
    seen |= {digest(kernel, FACTOR=np.arange(k)) for k in (2, 3)}
    assert len(seen) == 10
    assert digest(kernel) in seen
    assert digest(fold, combine=scaled(2)) in seen
    monkeypatch.setitem(kernel.__globals__, "FACTOR", 5)
    assert digest(kernel) not in seen


def test_meaning_is_of_the_text_and_not_of_its_place() -> None:
    text = "def kernel(x):\n    return [y + 1 for y in (x, {number})]\n"
    make = [build.define(lines + text.format(number=n), "kernel", {}) for lines in ("", "\n\n")
            for n in (1, 2)]  # fmt: skip
    one, two, again, _ = map(build.meaning, make)
    assert one == again
    assert one != two


def test_options_of_a_helper_are_part_of_its_meaning() -> None:
    def plain(a: Any, b: Any) -> Any:
        return a + b

    fast = build.specialise(plain, {}, frozenset({"reassoc", "nsz"}))
    assert digest(fold, combine=build.specialise(plain, {})) != digest(fold, combine=fast)


def test_code_names_nothing_but_its_entry() -> None:
    entry = build.define("def entry(a, b):\n    twice(a, b)\n", "entry", {"twice": twice})
    code = translation.object_code(compiler.lowered(entry, build.TASK, "some_entry"))
    assert b"some_entry" in code
    assert b"combine" not in code


BYTE, WORD, REAL = ir.IntType(8), ir.IntType(64), ir.FloatType()
LLVM_TYPES = [
    *(ir.IntType(width) for width in (1, 8, 16, 24, 32, 33, 64, 128)),
    REAL,
    ir.DoubleType(),
    BYTE.as_pointer(),
    ir.LiteralStructType([]),
    ir.LiteralStructType([BYTE, WORD]),
    ir.LiteralStructType([WORD, BYTE]),
    ir.LiteralStructType([BYTE, ir.LiteralStructType([REAL, BYTE]), BYTE]),
    ir.LiteralStructType([ir.LiteralStructType([BYTE, ir.IntType(16)]), WORD, ir.IntType(1)]),
    ir.LiteralStructType([ir.ArrayType(BYTE, 3), WORD]),
    ir.LiteralStructType([BYTE, WORD], packed=True),
    ir.ArrayType(BYTE, 3),
]


@pytest.mark.parametrize("kind", LLVM_TYPES, ids=str)
def test_sizes_are_those_of_llvm(kind: ir.Type) -> None:
    """Of types whose sizes are computed without it, and of those for which it is asked."""
    context = target.Part.targetdescr.target_context
    assert context.get_abi_sizeof(kind) == cpu.CPUContext.get_abi_sizeof(context, kind)


def test_threads_that_compile_at_once() -> None:
    kinds = [np.dtype(code) for code in ("f4", "f8", "i4", "i8")]
    barrier = threading.Barrier(8)
    results: list[Any] = []

    def work(k: int) -> None:
        barrier.wait()
        for dtype in kinds[k % 4 :] + kinds[: k % 4]:
            out = np.empty(3, dtype)
            loop = build.gufunc(fold, "(n)->()", (dtype, dtype), bind={"combine": combine})
            loop.ufunc(np.arange(12).reshape(3, 4).astype(dtype), out)
            results.append(out.tolist())

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [[6, 22, 38]] * 32


def tables(number: int) -> Any:
    """A function with a table of its own, which Numba gives the same name in all of them."""
    table = tuple(number + i for i in range(8))

    @helper
    def function(a):  # type: ignore[no-untyped-def]
        return table[a & 7]

    return function


def both_tables(count, x, x_outer, out, out_outer):  # type: ignore[no-untyped-def]
    for i in range(count):
        out[i * out_outer] = first(x[i * x_outer]) + second(x[i * x_outer])  # noqa: F821


def test_private_values_of_one_name_stay_apart() -> None:
    i8 = np.dtype("i8")
    bind = {"first": tables(10), "second": tables(1000)}
    out = np.empty(3, i8)
    build.gufunc(both_tables, "()->()", (i8, i8), bind=bind).ufunc(np.arange(3), out)
    assert out.tolist() == [1010, 1012, 1014]


def test_threads_give_a_function_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    digest_of = build._sha256
    monkeypatch.setattr(build, "_digests", {})
    monkeypatch.setattr(build, "_known", {})
    monkeypatch.setattr(build, "_sha256", lambda *texts: sleep(1e-3) or digest_of(*texts))
    entry = build.define("def entry(a, b):\n    twice(a, b)\n", "entry", {"twice": twice})
    with ThreadPoolExecutor(4) as pool:
        names = pool.map(lambda _: build.MachineCode(entry, build.TASK).name, range(8))
    assert set(names) == {build.MachineCode(entry, build.TASK).name}


def test_compilations_go_on_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.diskcache, "directory", lambda: None)
    number = types.int64
    codes = [
        build.MachineCode(scaled(1000 + k).py_func, (number, number), result=number)
        for k in range(3)
    ]
    for code in codes:
        code.begin()
    assert all(translation.is_begun(code.name) for code in codes)
    assert len({code.address for code in reversed(codes)}) == 3
    assert not any(translation.is_begun(code.name) for code in codes)


def test_a_failed_compilation_raises_where_its_result_is_wanted() -> None:
    translation.begin(["no module"], "nothing")
    with pytest.raises(RuntimeError, match="LLVM IR parsing error"):
        translation.finished("nothing")


KERNELS = """
from numtorch_kernels.build import gufunc
from numtorch_kernels.intrinsics import helper

def make(number):
    @helper
    def combine(a, b):
        return a * number + b
    return combine

def kernel(count, n, x, x_outer, x_inner, out, out_outer):
    for row in range(count):
        total = x[row * x_outer]
        for i in range(1, n):
            total = combine(total, x[row * x_outer + i * x_inner])
        out[row * out_outer] = total

def fold(number):
    out = np.empty(())
    bind = {"combine": make(number)}
    gufunc(kernel, "(n)->()", (out.dtype, out.dtype), bind=bind).ufunc(np.ones(3), out)
    return out.item()

def check(numbers):
    for number in numbers:
        assert fold(number) == number**2 + number + 1, number
    print(len(compiled))
"""


@pytest.mark.slow
def test_code_of_several_processes_in_one(tmp_path: Path) -> None:
    orders = ["range(0, 10)", "range(19, 9, -1)", "[*range(20, 30), 0]"]
    for order in orders:
        run(KERNELS + f"check({order})", environment(tmp_path))
    assert run(KERNELS + "check(range(30))", environment(tmp_path)) == "0\n"


def test_flags_of_numba_are_part_of_the_key(tmp_path: Path) -> None:
    code = KERNELS + "check([1])"
    assert run(code, environment(tmp_path)) == "1\n"
    assert run(code, environment(tmp_path)) == "0\n"
    assert run(code, environment(tmp_path, NUMBA_LOOP_VECTORIZE="0")) == "1\n"
    assert run(code, environment(tmp_path, NUMBA_OPT="1")) == "1\n"
    assert (
        run(code, environment(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")) == "1\n"
    )


def test_changed_package_compiles_anew(tmp_path: Path) -> None:
    """A helper's text is part of the keys of those that call it, and of no others."""
    home = Path(build.__file__).parent
    package = tmp_path / "numtorch_kernels"
    for file in home.rglob("*.py"):
        place = package / file.relative_to(home)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    variables = environment(tmp_path / "cache")
    variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
    code = "{}; print(len(compiled))"
    both = "print(s.minimum(x, x + 1).sum(), s.add(x, x).sum())"
    # x + 1 is NumPy's; two loops, the region, the chunks' task, and what hands it the arrays
    assert run(code.format(both), variables).endswith("\n5\n")
    text = (package / "arithmetic.py").read_text()
    assert "(a < b)" in text
    (package / "arithmetic.py").write_text("# moved\n" + text.replace("(a < b)", "(a <= b)"))
    assert run(code.format(both), variables).endswith("\n1\n")


def test_read_only_installation(tmp_path: Path) -> None:
    """Whoever opens a file of the package to write is refused, as the system would refuse him."""
    home = Path(build.__file__).parent
    code = (
        "import os\n"
        "def refuse(event, args):\n"
        "    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT\n"
        f"    inside = event == 'open' and str(args[0]).startswith({str(home)!r})\n"
        "    if inside and args[2] & writing:\n"
        "        raise PermissionError(args[0])\n"
        "sys.addaudithook(refuse)\n"
        "try:\n"
        f"    open({str(home / 'new')!r}, 'w')\n"
        "except PermissionError:\n"
        "    print('refused')\n"
        "print(s.add(x, x)[0, 1], len(compiled) > 0)\n"
    )
    assert run(code, environment(tmp_path / "cache")) == "refused\n0.002 True\n"


def test_hints_to_llvm_are_written_where_loops_go_on() -> None:
    in_place = "\n".join(matmul.small_loops(np.dtype("f4"))[0].code.lowered())
    assert "llvm.loop.unroll.disable" in in_place
    assert in_place.count(", !llvm.loop !") == 2  # tiles of one vector, and of two
