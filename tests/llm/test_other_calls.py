"""Embeddings, files and batches over the wire."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.batches import batch_line, read_results
from autoglm.llm.chat import ChatRequest, encode_request, read_completion
from autoglm.llm.embeddings import EmbeddingRequest
from autoglm.llm.profiles import OPENAI, ZHIPU
from autoglm.llm.wire import Wire

from .peer import BatchPeer, embeddings, http, script, serve, serve_batches
from .test_wire import HELLO, endpoint


def embedded(reply=None, texts=("a", "bcd"), parameters=None):
    async def main():
        async with serve(embed=reply) as peer:
            wire = Wire()
            try:
                return await wire.embed(endpoint(peer.url), EmbeddingRequest(texts, parameters or {})), peer
            finally:
                await wire.close()

    return asyncio.run(main())


class TestEmbeddings:
    def test_vectors_in_the_order_of_the_texts(self):
        def shuffled(body):
            answer = embeddings(body["input"])
            answer["data"].reverse()
            return answer

        got, peer = embedded(shuffled, parameters={"dimensions": 2})
        assert got.vectors == [[1.0, 1.0], [3.0, 1.0]]
        assert (got.usage.input_tokens, got.model) == (5, "served-model")
        assert peer.requests == [{"model": "m", "input": ["a", "bcd"], "encoding_format": "float", "dimensions": 2}]

    def test_base64_will_do(self):
        packed = base64.b64encode(array("f", [1.0, 0.5]).tobytes()).decode()
        got, _ = embedded(lambda _: {"data": [{"embedding": packed, "index": 0}]}, texts=["a"])
        assert got.vectors == [[1.0, 0.5]]
        assert not got.usage.reported

    @pytest.mark.parametrize(
        ("answer", "what"),
        [
            ({"data": []}, "0 vectors for 2"),
            ({"data": [{"embedding": [1], "index": 0}, {"embedding": [1], "index": 0}]}, "vectors for 2"),
            ({"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}, "differ in length"),
            ({"data": [{"embedding": "@@"}, {"embedding": "@@"}]}, "base64"),
            ({"data": [{"embedding": ["x"]}]}, "form of embeddings"),
            ({"error": {"message": "no embeddings here"}}, "no embeddings here"),
        ],
    )
    def test_what_is_no_answer(self, answer, what):
        with pytest.raises(TaskError) as caught:
            embedded(lambda _: answer)
        assert caught.value.code == "bad-response"
        assert what in caught.value.message


class TestBatches:
    def test_from_lines_to_results(self, tmp_path):
        async def main():
            async with serve_batches() as peer:
                wire = Wire()
                where = endpoint(peer.url, profile=OPENAI)
                asked = tmp_path / "calls.jsonl"
                bodies = {f"c{at}": encode_request(where, _question(f"q{at}")) for at in range(3)}
                asked.write_bytes(b"".join(batch_line(where, name, body) for name, body in bodies.items()))
                uploaded = await wire.upload_file(where, asked)
                batch = await wire.create_batch(where, uploaded.id, {"run": "r1"})
                seen = [batch.status]
                while not batch.is_ended:
                    batch = await wire.get_batch(where, batch.id)
                    seen.append(batch.status)
                size = await wire.fetch_file(where, batch.output_file, tmp_path / "results.jsonl")
                with (tmp_path / "results.jsonl").open("rb") as lines:
                    results = {
                        each.custom_id: read_completion(where, each.answer) for each in read_results(where, lines)
                    }
                await wire.delete_file(where, uploaded.id)
                await wire.delete_file(where, uploaded.id)
                await wire.close()
                return peer, batch, seen, size, results

        peer, batch, seen, size, results = asyncio.run(main())
        assert seen == ["validating", "in_progress", "completed"]
        assert (batch.total, batch.completed, batch.failed) == (3, 3, 0)
        assert {name: each.text for name, each in results.items()} == {f"c{at}": f"answer to q{at}" for at in range(3)}
        assert size == len(peer.files[batch.output_file])
        sent = peer.batches[batch.id]
        assert (sent["endpoint"], sent["completion_window"]) == ("/v1/chat/completions", "24h")
        assert sent["metadata"] == {"run": "r1"}
        assert peer.deleted == ["file-0", "file-0"]

    def test_zhipu_names_its_own_path(self):
        line = json.loads(batch_line(endpoint("http://x", profile=ZHIPU), "c1", b'{"model":"m"}'))
        assert (line["url"], line["method"], line["body"]) == ("/v4/chat/completions", "POST", {"model": "m"})

    def test_cancelling(self):
        async def main():
            async with serve_batches(BatchPeer(steps=("in_progress",))) as peer:
                wire = Wire()
                batch = await wire.create_batch(endpoint(peer.url), "file-9")
                batch = await wire.cancel_batch(endpoint(peer.url), batch.id)
                await wire.close()
                return batch

        assert asyncio.run(main()).is_ended

    def test_results_that_failed_or_cannot_be_read(self):
        where = endpoint("http://x")
        lines = [
            b'{"custom_id": "a", "response": {"status_code": 429, "body": {"error": {"message": "slow"}}}}\n',
            b"\n",
            b'{"custom_id": "b", "error": {"code": "batch_expired", "message": "too late"}}\n',
        ]
        found = {}
        for each in read_results(where, lines):
            with pytest.raises(TaskError) as caught:
                read_completion(where, each.answer)
            found[each.custom_id] = (caught.value.code, caught.value.retryable)
        assert found == {"a": ("model-rate-limited", True), "b": ("model-server-error", True)}
        with pytest.raises(TaskError) as caught:
            list(read_results(where, [b'{"custom_id": ']))
        assert caught.value.code == "bad-response"

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (http(401, {"error": {"message": "no"}}), "model-unauthorized"),
            (http(200, {"error": {"message": "no"}}), "bad-response"),
            (http(200, {}), "bad-response"),
        ],
    )
    def test_what_is_no_batch(self, answer, code):
        async def main():
            async with script(answer) as peer:
                wire = Wire()
                with pytest.raises(TaskError) as caught:
                    await wire.create_batch(endpoint(peer.url), "f")
                await wire.close()
                return caught.value.code

        assert asyncio.run(main()) == code

    def test_a_file_that_is_gone(self, tmp_path):
        async def main():
            async with serve_batches() as peer:
                wire = Wire()
                with pytest.raises(TaskError) as caught:
                    await wire.fetch_file(endpoint(peer.url), "file-7", tmp_path / "x")
                await wire.close()
                return caught.value.code

        assert asyncio.run(main()) == "model-not-found"


def _question(text: str) -> ChatRequest:
    return ChatRequest([{**HELLO.messages[0], "content": text}])
