"""FILE ROUNDS: parse, check and compile FILE, and beside it let the bare parser of its format read it."""

import gc
import json
import sys
import time
from pathlib import Path

import yaml

from autoglm.app.loading import check_document, read_source
from autoglm.app.session import Session
from autoglm.graph.compile import compile_graph
from autoglm.spec.document import read_document
from bench.programs.engine import Timed, answer

file, rounds = Path(sys.argv[1]), int(sys.argv[2])
text = file.read_text()
seconds, bare_seconds = [], []
for _ in range(rounds):
    gc.collect()  # what the round before left behind is no part of this one: a process loads one file
    seconds.append(Timed(file).load_seconds)
    gc.collect()
    begin = time.perf_counter()
    if file.suffix == ".json":
        json.loads(text)
    else:
        yaml.load(text, Loader=yaml.CSafeLoader)
    bare_seconds.append(time.perf_counter() - begin)

steps: dict[str, list[float]] = {"read": [], "check": [], "compile": []}
with Session.open(file) as session:
    catalog, root = session.catalog, session.project.root
for _ in range(rounds):
    gc.collect()
    marks = [time.perf_counter()]
    document = read_document(read_source(file), str(file))
    marks.append(time.perf_counter())
    workflow, diagnostics = check_document(document, catalog, root)
    marks.append(time.perf_counter())
    assert workflow is not None
    assert not any(found.is_error for found in diagnostics), diagnostics[:3]
    compile_graph(workflow, catalog)
    marks.append(time.perf_counter())
    for name, begin, end in zip(steps, marks, marks[1:], strict=False):
        steps[name].append(end - begin)
answer(seconds=seconds, bare_seconds=bare_seconds, steps=steps)
