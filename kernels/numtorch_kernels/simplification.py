"""What of a sequence of nodes need not be done: what nobody needs, and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .launches import Node, Operand


class _Use(NamedTuple):
    """That the node at a place reads or writes a part of some memory, or both."""

    place: int
    operand: Operand
    writes: bool
    reads: bool


def needed(nodes: Sequence[Node | Operand], kept: set[int]) -> list[Node | Operand]:
    """The nodes without those that nobody needs; ``kept`` are the ids of memory that counts."""
    wanted: dict[int, list[Operand]] = {}
    result: list[Node | Operand] = []
    for node in reversed(nodes):
        if isinstance(node, Node):
            useful = any(
                id(x.root) in kept or any(map(x.overlaps, wanted.get(id(x.root), ())))
                for x in node.outputs
            )
            if not useful:
                continue
            reads = node.inputs
        else:
            reads = [node]
        for x in reads:
            wanted.setdefault(id(x.root), []).append(x)
        result.append(node)
    return result[::-1]


def without_copies(nodes: Sequence[Node | Operand], kept: set[int]) -> list[Node | Operand]:
    """The nodes without copies of memory that is in between and could lie where the copy goes.

    Whoever used that memory uses the target instead, which must not be used before.
    """
    uses: dict[int, list[_Use]] = {}
    for place, node in enumerate(nodes):
        for operand, writes, reads in _operands(node):
            uses.setdefault(id(operand.root), []).append(_Use(place, operand, writes, reads))
    dropped = set()
    for place, node in enumerate(nodes):
        if isinstance(node, Node) and _is_copy(node):
            source, target = node.operands
            if id(source.root) in kept or not _may_lie_there(place, source, target, uses):
                continue
            first = uses[id(source.root)][0].place
            if not any(isinstance(each, Operand) for each in nodes[first:place]):
                _move(source, target, uses)
                dropped.add(place)
    return [node for place, node in enumerate(nodes) if place not in dropped]


def _operands(node: Node | Operand) -> list[tuple[Operand, bool, bool]]:
    """Of each operand whether it is written, and whether it is read."""
    if isinstance(node, Operand):
        return [(node, False, True)]
    count, updates = node.loop.inputs, node.loop.updates
    return [(x, i >= count, i < count or updates) for i, x in enumerate(node.operands)]


def _is_copy(node: Node) -> bool:
    """Whether a node copies adjacent elements to adjacent elements in the same order."""
    if node.loop.expressions is None or node.loop.expressions[0].name != "input":
        return False
    source, target = node.operands
    return (
        source.root is not target.root
        and source.strides == target.strides
        and source.dense
        and target.dense
        and target.lo < target.hi
    )


def _may_lie_there(
    place: int, source: Operand, target: Operand, uses: dict[int, list[_Use]]
) -> bool:
    """Whether all uses of the source can be uses of the target."""
    own = uses[id(source.root)]
    first = own[0]
    return (
        not first.reads
        and first.operand.dense
        and (first.operand.lo, first.operand.hi) == (source.lo, source.hi)
        and all(source.lo <= use.operand.lo and use.operand.hi <= source.hi for use in own)
        and not any(use.writes and use.place > place for use in own)
        and all(
            use.place >= place or not use.operand.overlaps(target) for use in uses[id(target.root)]
        )
        and not any(
            use.writes and use.place > place and use.operand.overlaps(target)
            for use in uses[id(target.root)]
            if any(other.place > use.place for other in own)
        )
    )


def _move(source: Operand, target: Operand, uses: dict[int, list[_Use]]) -> None:
    """Makes all uses of the source's memory uses of the target's."""
    shift = target.start - source.start
    moved = uses.pop(id(source.root))
    for use in moved:
        x = use.operand
        x.root = target.root
        x.start, x.lo, x.hi = x.start + shift, x.lo + shift, x.hi + shift
    uses[id(target.root)] = sorted([*uses[id(target.root)], *moved], key=lambda use: use.place)
