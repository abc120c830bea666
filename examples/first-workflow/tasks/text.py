"""What the workflow calls: plain functions. Each is a task of its own name, and a test can call it as it is."""

from __future__ import annotations

import re
from typing import Any

HEADING = re.compile(r"^(Preamble|Article [IVX]+|Amendment [IVX]+|Section \d+)$")
PASSED = re.compile(r"^Passed by Congress\b.*$")


def clean(text: str) -> list[str]:
    """Return the text as paragraphs, each on one line; headings stand alone."""
    paragraphs: list[str] = []
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        line = re.sub(r"\s+", " ", line).strip()
        is_heading = bool(HEADING.match(line) or PASSED.match(line))
        if lines and (is_heading or not line):
            paragraphs.append(" ".join(lines))
            lines = []
        if is_heading:
            paragraphs.append(line)
        elif line:
            lines.append(line)
    return paragraphs


def split(paragraphs: list[str], only: str = "") -> list[dict[str, Any]]:
    """Return the sections as ``{title, text}``: of each article its sections, each amendment as a whole."""
    sections: list[dict[str, Any]] = []
    above = title = ""
    for paragraph in paragraphs:
        if HEADING.match(paragraph):
            if not paragraph.startswith("Section"):
                above = title = paragraph
            elif above.startswith("Article"):
                title = f"{above}, {paragraph}"
        elif title and not PASSED.match(paragraph):
            if not sections or sections[-1]["title"] != title:
                sections.append({"title": title, "text": ""})
            sections[-1]["text"] = f"{sections[-1]['text']}\n\n{paragraph}".strip()
    return [section for section in sections if section["title"].startswith(only)]


def check(section: dict[str, Any], questions: list[str]) -> dict[str, Any]:
    """Return the section's title, the questions that are good, and the others each with what is wrong with it."""
    good: list[str] = []
    refused: list[dict[str, str]] = []
    words = _words(section["text"]) | _words(section["title"])
    for question in questions:
        why = _what_is_wrong(question, good, words)
        if why:
            refused.append({"question": question, "why": why})
        else:
            good.append(question)
    return {"title": section["title"], "words": len(section["text"].split()), "questions": good, "refused": refused}


def _what_is_wrong(question: str, good: list[str], words: set[str]) -> str:
    if not question.rstrip().endswith("?"):
        return "it is no question"
    if question.casefold() in (other.casefold() for other in good):
        return "it was asked already"
    return "" if _words(question) & words else "it has no word in common with the section"


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.casefold()))
