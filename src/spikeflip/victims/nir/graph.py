"""A graph of the Neuromorphic Intermediate Representation as plain data: nodes, edges, and the order in which they run.

Nested graphs are written out, cycles are cut where a value of the last step is used. No tensors here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError

Value = NDArray[Any] | str
Edge = tuple[str, str]

_CURRENT = ("tau_syn", "tau_mem", "r", "v_leak")
_CONV = ("weight", "stride", "padding", "dilation", "groups")
_POOL = ("kernel_size", "stride", "padding")

# Fields of each kind of node, those that a file may lack second.
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": (("shape",), ()),
    "Output": (("shape",), ()),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Scale": (("scale",), ()),
    "Conv1d": (_CONV, ("bias",)),
    "Conv2d": (_CONV, ("bias",)),
    "AvgPool2d": (_POOL, ()),
    "SumPool2d": (_POOL, ()),
    "Flatten": (("start_dim", "end_dim"), ()),
    "Threshold": (("threshold",), ()),
    "Delay": (("delay",), ()),
    "LIF": (("tau", "r", "v_leak", "v_threshold"), ("v_reset",)),
    "CubaLIF": ((*_CURRENT, "v_threshold"), ("v_reset", "w_in")),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "LI": (("tau", "r", "v_leak"), ()),
    "CubaLI": (_CURRENT, ("w_in",)),
    "I": (("r",), ()),
}
SUPPORTED = (*FIELDS, "NIRGraph")
# What remembers, so that its output of the last step can be meant where there is a cycle.
NEURONS = ("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I")
FIRING = ("LIF", "CubaLIF", "IF", "Threshold")


@dataclass(frozen=True, eq=False)
class Node:
    """A node: its path in the file's graph, its kind and the values of its fields."""

    path: str
    kind: str
    values: Mapping[str, Value]

    @property
    def said(self) -> str:
        """The node in messages."""
        path = self.path if len(self.path) <= 80 else f"{self.path[:77]}..."
        return f"node {path!r} ({self.kind})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph as a file holds it; graphs may be nodes of graphs."""

    path: str
    nodes: Mapping[str, "Node | Graph"]
    edges: Sequence[Edge]


@dataclass(frozen=True, eq=False)
class Flat:
    """A graph without graphs in it; nodes by their paths, a hold keeps what it is given for one step."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    input: str
    output: str


@dataclass(frozen=True)
class Group:
    """Nodes that run together: one over the whole sequence, or a loop, all of them step by step.

    ``now`` are the nodes whose outputs of the same step a node sums up, ``last`` those of the step before.
    """

    nodes: tuple[str, ...]
    loop: bool
    now: Mapping[str, tuple[str, ...]]
    last: Mapping[str, tuple[str, ...]]


def flatten(graph: Graph) -> Flat:
    """Write out nested graphs and check that all edges have ends, with one input and one output.

    Raises:
        SpikeflipError: there is not exactly one Input and one Output, an edge leads nowhere or into the Input, or a
            node is unreachable.
    """
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    source, target = _write_out(graph, nodes, edges)
    flat = Flat(nodes, tuple(edges), source, target)
    for a, b in flat.edges:
        if b == source:
            raise SpikeflipError(f"{nodes[a].said} has an edge into {nodes[source].said}: remove it")
    forward, backward = _neighbours(flat.edges)
    reached, needed = _reach([source], forward).keys(), _reach([target], backward).keys()
    if target not in reached:
        raise SpikeflipError(f"no path leads from {nodes[source].said} to {nodes[target].said}: check the edges")
    for path in sorted(needed - reached):
        raise SpikeflipError(f"{nodes[path].said} is not reached from the input: check the edges")
    kept = {path: node for path, node in nodes.items() if path in needed}
    return Flat(kept, tuple((a, b) for a, b in flat.edges if a in kept and b in kept), source, target)


def hold_delays(flat: Flat, delays: Mapping[str, NDArray[np.int64]]) -> tuple[Flat, dict[str, NDArray[np.int64]]]:
    """Split delays that are part of a cycle into a hold of one step and the rest, so that the hold cuts the cycle."""
    delays, nodes, edges = dict(delays), dict(flat.nodes), list(flat.edges)
    for component in _components(flat.nodes, flat.edges):
        inside = set(component)
        for path in component:
            looped = len(component) > 1 or (path, path) in flat.edges
            if looped and path in delays and delays[path].min() >= 1:
                delays[path] = delays[path] - 1
                hold = f"{path}/hold"
                while hold in nodes:
                    hold += "_"
                nodes[hold] = replace(nodes[path], path=hold, kind="hold")
                edges = [(hold, b) if a == path else (a, b) for a, b in edges]
                edges.append((path, hold))
                inside.add(hold)
    return replace(flat, nodes=nodes, edges=tuple(edges)), delays


def order(flat: Flat) -> tuple[Group, ...]:
    """Groups of nodes in the order in which they run.

    Raises:
        SpikeflipError: a cycle has neither a neuron nor a delay.
    """
    components = _components(flat.nodes, flat.edges)
    of = {path: i for i, component in enumerate(components) for path in component}
    between: dict[int, set[int]] = {i: set() for i in range(len(components))}
    for a, b in flat.edges:
        if of[a] != of[b]:
            between[of[b]].add(of[a])
    rank = {path: i for i, path in enumerate(_reach([flat.input], _neighbours(flat.edges)[0]))}
    return tuple(_group(flat, components[i], rank) for i in TopologicalSorter(between).static_order())


def _group(flat: Flat, component: Sequence[str], rank: Mapping[str, int]) -> Group:
    members = set(component)
    inside = [(a, b) for a, b in flat.edges if a in members and b in members]
    entries = {b for a, b in flat.edges if b in members and a not in members}
    starts = sorted(members, key=lambda path: (path not in entries, rank.get(path, len(rank)), path))
    cut = _cuts(flat.nodes, inside, starts) if inside else set()
    before: dict[str, list[str]] = {path: [] for path in starts}
    for a, b in inside:
        if (a, b) not in cut:
            before[b].append(a)
    nodes = tuple(TopologicalSorter(before).static_order())
    now = {n: tuple(a for a, b in flat.edges if b == n and (a, b) not in cut) for n in nodes}
    last = {n: tuple(a for a, b in inside if b == n and (a, b) in cut) for n in nodes}
    return Group(nodes, bool(inside), now, last)


def _cuts(nodes: Mapping[str, Node], edges: Sequence[Edge], starts: Sequence[str]) -> set[Edge]:
    """The edges of a cyclic part that carry the value of the last step.

    An edge that leads back, seen from the input, closes a cycle; what is of the last step in it is the output of the
    last neuron before that edge.
    """
    cut = {(a, b) for a, b in edges if nodes[b].kind == "hold"}
    while True:
        forward, _ = _neighbours(edge for edge in edges if edge not in cut)
        found = False
        for cycle in _cycles(starts, forward):
            found = True
            for i in reversed(range(len(cycle))):
                if nodes[cycle[i]].kind in NEURONS:
                    cut.add((cycle[i], cycle[(i + 1) % len(cycle)]))
                    break
            else:
                names = ", ".join(repr(path) for path in cycle[:4])
                raise SpikeflipError(
                    f"the nodes {names} form a cycle without a neuron or a delay of at least one step: put a Delay in"
                )
        if not found:
            return cut


def _cycles(starts: Sequence[str], forward: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """A cycle for every edge that leads back in a depth-first search."""
    finished: set[str] = set()
    for start in starts:
        if start in finished:
            continue
        path, place, pending = [start], {start: 0}, [iter(forward.get(start, ()))]
        while path:
            following = next(pending[-1], None)
            if following is None:
                finished.add(path[-1])
                del place[path.pop()]
                pending.pop()
            elif following in place:
                yield path[place[following] :]
            elif following not in finished:
                place[following] = len(path)
                path.append(following)
                pending.append(iter(forward.get(following, ())))


def _write_out(graph: Graph, nodes: dict[str, Node], edges: dict[Edge, None]) -> Edge:
    """Add a graph's nodes and edges under their paths; returns its input and output."""
    where = f"graph {graph.path!r}" if graph.path else "the graph"
    ends: dict[str, Edge] = {}
    inner: dict[str, list[str]] = {"Input": [], "Output": []}
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            ends[name] = _write_out(node, nodes, edges)
            continue
        nodes[node.path] = node
        ends[name] = (node.path, node.path)
        if node.kind in inner:
            inner[node.kind].append(node.path)
    for kind, found in inner.items():
        if len(found) != 1:
            names = f" ({', '.join(map(repr, sorted(found)[:4]))})" if found else ""
            raise SpikeflipError(f"{where} has {len(found)} {kind} nodes{names}: give it exactly one")
    for a, b in graph.edges:
        for name in (a, b):
            if name not in ends:
                raise SpikeflipError(f"{where} has an edge with {name[:80]!r}, which is no node of it: check the edges")
        edges[ends[a][1], ends[b][0]] = None
    return inner["Input"][0], inner["Output"][0]


def _neighbours(edges: Iterable[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    forward: dict[str, list[str]] = {}
    backward: dict[str, list[str]] = {}
    for a, b in edges:
        forward.setdefault(a, []).append(b)
        backward.setdefault(b, []).append(a)
    return forward, backward


def _reach(
    starts: Iterable[str], neighbours: Mapping[str, Sequence[str]], without: Collection[str] = ()
) -> dict[str, None]:
    """All that can be reached, the nearest first."""
    reached = dict.fromkeys(starts)
    waiting = list(reached)
    for path in waiting:
        for following in neighbours.get(path, ()):
            if following not in reached and following not in without:
                reached[following] = None
                waiting.append(following)
    return reached


def _components(nodes: Iterable[str], edges: Sequence[Edge]) -> list[list[str]]:
    """The strongly connected parts (Kosaraju): a node alone, or all nodes that share cycles."""
    forward, backward = _neighbours(edges)
    finished: dict[str, None] = {}
    seen: set[str] = set()
    for start in nodes:
        pending = [] if start in seen else [(start, iter(forward.get(start, ())))]
        seen.add(start)
        while pending:
            path, following = pending[-1]
            new = next((other for other in following if other not in seen), None)
            if new is None:
                finished[path] = None
                pending.pop()
            else:
                seen.add(new)
                pending.append((new, iter(forward.get(new, ()))))
    found, taken = [], set[str]()
    for start in reversed(finished):
        if start not in taken:
            component = list(_reach([start], backward, taken))
            taken.update(component)
            found.append(component)
    return found
