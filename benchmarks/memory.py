"""Measure the peak resident memory of programs, each in a process of its own (Linux).

Usage: python benchmarks/memory.py

MEMORY.md is written. A program runs twice: the first run leaves its kernels on disk.
"""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from report import figure, machine, markdown, page
from rows import perceptron
from turns import HERE, conditions, present

MB = 1024  # of the kilobytes in which Linux counts
LIBRARIES = ("torch", "numtorch")


def chain(torch: ModuleType, gradients: bool) -> Any:
    """Ten operations on 16M elements; of results no name is kept but of the last."""
    x = torch.ones(1 << 24, requires_grad=gradients)
    y = x
    for _ in range(2):
        y = torch.tanh(torch.sigmoid(torch.exp(y * 0.5) + 1.0))
    if gradients:
        y.sum().backward()
    return y


def training(torch: ModuleType) -> Any:
    """Two hundred steps of a perceptron."""
    make = perceptron(784, 512, 512, 10, batch=256, optimizer="Adam")
    step = make(torch, np.random.default_rng(0))
    for _ in range(200):
        step()


PROGRAMS = {
    "ten operations on 16M elements": lambda torch: chain(torch, gradients=False),
    "the same with gradients": lambda torch: chain(torch, gradients=True),
    "200 steps of a perceptron 784-512-512-10, batch 256, Adam": training,
}


def peak() -> int:
    """The process's peak resident memory, in kilobytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s*(\d+)", status)
    assert found
    return int(found[1])


def run(library: str, program: str) -> None:
    """Run a program in this process; print the peaks before and after it, and the version."""
    torch = importlib.import_module(library)
    before = peak()
    PROGRAMS[program](torch)
    print(json.dumps({"before": before, "after": peak(), "version": torch.__version__}))


def measured(library: str, program: str) -> dict[str, Any]:
    """What a process of its own says of a program, when its kernels are on disk."""
    command = [sys.executable, __file__, library, program]
    for _ in range(2):
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout)


def main() -> None:
    """Measure all programs, print their table, and write the file."""
    start = conditions(2)
    libraries = present(LIBRARIES)
    lines, versions = [], {}
    for program in PROGRAMS:
        lines.append([program])
        for library in libraries:
            reply = measured(library, program)
            versions[library] = reply["version"]
            beyond, whole = reply["after"] - reply["before"], reply["after"]
            lines[-1].append(f"{figure(beyond, MB)} / {figure(whole, MB)}")
    text = markdown(["MB", *libraries], lines)
    print(text)
    says = "Peak resident memory beyond that of the import / of the process."
    text = page("Memory", "memory", machine(versions, start), says, text)
    (HERE / "MEMORY.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(*sys.argv[1:])
    else:
        main()
