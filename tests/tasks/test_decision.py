"""Decisions that a trained or a language model makes, end to end: files opened for real, models rehearsed offline."""

from __future__ import annotations

import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from autoglm.app.report import RunReport
from autoglm.app.session import Session
from autoglm.base.errors import TaskError
from autoglm.engine.codec import decode_record
from autoglm.tasks.classifiers import Classifiers

ROWS = [[1.0, 10.0], [2.0, 20.0], [8.0, 80.0], [9.0, 90.0]]
CLASSES = ["low", "low", "high", "high"]
FLOW = """
inputs: {{n: {{type: number}}}}
tasks:
  - name: risk
    model: {file}
    features: {features}
    conditions:
      - {{rule: prediction == 'high' and probability > 0.6, action: review}}
    default: accept
  - {{name: review, handler: note}}
  - {{name: accept, handler: note}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "note.py").write_text("def note(): return 1\n")
    return tmp_path


def trained(**fields: Any) -> Any:
    linear = pytest.importorskip("sklearn.linear_model")
    return linear.LogisticRegression(max_iter=1000, **fields).fit(ROWS, CLASSES)


def save_skops(model: Any, path: Path) -> None:
    pytest.importorskip("skops.io").dump(model, path)


def save_onnx(model: Any, path: Path, **options: Any) -> None:
    convert = pytest.importorskip("skl2onnx").to_onnx
    numpy = pytest.importorskip("numpy")
    path.write_bytes(convert(model, numpy.array(ROWS, dtype="float32")[:1], **options).SerializeToString())


def run(project: Path, flow: str, *, offline: bool = False, **inputs: Any) -> RunReport:
    file = project / "flow.yaml"
    file.write_text(flow)
    with Session.open(file) as session:
        done = asyncio.run(session.run(session.load(file), inputs, offline=offline))
        for stored in session.store.read(done.run_id):
            decode_record(stored.payload)
        return done


@pytest.mark.parametrize("features", ['["{{ n }}", "{{ n * 10 }}"]', '{b: "{{ n * 10 }}", a: "{{ n }}"}'])
@pytest.mark.parametrize(("n", "branch"), [(1.5, "accept"), (8.5, "review")])
def test_a_scikit_learn_model_decides(project: Path, features: str, n: float, branch: str) -> None:
    model = trained()
    if "a:" in features:
        model.feature_names_in_ = pytest.importorskip("numpy").array(["a", "b"], dtype=object)
    save_skops(model, project / "risk.skops")
    done = run(project, FLOW.format(file="risk.skops", features=features), n=n)
    result = done.tasks["risk"].result
    assert result["branches"] == [branch]
    assert result["prediction"] == ("high" if branch == "review" else "low")
    assert result["probability"] == result["probabilities"][result["prediction"]]
    assert result["operands"]["prediction"] == result["prediction"]
    assert sum(result["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("options", [{}, {"options": {"zipmap": False}}])
def test_an_onnx_model_decides(project: Path, options: dict[str, Any]) -> None:
    save_onnx(trained(), project / "risk.onnx", **options)
    done = run(project, FLOW.format(file="risk.onnx", features='["{{ n }}", "{{ n * 10 }}"]'), n=8.5)
    result = done.tasks["risk"].result
    assert result["prediction"] == "high"
    assert result["branches"] == ["review"]
    name = "0" if options else "high"  # classes are numbered in the order of their names
    assert result["probability"] == pytest.approx(result["probabilities"][name])


def test_a_model_that_was_trained_anew_is_opened_anew(tmp_path: Path) -> None:
    models = Classifiers()
    path = tmp_path / "m.skops"
    save_skops(trained(), path)
    first = models.get(path, "m.skops")
    assert models.get(path, "m.skops") is first
    linear = pytest.importorskip("sklearn.linear_model")
    save_skops(linear.LinearRegression().fit(ROWS, [1, 2, 8, 9]), path)
    said = models.get(path, "m.skops").predict([5.0, 50.0])
    assert said["prediction"] == pytest.approx(5)
    assert said["probability"] is None


class Foreign:
    """A type that skops does not know."""


def test_types_that_skops_does_not_know_are_not_opened_unless_they_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    model = trained()
    model.extra = Foreign()
    save_skops(model, path)
    with pytest.raises(TaskError, match="not trusted") as caught:
        Classifiers().get(path, "m.skops")
    assert caught.value.code == "model-file-untrusted"
    name = f"{Foreign.__module__}.Foreign"
    assert Classifiers().get(path, "m.skops", (name,)).predict([1.0, 2.0])["prediction"] == "low"


@pytest.mark.parametrize("name", ["m.skops", "m.onnx"])
def test_a_pickle_under_another_name_is_not_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": 1}))
    pytest.importorskip("skops.io" if name == "m.skops" else "onnxruntime")
    with pytest.raises(TaskError) as caught:
        Classifiers().get(path, name)
    assert caught.value.code == "model-file-unreadable"


@pytest.mark.parametrize("features", [[1.0], [1.0, 2.0, 3.0], {"a": 1.0, "c": 2.0}, ["x", "y"]])
def test_features_that_do_not_fit_are_told_of(tmp_path: Path, features: Any) -> None:
    model = trained()
    if isinstance(features, dict):
        model.feature_names_in_ = pytest.importorskip("numpy").array(["a", "b"], dtype=object)
    save_skops(model, tmp_path / "m.skops")
    with pytest.raises(TaskError) as caught:
        Classifiers().get(tmp_path / "m.skops", "m.skops").predict(features)
    assert caught.value.code == "features-invalid"


LLM = """
inputs: {{mail: {{default: my parcel is late}}}}
tasks:
  - name: triage
    llm: AutoGLM-Chat
    prompt_template: "What is this about? {{{{ mail }}}}"
    branches: {{delivery: parcels, complaint: people}}
    {more}
  - {{name: parcels, handler: note}}
  - {{name: people, handler: note}}
"""


def test_a_language_model_decides_and_is_rehearsed_offline(project: Path) -> None:
    done = run(project, LLM.format(more=""), offline=True)
    result = done.tasks["triage"].result
    assert result["label"] in ("delivery", "complaint")
    assert result["branches"] == [{"delivery": "parcels", "complaint": "people"}[result["label"]]]
    assert len(result["not_taken"]) == 1
    assert 0 <= result["confidence"] <= 1
    taken = {name for name in ("parcels", "people") if done.tasks[name].status == "succeeded"}
    assert taken == set(result["branches"])
    assert done.usage["offline"] is True


def test_below_the_floor_the_fallback_follows(project: Path) -> None:
    done = run(project, LLM.format(more="min_confidence: 1.0\n    fallback: people"), offline=True)
    assert json.dumps(done.tasks["triage"].result["rules"]).startswith('["confidence < 1')
    assert done.tasks["people"].status == "succeeded"
