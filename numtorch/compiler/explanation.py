"""What was made of a function, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from numtorch_kernels.encoding import StageReport
from numtorch_kernels.program import Program


@dataclass(frozen=True)
class Kernel:
    """One loop: the operations fused in it, the bytes it moves, and how it is written."""

    operations: tuple[str, ...]
    name: str
    group: int
    bytes_read: int
    bytes_written: int
    source: str


@dataclass(frozen=True)
class Part:
    """The kernels of one native call, forward or backward; those of a group share their pass."""

    title: str
    kernels: tuple[Kernel, ...]
    threaded: bool
    memory: int  # bytes that the program keeps for what is in between

    def __str__(self) -> str:
        lines = [f"{self.title}: {len(self.kernels)} kernels, one native call"]
        for _, members in groupby(self.kernels, key=lambda kernel: kernel.group):
            for mark, kernel in zip(_marks(), members, strict=False):
                moved = f"{kernel.bytes_read:,} bytes read, {kernel.bytes_written:,} written"
                fused = ", ".join(kernel.operations) or kernel.name
                lines.append(f"  {mark} {kernel.name}: {fused} ({moved})")
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """The parts that a recorded call became."""

    name: str
    parts: tuple[Part, ...]

    @property
    def bytes_moved(self) -> int:
        """Bytes that all kernels read and write."""
        kernels = [kernel for part in self.parts for kernel in part.kernels]
        return sum(kernel.bytes_read + kernel.bytes_written for kernel in kernels)

    @property
    def source(self) -> str:
        """The generated code of all fused loops; of kernels of the library, what they compute."""
        kernels = [kernel for part in self.parts for kernel in part.kernels]
        return "\n".join(dict.fromkeys(_source(kernel) for kernel in kernels))

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts))


@dataclass
class Report:
    """What :func:`numtorch.compile` made of a function so far."""

    name: str
    graphs: list[Explanation]
    breaks: list[Any] = field(default_factory=list)
    reason: str = ""

    def __str__(self) -> str:
        lines = [f"{self.name}: compiled for {len(self.graphs)} kinds of calls"]
        lines += [str(graph) for graph in self.graphs]
        if self.reason:
            lines.append(f"not repeatable without its Python: {self.reason}")
        lines += [f"graph break at {place}" for place in self.breaks]
        return "\n".join(lines)

    @property
    def source(self) -> str:
        """The generated code of all graphs."""
        return "\n".join(graph.source for graph in self.graphs)


def _marks() -> Any:
    """What stands before the kernels of a group: those behind the first share its pass."""
    yield "-"
    while True:
        yield "+"


def _source(kernel: Kernel) -> str:
    if kernel.name == "pointwise":
        return f"# {', '.join(kernel.operations)}\n{kernel.source}"
    return f"# {kernel.name}: {kernel.source.splitlines()[0] if kernel.source else ''}"


def _kernels(reports: Sequence[StageReport]) -> tuple[Kernel, ...]:
    return tuple(
        Kernel(
            tuple(dict.fromkeys(filter(None, report.labels))),
            report.loop.name,
            report.group,
            report.reads,
            report.writes,
            report.loop.text,
        )
        for report in reports
    )


def _part(title: str, program: Program) -> Part:
    return Part(title, _kernels(program.reports), program.launches_threads, program.memory)


def describe(name: str, forward: Program, backwards: Sequence[Program]) -> Explanation:
    """What the programs of a recorded call are."""
    backwards = [program for program in backwards if program.reports]
    parts = [_part(f"{name}, forward" if backwards else name, forward)]
    parts += [_part(f"{name}, backward", program) for program in backwards]
    return Explanation(name, tuple(parts))
