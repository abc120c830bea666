"""The graph as a Mermaid flowchart."""

from __future__ import annotations

from autoglm.cli.drawing.picture import Box, Picture, Scope

_CLASSES = {
    "succeeded": "fill:#d9f0e3,stroke:#00734a,color:#003d27",
    "running": "fill:#d6e8fa,stroke:#0060b0,color:#00315a",
    "retrying": "fill:#fdf0cc,stroke:#8a6100,color:#4a3400",
    "paused": "fill:#fdf0cc,stroke:#8a6100,color:#4a3400",
    "failed": "fill:#fbdcd2,stroke:#b03a00,color:#5e1f00,stroke-width:3px",
    "skipped": "fill:#eeeeee,stroke:#888888,color:#555555,stroke-dasharray:4 3",
    "cancelled": "fill:#eeeeee,stroke:#888888,color:#555555,stroke-dasharray:4 3",
    "rolled_back": "fill:#efe3f5,stroke:#75408f,color:#3c1f4a",
}
_AS_FAILED = {"timeout": "failed", "terminated": "failed"}


def draw_mermaid(picture: Picture) -> str:
    """Return a Mermaid ``flowchart``; groups are subgraphs, loops are marked, states become classes."""
    lines = ["---", f"title: {_yaml(picture.title)}", "---", "flowchart TD"]
    classes: dict[str, list[str]] = {}
    _draw(picture, picture.scope, "t", "  ", lines, classes)
    _draw(picture, picture.ends, "end", "  ", lines, classes)
    for status in sorted(classes):
        lines.append(f"  classDef {status} {_CLASSES[status]}")
        lines.append(f"  class {','.join(classes[status])} {status}")
    return "\n".join(lines) + "\n"


def _draw(
    picture: Picture, scope: Scope, prefix: str, indent: str, lines: list[str], classes: dict[str, list[str]]
) -> None:
    names = [f"{prefix}{number}" for number in range(len(scope.boxes))]
    for name, box in zip(names, scope.boxes, strict=True):
        if box.inside is not None:
            lines.append(f'{indent}subgraph {name}["{_label(box)}"]')
            _draw(picture, box.inside, f"{name}_", indent + "  ", lines, classes)
            lines.append(f"{indent}end")
        else:
            opening, closing = ("{", "}") if box.type == "decision" else ("(", ")")
            lines.append(f'{indent}{name}{opening}"{_label(box)}"{closing}')
        status = picture.states.get(box.path, "")
        status = _AS_FAILED.get(status, status)
        if status in _CLASSES:
            classes.setdefault(status, []).append(name)
    for arrow in scope.arrows:
        link = f'-- "{_escape(arrow.label)}" -->' if arrow.label else "-->"
        lines.append(f"{indent}{names[arrow.source]} {link} {names[arrow.target]}")


def _label(box: Box) -> str:
    loop = " ↻" if box.is_loop else ""
    condition = " ?" if box.has_condition else ""
    kind = "" if box.inside is not None else f"<br/><small>{_escape(box.type)}</small>"
    return f"{_escape(box.name)}{loop}{condition}{kind}"


def _escape(text: str) -> str:
    """Write what Mermaid or HTML would read as markup as Mermaid's entity codes."""
    return "".join(c if c.isalnum() or c in " _-.,:/" or ord(c) > 0xA0 else f"#{ord(c)};" for c in text)


def _yaml(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
