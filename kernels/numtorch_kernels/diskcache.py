"""Compiled code on disk: one file a function, named by the digest of everything it depends on.

A file is written whole under another name and renamed, so a reader sees all of it or none, and
processes that fill an empty cache at once do not disturb each other. Where nothing can be written
the code is compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

MAGIC = b"numtorch-kernel-2"


def _platform_directory() -> Path | None:
    """The platform's directory for caches, or None where there is no home."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA")
        return Path(root, "numtorch", "cache") if root else None
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root, "numtorch")
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "numtorch"
    return home / ".cache" / "numtorch"


def _usable(directory: Path, private: bool) -> bool:
    """Whether the directory can be made and written to, and (if private) is nobody else's."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if private and hasattr(os, "getuid"):
            foreign = status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if foreign or directory.is_symlink():
                return False
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


@cache
def directory() -> Path | None:
    """Where compiled code is kept; None where it is not.

    ``NUMTORCH_CACHE_DIR`` if set, else the platform's cache directory, else one of this user's own
    under the temporary directory. ``NUMTORCH_CACHE=0`` turns the cache off.
    """
    if os.environ.get("NUMTORCH_CACHE") == "0":
        return None
    chosen = os.environ.get("NUMTORCH_CACHE_DIR")
    candidates = [(Path(chosen), False)] if chosen else []
    if platform := _platform_directory():
        candidates.append((platform, False))
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    candidates.append((Path(tempfile.gettempdir(), f"numtorch-{user}"), True))
    return next((path for path, private in candidates if _usable(path, private)), None)


def read(name: str) -> bytes | None:
    """The code stored under a name; None where there is none or it is damaged."""
    where = directory()
    if where is None:
        return None
    try:
        data = (where / name).read_bytes()
    except OSError:
        return None
    header = len(MAGIC) + hashlib.sha256().digest_size
    code = data[header:]
    return code if data[:header] == _header(code) else None


def holds(name: str) -> bool:
    """Whether there is code under a name, damaged or not."""
    where = directory()
    return where is not None and (where / name).exists()


def _header(code: bytes) -> bytes:
    return MAGIC + hashlib.sha256(code).digest()


def write(name: str, code: bytes) -> None:
    """Stores the code under a name, if there is a place to."""
    where = directory()
    if where is None:
        return
    try:
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".writing-")
        with os.fdopen(handle, "wb") as file:
            file.write(_header(code) + code)
        Path(temporary).replace(where / name)
    except OSError:
        return  # a full or vanished disk costs a compilation, not the program
