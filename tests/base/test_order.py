"""Order in a scope: held against the plain definitions, on random graphs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.order import levels, ranks, topological


@st.composite
def graphs(draw: st.DrawFn, acyclic: bool = True) -> list[list[int]]:
    size = draw(st.integers(0, 8))
    nodes = st.integers(0, max(size - 1, 0))
    found = [draw(st.lists(nodes, unique=True, max_size=3)) for _ in range(size)]
    if acyclic:
        place = draw(st.permutations(range(size)))
        found = [[up for up in ups if place[up] < place[node]] for node, ups in enumerate(found)]
    return found


def paths_below(upstreams: list[list[int]], node: int) -> list[list[int]]:
    """Return every path from ``node`` to an end, by walking."""
    below = [other for other, ups in enumerate(upstreams) if node in ups]
    return [[node, *path] for other in below for path in paths_below(upstreams, other)] or [[node]]


@given(graphs())
def test_each_stands_after_its_upstreams(upstreams: list[list[int]]) -> None:
    order = topological(upstreams)
    assert sorted(order) == list(range(len(upstreams)))
    place = {node: index for index, node in enumerate(order)}
    assert all(place[up] < place[node] for node, ups in enumerate(upstreams) for up in ups)


@given(graphs(acyclic=False))
def test_what_lies_on_a_cycle_or_below_one_is_left_out(upstreams: list[list[int]]) -> None:
    def above(node: int) -> set[int]:
        seen: set[int] = set()
        stack = [node]
        while stack:
            for up in upstreams[stack.pop()]:
                if up not in seen:
                    seen.add(up)
                    stack.append(up)
        return seen

    is_free = {node for node in range(len(upstreams)) if not any(up in above(up) for up in above(node) | {node})}
    assert set(topological(upstreams)) == is_free


@given(graphs(), st.data())
def test_ranks_are_the_heaviest_paths_below(upstreams: list[list[int]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(upstreams), max_size=len(upstreams)))
    expected = [
        max(sum(weights[n] for n in path) for path in paths_below(upstreams, node)) for node in range(len(weights))
    ]
    assert ranks(upstreams, weights) == expected


@given(graphs())
def test_levels_are_one_more_than_the_deepest_upstream(upstreams: list[list[int]]) -> None:
    found = levels(upstreams)
    assert all(level == max((found[up] + 1 for up in upstreams[node]), default=0) for node, level in enumerate(found))


def test_file_order_is_kept_where_it_is_free() -> None:
    assert topological([[], [], [1], [0]]) == [0, 1, 2, 3] or topological([[], [], [1], [0]]) == [0, 1, 3, 2]
    assert topological([[2], [], []]) == [1, 2, 0]


def test_a_long_chain_is_no_recursion() -> None:
    chain: list[list[int]] = [[], *([node] for node in range(20_000))]
    assert ranks(chain, [1] * len(chain))[0] == len(chain)
