"""The workflow file: model, parser with positions, expressions, checks, JSON Schema. Pure: text in, data out."""
