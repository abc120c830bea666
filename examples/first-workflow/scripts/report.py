"""Write what was found as Markdown. Reads its input from $AUTOGLM_INPUT and answers in $AUTOGLM_OUTPUT."""

from __future__ import annotations

import json
import os
from pathlib import Path

given = json.loads(Path(os.environ["AUTOGLM_INPUT"]).read_text(encoding="utf-8"))
sections = [section for section in given["sections"] if section]  # a section that failed left nothing
questions = sum(len(section["questions"]) for section in sections)
refused = sum(len(section["refused"]) for section in sections)

lines = [
    f"# {given['title']}",
    "",
    f"{questions} questions for {len(sections)} sections; {refused} more were refused. Written by {given['author']}.",
]
for section in sections:
    lines += ["", f"## {section['title']} ({section['words']} words)", ""]
    lines += [f"- {question}" for question in section["questions"]]
    lines += [f"- ~~{each['question']}~~ ({each['why']})" for each in section["refused"]]

target = Path(os.environ["AUTOGLM_ROOT"]) / "out" / "report.md"
target.parent.mkdir(exist_ok=True)
draft = target.with_suffix(".tmp")
draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
draft.replace(target)  # whoever reads the report finds the old one or the new one, never half of it

answer = {"file": "out/report.md", "sections": len(sections), "questions": questions, "refused": refused}
Path(os.environ["AUTOGLM_OUTPUT"]).write_text(json.dumps(answer), encoding="utf-8")
