"""The cache: where it is, that damage and neighbours do no harm, that it saves compiling."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from numtorch_kernels import diskcache
from processes import RESULT, environment, output, run, start

COUNTED = RESULT + "print(len(compiled))\n"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache that a process has filled, and what that process computed."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, run(RESULT, environment(cache))


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    """The directory is chosen anew in the test, and again after it."""
    diskcache.directory.cache_clear()
    yield
    diskcache.directory.cache_clear()


def copy_of(cache: Path, place: Path) -> Path:
    place.mkdir()
    for file in cache.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place


def test_import_compiles_and_writes_nothing(tmp_path: Path) -> None:
    code = "import numtorch\nfrom numtorch_kernels import llvmtext\nprint(compiled, llvmtext._made)"
    assert run(code, environment(tmp_path / "cache")) == "[] []\n"
    assert not (tmp_path / "cache").exists()


def test_second_process_compiles_nothing(filled: tuple[Path, str]) -> None:
    cache, wanted = filled
    before = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert run(COUNTED, environment(cache)) == wanted + "0\n"
    assert {file.name: file.stat().st_mtime_ns for file in cache.iterdir()} == before


def test_nothing_but_whole_files_is_left(filled: tuple[Path, str]) -> None:
    for file in filled[0].iterdir():
        assert not file.name.startswith(".writing-")
        assert file.read_bytes().startswith(diskcache.MAGIC)


def test_damaged_files_are_compiled_anew(filled: tuple[Path, str], tmp_path: Path) -> None:
    cache = copy_of(filled[0], tmp_path / "cache")
    names = sorted(file.name for file in cache.iterdir())
    for k, name in enumerate(names):
        data = bytearray((cache / name).read_bytes())
        data[-1 - k] ^= 0xFF
        damages = [b"", bytes(data[: len(data) // 2]), bytes(data), data[:20], b"\0" * len(data)]
        (cache / name).write_bytes(damages[k % len(damages)])
    assert run(COUNTED, environment(cache)) == filled[1] + f"{len(names)}\n"
    assert run(COUNTED, environment(cache)) == filled[1] + "0\n"


@pytest.mark.slow
def test_eight_processes_fill_an_empty_cache(filled: tuple[Path, str], tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache"
    processes = [start(RESULT, environment(cache)) for _ in range(8)]
    assert {output(process) for process in processes} == {filled[1]}
    assert {file.name for file in cache.iterdir()} == {file.name for file in filled[0].iterdir()}


@pytest.mark.parametrize("what", ["off", "file", "below a file", "no home"])
def test_without_a_usable_directory(what: str, filled: tuple[Path, str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    nowhere = {"HOME": str(file), "XDG_CACHE_HOME": str(file), "TMPDIR": str(tmp_path)}
    variables = {
        "off": environment(tmp_path / "cache", NUMTORCH_CACHE="0"),
        "file": environment(file, **nowhere),
        "below a file": environment(file / "cache", **nowhere),
        "no home": environment(None, HOME=None, XDG_CACHE_HOME=None, TMPDIR=str(tmp_path)),
    }[what]
    if what == "no home":  # the user's home is then looked up: not to be written to by a test
        variables["XDG_CACHE_HOME"] = str(tmp_path / "elsewhere")
    assert run(RESULT, variables) == filled[1]
    assert file.read_text() == "in the way"
    if what == "off":
        assert not (tmp_path / "cache").exists()


def test_order_of_places(
    fresh_choice: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("NUMTORCH_CACHE", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NUMTORCH_CACHE_DIR", str(tmp_path / "own"))
    (tmp_path / "file").write_text("")
    found = []
    for variable in ("NUMTORCH_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR"):
        found.append(diskcache.directory())
        monkeypatch.setenv(variable, str(tmp_path / "file"))
        diskcache.directory.cache_clear()
        if variable == "XDG_CACHE_HOME":
            monkeypatch.delenv(variable)
    temporary = tmp_path / f"numtorch-{os.getuid()}"
    home = tmp_path / "home" / ".cache" / "numtorch"
    assert found == [tmp_path / "own", tmp_path / "xdg" / "numtorch", home, temporary]
    monkeypatch.setenv("NUMTORCH_CACHE", "0")
    diskcache.directory.cache_clear()
    assert diskcache.directory() is None
    assert diskcache.read("anything") is None
    diskcache.write("anything", b"code")


def test_shared_temporary_directory_of_another_is_not_trusted(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    assert not diskcache._usable(open_to_all, private=True)
    mine = tmp_path / "mine"
    assert diskcache._usable(mine, private=True)
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    link = tmp_path / "link"
    link.symlink_to(mine)
    assert not diskcache._usable(link, private=True)


def test_round_trip(fresh_choice: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMTORCH_CACHE", raising=False)
    monkeypatch.setenv("NUMTORCH_CACHE_DIR", str(tmp_path))
    assert diskcache.read("name") is None
    for code in (b"", b"code", bytes(10_000)):
        diskcache.write("name", code)
        assert diskcache.read("name") == code
    assert [file.name for file in tmp_path.iterdir()] == ["name"]


def test_a_program_may_end_while_the_interpreter_is_compiled(tmp_path: Path) -> None:
    code = (
        "import numtorch as torch\n"
        "step = torch.compile(lambda x: (x * 2 + 1).sin().sum())\n"
        "for _ in range(8): result = step(torch.zeros(50))\n"
        "print(f'{result:.3f}')\n"
    )
    assert run(code, environment(tmp_path / "cache")) == "42.074\n"
