"""Reading an autograd graph: which tensors everything passes through, and what an output needs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

Edge = tuple[Node, int]


def cuts(root: Node, leaf: Tensor) -> dict[Node, int]:
    """Return the nodes that lie on every path from the root to the leaf, with their output number.

    A node is a cut when no edge jumps over it in topological order; found in linear time.
    """
    order = _postorder([root])
    live = _following(order, leaf)
    line = [node for node in reversed(order) if node in live]
    place = {node: index for index, node in enumerate(line)}

    opened = [0] * (len(line) + 1)  # edges that begin (+) or end (-) strictly around a place
    used: dict[Node, set[int]] = {root: {0}}
    for node in line:
        for child, number in node.next_functions:
            if child in live:
                used.setdefault(child, set()).add(number)
                opened[place[node] + 1] += 1
                opened[place[child]] -= 1
    found, jumping = {}, 0
    for index, node in enumerate(line):
        jumping += opened[index]
        if jumping == 0 and len(used[node]) == 1:
            found[node] = next(iter(used[node]))
    return found


def following(nodes: Iterable[Node], leaf: Tensor) -> set[Node]:
    """Return the nodes, of these and of all behind them, that have a path to the leaf."""
    return _following(_postorder(nodes), leaf)


def reached(
    outputs: Iterable[Tensor], stop: set[Edge], barrier: set[Edge], leaf: Tensor
) -> tuple[set[Edge], bool]:
    """Walk from the outputs; return which edges of `stop` were met, and whether the leaf was.

    The walk ends at `stop` and at `barrier`: what lies behind them is of no interest.
    """
    met, seen, leaf_met = set(), set(), False
    edges = [get_gradient_edge(tensor) for tensor in outputs if tensor.requires_grad]
    pending: list[Edge] = [(edge.node, edge.output_nr) for edge in edges]
    while pending:
        edge = pending.pop()
        if edge in barrier:
            continue
        if edge in stop:
            met.add(edge)
        elif edge[0] not in seen:
            seen.add(edge[0])
            leaf_met |= getattr(edge[0], "variable", None) is leaf
            pending.extend((n, i) for n, i in edge[0].next_functions if n is not None)
    return met, leaf_met


def _following(order: Iterable[Node], leaf: Tensor) -> set[Node]:
    live: set[Node] = set()
    for node in order:  # children come before their parents
        is_leaf = getattr(node, "variable", None) is leaf
        if is_leaf or any(child in live for child, _ in node.next_functions):
            live.add(node)
    return live


def _postorder(roots: Iterable[Node]) -> list[Node]:
    order: list[Node] = []
    seen: set[Node] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(root.next_functions))]
        while stack:
            node, children = stack[-1]
            for child, _ in children:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append((child, iter(child.next_functions)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order
