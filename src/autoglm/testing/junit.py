"""Results as JUnit XML, which continuous integration shows: a test suite for each file, a test case for each case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from autoglm.testing.suite import Played

_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def junit_xml(files: Sequence[Played], python: str | None = None) -> str:
    """Return the document; ``python`` is the one that pytest wrote, whose suites are taken over."""
    root = ET.Element("testsuites", name="autoglm")
    for played in files:
        root.append(_suite(played))
    if python is not None:
        root.extend(_suites_of(python))
    suites = list(root)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def counts_of(python: str) -> tuple[int, int, int]:
    """Return how many tests of pytest's document passed, failed and were skipped."""
    total = failed = skipped = 0
    for suite in _suites_of(python):
        total += int(suite.get("tests", "0"))
        failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped += int(suite.get("skipped", "0"))
    return total - failed - skipped, failed, skipped


def _suites_of(python: str) -> list[ET.Element]:
    root = ET.fromstring(python)  # noqa: S314  # it was written by the pytest that we started
    return [root] if root.tag == "testsuite" else list(root)


def _suite(played: Played) -> ET.Element:
    results, file = played.results, played.suite.file.file
    suite = ET.Element("testsuite", name=_text(file))
    suite.set("tests", str(len(results)))
    suite.set("failures", str(sum(not result.passed for result in results)))
    suite.set("errors", "0")
    suite.set("skipped", "0")
    suite.set("time", f"{sum(result.seconds for result in results):.3f}")
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=_text(file), name=_text(result.case.name), file=_text(file))
        case.set("time", f"{result.seconds:.3f}")
        case.set("line", str(played.suite.document.line_of(result.case.path)))
        found = played.diagnostics(result)
        if found:
            failure = ET.SubElement(case, "failure", type="test-failed", message=_text(found[0][0].message))
            failure.text = _text("\n\n".join("\n".join([str(problem), *details]) for problem, details in found))
    return suite


def _text(text: str) -> str:
    return _UNWRITABLE.sub("�", text)
