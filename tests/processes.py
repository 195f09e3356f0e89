"""Pieces of Python in processes of their own, each with a cache where it is told."""

import os
import subprocess
import sys
from pathlib import Path

SETUP = """
import os, sys, warnings
warnings.simplefilter("error")
import numpy as np
from numtorch_kernels import Pointwise, compiler, diskcache
from numtorch_kernels import symbols as s

compiled = []
lowered = compiler.lowered

def counted(function, parameters, name, *rest):
    compiled.append(name)
    return lowered(function, parameters, name, *rest)

compiler.lowered = counted
x = np.arange(400_000, dtype=np.float32).reshape(500, 800) / 1000

def compute():
    total = s.add(x, x.T.copy().T).sum()
    return [s.tanh(x).sum(), total, s.fmod(x, x + 1).sum(), s.gt(x, s.exp(-x)).sum()]
"""
RESULT = "print([float(each) for each in compute()])\n"


def environment(cache: Path | str | None, **changes: str | None) -> dict[str, str]:
    """This process's environment with another cache directory; None takes a variable away."""
    paths = [str(Path(path).resolve()) for path in sys.path if path]
    changes = {"NUMTORCH_CACHE_DIR": cache and str(cache), "NUMTORCH_CACHE": None, **changes}
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NUMBA_NUM_THREADS": "2"}
    for name, value in changes.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    return variables


def start(code: str, variables: dict[str, str]) -> "subprocess.Popen[str]":
    """A process that runs the setup and then the code."""
    command = [sys.executable, "-c", SETUP + code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True)


def output(process: "subprocess.Popen[str]") -> str:
    """What a process printed, which must have ended well and complained of nothing."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert not err
    return out


def run(code: str, variables: dict[str, str]) -> str:
    """What the setup and then the code print."""
    return output(start(code, variables))
