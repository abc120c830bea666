"""Drawings of a workflow's graph: text, Mermaid and SVG, all from one :class:`~autoglm.cli.drawing.picture.Picture`."""
