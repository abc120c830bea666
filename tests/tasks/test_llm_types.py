"""Classifying, extracting, embedding and judging: what is asked, what comes of it, and what is found before."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.errors import TaskError
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import ModelSpec, Task
from autoglm.tasks.chunks import cut
from autoglm.tasks.llm_classify import LlmClassifyTask
from autoglm.tasks.llm_embed import LlmEmbedTask
from autoglm.tasks.llm_extract import LlmExtractTask, merge
from autoglm.tasks.llm_judge import LlmJudgeTask

from ..llm.peer import completion, embeddings  # noqa: TID252  # the peer serves both folders
from .attempts import asked, failing, rehearsed

NOBODY = {"mine": ModelSpec(base_url="http://127.0.0.1:9")}
NAMES = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
    "required": ["names"],
}

LABELS = {"text": "lovely", "labels": ["good", "bad"]}
CASE = {"subject": "Paris", "rubric": "Is it right?", "question": "Capital of France?"}


def found(kind: type, options: dict[str, Any], **fields: Any) -> list[tuple[Any, str]]:
    task = Task(name="a", type=kind.info.name, options=options, **fields)
    problems = kind().check(task, Catalog(models=NOBODY))
    return [(each[0], each[1].code) if isinstance(each, tuple) else ((), each.code) for each in problems]


class TestClassify:
    def test_one_label_with_confidence(self):
        tokens = [('{"', 0.0), ("label", 0.0), ('":"', 0.0), ("go", math.log(0.5)), ("od", math.log(0.8)), ('"}', -9.0)]
        choice = {
            "message": {"content": '{"label":"good"}'},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": token, "logprob": each} for token, each in tokens]},
        }
        result, _, peer = asked(LlmClassifyTask, LABELS, lambda _: completion(choices=[choice]))
        assert result == {"label": "good", "confidence": 0.4}
        (sent,) = peer.requests
        assert sent["logprobs"] is True
        assert sent["messages"][-1]["content"] == "lovely"
        assert "- good\n- bad" in sent["messages"][0]["content"]
        assert '"enum": ["good", "bad"]' in sent["messages"][0]["content"]

    def test_without_log_probabilities_there_is_no_confidence(self):
        result, _, _ = asked(LlmClassifyTask, LABELS, lambda _: completion('{"label": "BAD"}'))
        assert result == {"label": "bad", "confidence": None}

    def test_a_server_that_refuses_log_probabilities_is_asked_without(self):
        calls: list[bool] = []

        def reply(body):
            calls.append("logprobs" in body)
            if calls[-1]:
                return {"error": {"code": "400", "message": "logprobs are not supported here"}}
            return completion('{"label": "bad"}')

        result, _, _ = asked(LlmClassifyTask, LABELS, reply)
        assert (result["label"], calls) == ("bad", [True, False])

    def test_any_number_of_labels_in_the_order_of_the_task(self):
        options = {**LABELS, "multi": True, "labels": {"good": "it pleases", "bad": None, "short": "few words"}}
        result, _, peer = asked(
            LlmClassifyTask, options, lambda _: completion('{"labels": ["short", "good", "short"]}')
        )
        assert result == {"labels": ["good", "short"]}
        assert "- good: it pleases\n- bad\n" in peer.requests[0]["messages"][0]["content"]
        assert "logprobs" not in peer.requests[0]

    def test_a_label_that_is_none_of_them_is_sent_back(self):
        answers = iter(['{"label": "fine"}', '{"label": "good"}'])
        result, work, _ = asked(LlmClassifyTask, LABELS, lambda _: completion(next(answers)))
        assert (result["label"], work.usage["corrections"]) == ("good", 1)

    @pytest.mark.parametrize("multi", [False, True])
    def test_a_rehearsal(self, multi):
        result, work = rehearsed(LlmClassifyTask, {**LABELS, "multi": multi})
        assert work.usage["offline"] is True
        assert set(result["labels"] if multi else [result["label"]]) <= {"good", "bad"}

    @pytest.mark.parametrize(
        ("labels", "multi"),
        [(["a"], False), ([], True), (["a", " A"], False), (["a", ""], False), (["x"] * 501, False)],
    )
    def test_sets_of_labels_that_leave_no_choice(self, labels, multi):
        options = {"text": "x", "labels": labels, "multi": multi}
        assert found(LlmClassifyTask, options) == [(("labels",), "label-set-invalid")]
        error = failing(LlmClassifyTask, options, models=NOBODY)
        assert (error.code, error.retryable) == ("llm-option-invalid", False)
        assert "usage" not in (error.details or {})

    def test_further_checks(self):
        assert found(LlmClassifyTask, LABELS) == []
        assert found(LlmClassifyTask, {**LABELS, "labels": ["{{ x }}"]}) == []
        assert found(LlmClassifyTask, {**LABELS, "text": " "}) == [(("text",), "prompt-empty")]
        assert found(LlmClassifyTask, LABELS, output_schema={}) == [(("output_schema",), "llm-option-invalid")]
        assert found(LlmClassifyTask, {**LABELS, "model": "olama/x"}) == [(("model",), "unknown-model")]


class TestExtract:
    def test_a_short_document_is_read_at_once(self):
        result, work, peer = asked(
            LlmExtractTask,
            {"document": "Ann met Bo."},
            lambda _: completion('{"names": ["Ann", "Bo"]}'),
            output_schema=NAMES,
        )
        assert (result, work.usage["calls"]) == ({"names": ["Ann", "Bo"]}, 1)
        assert peer.requests[0]["messages"][-1]["content"] == "Ann met Bo."

    def test_a_long_one_in_pieces_that_are_merged(self):
        document = "\n\n".join(f"{name} was there. {'x' * 150}" for name in ("Ann", "Bo", "Cy"))

        def reply(body):
            text = body["messages"][-1]["content"]
            return completion(json.dumps({"names": [name for name in ("Ann", "Bo", "Cy") if name in text]}))

        steps: dict[str, Any] = {}
        options = {"document": document, "chunk_size": 220, "chunk_overlap": 20}
        result, work, peer = asked(LlmExtractTask, options, reply, output_schema=NAMES, steps=steps)
        assert result == {"names": ["Ann", "Bo", "Cy"]}
        assert work.usage["calls"] == len(peer.requests) == len(steps) == 3
        assert sorted(key.partition("/")[0] for key in steps) == ["piece-1", "piece-2", "piece-3"]

    def test_a_piece_that_fails_does_not_cost_the_others_again(self):
        document = "one\n\n" + "x" * 190 + "\n\ntwo" + "y" * 150
        options = {"document": document, "chunk_size": 200, "chunk_overlap": 0, "chunks_at_once": 1, "corrections": 0}
        steps: dict[str, Any] = {}
        bad = {"done": False}

        def reply(body):
            if "two" in body["messages"][-1]["content"] and not bad["done"]:
                bad["done"] = True
                return completion("no")
            return completion('{"names": []}')

        with pytest.raises(TaskError):
            asked(LlmExtractTask, options, reply, output_schema=NAMES, steps=steps)
        _, work, peer = asked(LlmExtractTask, options, reply, output_schema=NAMES, steps=steps, number=2)
        assert work.usage["calls"] == len(peer.requests)
        assert all("two" in each["messages"][-1]["content"] for each in peer.requests[:1])
        assert len(peer.requests) < len(cut(document, 200))

    def test_what_no_piece_gives_is_missed_in_the_whole(self):
        options = {"document": "x " * 300, "chunk_size": 200, "chunk_overlap": 0}
        with pytest.raises(TaskError) as caught:
            asked(LlmExtractTask, options, lambda _: completion("{}"), output_schema=NAMES)
        assert caught.value.code == "schema-mismatch"
        assert "pieces" in caught.value.message

    def test_the_declared_context_sets_the_pieces(self):
        spec = {"context_tokens": 100}
        options = {"document": "word " * 200, "chunk_overlap": 0}
        _, work, _ = asked(LlmExtractTask, options, lambda _: completion('{"names": []}'), spec, output_schema=NAMES)
        assert work.usage["calls"] > 1

    @pytest.mark.parametrize(
        ("first", "second", "merged"),
        [
            ({"a": 1}, {"a": 2, "b": 3}, {"a": 1, "b": 3}),
            ({"a": None}, {"a": 2}, {"a": 2}),
            ({"a": ""}, {"a": "x"}, {"a": "x"}),
            ([1, 1, {"x": 1}], [{"x": 1}, 2, 2], [1, 1, {"x": 1}, 2, 2]),
            ({"a": {"b": [1]}}, {"a": {"b": [2], "c": 0}}, {"a": {"b": [1, 2], "c": 0}}),
            (0, 5, 0),
            (False, True, False),
        ],
    )
    def test_merging(self, first, second, merged):
        assert merge(first, second) == merged

    def test_a_rehearsal(self):
        result, work = rehearsed(
            LlmExtractTask, {"document": "Ann met Bo. " * 100, "chunk_size": 400}, output_schema=NAMES
        )
        assert (isinstance(result["names"], list), work.usage["offline"]) == (True, True)

    def test_checks(self):
        assert found(LlmExtractTask, {"document": "x"}, output_schema=NAMES) == []
        assert found(LlmExtractTask, {"document": "x"}) == [((), "missing-option")]
        assert found(LlmExtractTask, {"document": ""}, output_schema=NAMES) == [(("document",), "prompt-empty")]
        sizes = {"document": "x", "chunk_size": 300, "chunk_overlap": 200}
        assert found(LlmExtractTask, sizes, output_schema=NAMES) == [(("chunk_overlap",), "llm-option-invalid")]
        impossible = {"type": "object", "properties": {"n": {"minimum": 2, "maximum": 1}}}
        assert found(LlmExtractTask, {"document": "x"}, output_schema=impossible) == [
            (("output_schema", "properties", "n", "minimum"), "schema-impossible")
        ]
        assert failing(LlmExtractTask, {"document": " "}, output_schema=NAMES, models=NOBODY).code == "prompt-empty"


class TestPieces:
    @given(st.text("ab .\n。", max_size=400), st.integers(1, 60), st.integers(0, 59))
    def test_they_hold_every_character_and_are_no_longer_than_asked(self, text, size, overlap):
        overlap = min(overlap, (size - 1) // 2)
        pieces = cut(text, size, overlap)
        assert all(len(piece) <= size for piece in pieces)
        assert all(piece in text for piece in pieces)
        if overlap == 0:
            assert "".join(pieces) == text

    def test_they_end_where_the_text_pauses(self):
        assert cut("one two.\n\nthree four. five", 14) == ["one two.\n\n", "three four. ", "five"]


class TestEmbed:
    def test_many_texts_in_few_calls_in_their_order(self):
        steps: dict[str, Any] = {}
        options = {"texts": ["a", "bb", {"c": 1}], "batch_size": 2, "dimensions": 2}
        result, work, peer = asked(LlmEmbedTask, options, steps=steps)
        assert result == [[1.0, 1.0], [2.0, 1.0], [7.0, 1.0]]
        assert (work.usage["calls"], work.usage["input_tokens"]) == (2, 10)
        assert sorted(each["input"] for each in peer.requests) == [["a", "bb"], ['{"c":1}']]
        assert all(each["dimensions"] == 2 for each in peer.requests)
        assert list(steps) == ["vectors/batch-0", "vectors/batch-2"]
        again, spared, nobody = asked(LlmEmbedTask, options, steps=steps, number=2)
        assert (again, spared.usage, nobody.requests) == (result, {}, [])

    def test_a_single_text_gives_its_vector(self):
        assert asked(LlmEmbedTask, {"texts": "abc"})[0] == [3.0, 1.0]

    def test_a_wrong_answer(self):
        with pytest.raises(TaskError) as caught:
            asked(LlmEmbedTask, {"texts": ["a", "b"]}, embed=lambda body: embeddings(body["input"][:1]))
        assert caught.value.code == "bad-response"

    def test_a_rehearsal_gives_like_texts_like_vectors(self):
        (same, again, other), work = rehearsed(LlmEmbedTask, {"texts": ["red kites fly", "kites fly", "tax law"]})
        assert work.usage["offline"] is True
        assert len(same) == 64
        assert math.isclose(sum(each * each for each in same), 1.0)
        assert _dot(same, again) > _dot(same, other)

    def test_checks(self):
        assert found(LlmEmbedTask, {"texts": ["a"], "model": "mine"}) == []
        assert found(LlmEmbedTask, {"texts": ["a", " "], "model": "mine"}) == [(("texts", 1), "prompt-empty")]
        assert found(LlmEmbedTask, {"texts": "a"}) == []  # the file's only model
        nameless = LlmEmbedTask().check(Task(name="a", type="llm_embed", options={"texts": "a"}), Catalog())
        assert [each.code for each in nameless] == ["missing-option"]
        assert failing(LlmEmbedTask, {"texts": ["a", ""]}, models=NOBODY).code == "prompt-empty"


class TestJudge:
    def test_a_score_and_its_reason(self):
        result, _, peer = asked(LlmJudgeTask, CASE, lambda _: completion('{"reason": "It is.", "score": 5}'))
        assert result == {"score": 5, "reason": "It is."}
        system, user = (message["content"] for message in peer.requests[0]["messages"])
        assert "from 1 (worst) to 5 (best)" in system
        assert user == "Question:\nCapital of France?\n\nSubject:\nParis"

    def test_several_criteria_and_a_bar(self):
        answer = {"right": {"reason": "yes", "score": 10}, "short": {"reason": "so", "score": 5}}
        options = {**CASE, "rubric": {"right": "is it?", "short": "is it?"}, "scale": [0, 10], "pass_at": 8}
        result, _, _ = asked(LlmJudgeTask, options, lambda _: completion(json.dumps(answer)))
        assert result == {
            "score": 7.5,
            "reason": "right (10): yes\nshort (5): so",
            "criteria": {name: {"score": each["score"], "reason": each["reason"]} for name, each in answer.items()},
            "passed": False,
        }

    def test_a_score_beyond_the_scale_is_sent_back(self):
        answers = iter(['{"reason": "great", "score": 11}', '{"reason": "great", "score": "5"}'])
        result, work, _ = asked(LlmJudgeTask, CASE, lambda _: completion(next(answers)))
        assert (result["score"], work.usage["corrections"], work.usage["repairs"]) == (5, 1, 1)

    def test_a_rehearsal(self):
        result, _ = rehearsed(LlmJudgeTask, {**CASE, "pass_at": 1})
        assert 1 <= result["score"] <= 5
        assert result["passed"] is True

    def test_checks(self):
        assert found(LlmJudgeTask, CASE) == []
        assert found(LlmJudgeTask, {**CASE, "rubric": {}}) == [(("rubric",), "prompt-empty")]
        assert found(LlmJudgeTask, {**CASE, "scale": [5, 1]}) == [(("scale",), "llm-option-invalid")]
        assert found(LlmJudgeTask, {**CASE, "pass_at": 9}) == [(("pass_at",), "llm-option-invalid")]
        assert failing(LlmJudgeTask, {**CASE, "scale": [5, 1]}, models=NOBODY).code == "llm-option-invalid"


class TestContext:
    def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent(self):
        spec = ModelSpec(base_url="http://127.0.0.1:9", context_tokens=1000)
        error = failing(LlmJudgeTask, {**CASE, "subject": "word " * 5000}, models={"mine": spec})
        assert (error.code, error.retryable) == ("prompt-too-long", False)
        assert "usage" not in (error.details or {})

    def test_what_is_for_the_model_to_judge_gives_no_instructions(self):
        secret = "{{ secrets.KEY }} {% raw %}"
        result, _, peer = asked(
            LlmJudgeTask,
            {**CASE, "subject": secret},
            lambda _: completion(f'{{"reason": "{secret}", "score": 1}}'),
        )
        assert result["reason"] == secret
        assert secret in peer.requests[0]["messages"][1]["content"]


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
