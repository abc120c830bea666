"""Drawings of a graph: exact where they are read by people, valid and deterministic always."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from textwrap import dedent

from hypothesis import given, settings, strategies

from autoglm.cli.drawing.layout import layer_of_each, spread
from autoglm.cli.drawing.mermaid import draw_mermaid
from autoglm.cli.drawing.picture import SECTION, Arrow, Box, Picture, Scope, picture_of
from autoglm.cli.drawing.svg import draw_svg
from autoglm.cli.drawing.text import draw_text
from autoglm.cli.measure import width_of
from autoglm.graph.compile import compile_graph
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Task, Workflow

SVG = "{http://www.w3.org/2000/svg}"


def scope(dependencies: Mapping[str, Sequence[str]], prefix: str = "", loops: Sequence[str] = ()) -> Scope:
    names = list(dependencies)
    boxes = tuple(Box(f"{prefix}{name}", name, "script", is_loop=name in loops) for name in names)
    arrows = tuple(Arrow(names.index(up), names.index(name)) for name in names for up in dependencies[name])
    return Scope(boxes, arrows)


FLOW = {
    "fetch": [],
    "clean": ["fetch"],
    "count": ["fetch"],
    "questions": ["clean"],
    "report": ["questions", "count"],
}


def ended() -> Picture:
    tasks = {"on_error": {"tell": []}, "finally": {"tidy": [], "close": ["tidy"]}}
    boxes = tuple(Box(name, f"{name}: at the end", SECTION, inside=scope(each, f"{name}."))
                  for name, each in tasks.items())  # fmt: skip
    return Picture("flow", scope({"work": []}), {"finally.tidy": "succeeded"}, Scope(boxes, (Arrow(0, 1),)))


def test_what_runs_at_the_end_is_drawn_apart():
    assert draw_text(ended()) == dedent(
        """\
        flow

        ┌───────┐
        │ work  │
        └───────┘

        on_error: at the end:

        ┌───────┐
        │ tell  │
        └───────┘

        finally: at the end:

        ┌─────────┐
        │ ✓ tidy  │
        └────┬────┘
             │
             ▼
         ┌───────┐
         │ close │
         └───────┘
        """
    )
    assert draw_mermaid(ended()) == dedent(
        """\
        ---
        title: "flow"
        ---
        flowchart TD
          t0("work<br/><small>script</small>")
          subgraph end0["on_error: at the end"]
            end0_0("tell<br/><small>script</small>")
          end
          subgraph end1["finally: at the end"]
            end1_0("tidy<br/><small>script</small>")
            end1_1("close<br/><small>script</small>")
            end1_0 --> end1_1
          end
          end0 --> end1
          classDef succeeded fill:#d9f0e3,stroke:#00734a,color:#003d27
          class end1_0 succeeded
        """
    )
    drawn = ElementTree.fromstring(draw_svg(ended()))
    titles = [each.text for each in drawn.iter(f"{SVG}title")]
    assert titles == ["work (script)", "on_error (section)", "on_error.tell (script)", "finally (section)",
                      "finally.tidy (script), succeeded", "finally.close (script)"]  # fmt: skip


def test_the_picture_of_a_graph_has_its_ends():
    graph = compile_graph(
        Workflow(name="flow", tasks=(work("a"),), on_error=(work("tell"),), finally_=(work("tidy"),)), Catalog()
    )
    found = picture_of(graph)
    assert [box.name for box in found.ends.boxes] == ["on_error: if the run has failed", "finally: at the run's end"]
    assert [inner.path for box in found.ends.boxes for inner in box.inside.boxes] == ["on_error.tell", "finally.tidy"]


def work(name: str) -> Task:
    return Task(name=name, type="function")


def test_text():
    drawn = draw_text(Picture("flow", scope(FLOW, loops=["clean"]), {"fetch": "succeeded", "count": "failed"}))
    assert drawn == dedent(
        """\
        flow

               ┌─────────┐
               │ ✓ fetch │
               └────┬────┘
             ┌──────┴─────┐
             ▼            ▼
        ┌─────────┐  ┌─────────┐
        │ clean ↻ │  │ ✗ count │
        └────┬────┘  └────┬────┘
             └─┐        ┌─┘
               ▼        │
         ┌───────────┐  │
         │ questions │  │
         └─────┬─────┘  │
               └────┬───┘
                    ▼
               ┌─────────┐
               │ report  │
               └─────────┘
        """
    )


def test_text_in_ascii():
    drawn = draw_text(Picture("flow", scope({"a": [], "b": ["a"], "c": ["a"]})), ascii_only=True)
    assert drawn == dedent(
        """\
        flow

            +---+
            | a |
            +-+-+
          +---+--+
          v      v
        +---+  +---+
        | b |  | c |
        +---+  +---+
        """
    )


def test_lines_that_only_cross_are_told_from_lines_that_meet():
    drawn = draw_text(Picture("x", scope({"a": [], "b": [], "c": ["b"], "d": ["a", "b"], "e": ["a"]})))
    assert drawn == dedent(
        """\
        x

            ┌───┐  ┌───┐
            │ a │  │ b │
            └─┬─┘  └─┬─┘
          ┌───┴──┐   │
          │      ├───┴──┐
          ▼      ▼      ▼
        ┌───┐  ┌───┐  ┌───┐
        │ e │  │ d │  │ c │
        └───┘  └───┘  └───┘
        """
    )


def test_groups_are_drawn_below_under_their_path():
    inside = scope({"extract": [], "check": ["extract"]}, prefix="process.")
    picture = Picture("flow", Scope((Box("process", "process", "group", is_loop=True, inside=inside),)))
    drawn = draw_text(picture)
    assert "process ↻ [2 tasks]" in drawn
    assert "process (for each item):" in drawn
    assert drawn.index("process (for each item):") < drawn.index("extract")


def test_what_is_too_large_becomes_a_list_by_level():
    many = {f"t{n}": ([] if n == 0 else ["t0"]) for n in range(50)}
    drawn = draw_text(Picture("wide", scope(many)))
    assert "level 1: 1 task\n  t0\nlevel 2: 49 tasks\n  t1 ← t0\n" in drawn


def test_what_is_too_wide_becomes_a_list_by_level():
    drawn = draw_text(Picture("wide", scope({f"task{n}": [] for n in range(8)})), width=40)
    assert "level 1: 8 tasks" in drawn


def test_mermaid():
    inside = scope({"x": []}, prefix="g.")
    boxes = (Box("a", 'say "hi" <b>', "script"), Box("g", "g", "group", is_loop=True, inside=inside))
    picture = Picture("my: flow", Scope(boxes, (Arrow(0, 1, "failed"),)), {"a": "timeout"})
    assert draw_mermaid(picture) == dedent(
        """\
        ---
        title: "my: flow"
        ---
        flowchart TD
          t0("say #34;hi#34; #60;b#62;<br/><small>script</small>")
          subgraph t1["g ↻"]
            t1_0("x<br/><small>script</small>")
          end
          t0 -- "failed" --> t1
          classDef failed fill:#fbdcd2,stroke:#b03a00,color:#5e1f00,stroke-width:3px
          class t0 failed
        """
    )


def test_svg_is_xml_with_a_box_a_task_and_an_arrow_a_dependency():
    inside = scope({"x": [], "y": ["x"]}, prefix="g.")
    boxes = (Box("a<&", "a<&\x00]]>", "script"), Box("g", "g", "group", inside=inside), Box("z", "z", "llm_generate"))
    picture = Picture("t & t", Scope(boxes, (Arrow(0, 1), Arrow(1, 2, "failed"))), {"a<&": "running"})
    drawn = draw_svg(picture)
    root = ElementTree.fromstring(drawn)
    assert len(root.findall(f"{SVG}g")) == 5
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "edge"]) == 3
    assert [rect.get("class") for rect in root.iter(f"{SVG}rect")].count("box running") == 1
    assert "prefers-color-scheme: dark" in drawn
    assert draw_svg(picture) == drawn


def test_an_empty_workflow_is_drawn_too():
    empty = Picture("empty", Scope())
    assert "(no tasks)" in draw_text(empty)
    assert "flowchart" in draw_mermaid(empty)
    ElementTree.fromstring(draw_svg(empty))


@strategies.composite
def graphs(draw: strategies.DrawFn) -> Scope:
    count = draw(strategies.integers(1, 45))
    names = [draw(strategies.text(min_size=1, max_size=12)) for _ in range(count)]
    pairs = draw(strategies.lists(strategies.tuples(*[strategies.integers(0, count - 1)] * 2), max_size=60))
    arrows = {(min(a, b), max(a, b)) for a, b in pairs if a != b}
    boxes = tuple(Box(f"{n}", name, "script") for n, name in enumerate(names))
    return Scope(boxes, tuple(Arrow(a, b) for a, b in sorted(arrows)))


@settings(deadline=None, max_examples=60)
@given(graphs(), strategies.integers(30, 160))
def test_every_graph_can_be_drawn(drawn: Scope, width: int):
    picture = Picture("any", drawn)
    for line in draw_text(picture, width).split("\n"):
        assert width_of(line) <= width
    ElementTree.fromstring(draw_svg(picture))
    draw_mermaid(picture)


@given(
    strategies.lists(strategies.tuples(strategies.floats(-1e3, 1e3), strategies.floats(1, 50)), min_size=1, max_size=20)
)
def test_spreading_keeps_the_order_and_the_distance(wanted: list[tuple[float, float]]):
    wishes, sizes = [wish for wish, _ in wanted], [size for _, size in wanted]
    centres = spread(wishes, sizes, 2.0)
    for n in range(1, len(centres)):
        assert centres[n] - centres[n - 1] >= (sizes[n] + sizes[n - 1]) / 2 + 2.0 - 1e-6


def test_layers_are_longest_paths():
    assert layer_of_each(4, [(0, 1), (1, 2), (0, 2), (0, 3)]) == [0, 1, 2, 1]
