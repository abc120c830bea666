"""Serve a tiny Llama with random weights: llama.cpp's own server, in the environment that model_server.py makes.

Run as ``python serve_model.py FOLDER``. The model is made on the spot with the ``gguf`` package: two layers of 64
dimensions and a vocabulary of bytes and printable ASCII. Prints two addresses, one that chats and one that embeds, and
serves until its standard input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 4096
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def make_model(path: Path) -> None:
    """Write a model whose weights are random, the same ones each time."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    for code in range(32, 127):
        tokens.append(chr(code).replace(" ", "\u2581").encode())
        kinds.append(gguf.TokenType.NORMAL)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(at) for at in range(95)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    chance = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (chance.standard_normal(shape) * 0.05).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    weights("token_embd", len(tokens), WIDTH)
    weights("output", len(tokens), WIDTH)
    ones("output_norm")
    for layer in range(LAYERS):
        ones(f"blk.{layer}.attn_norm")
        ones(f"blk.{layer}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"blk.{layer}.{part}", WIDTH, WIDTH)
        weights(f"blk.{layer}.ffn_gate", INNER, WIDTH)
        weights(f"blk.{layer}.ffn_up", INNER, WIDTH)
        weights(f"blk.{layer}.ffn_down", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(model: Path, *, embeds: bool) -> xllamacpp.Server:
    """Start a server on a free port."""
    how = xllamacpp.CommonParams()
    how.model.path = str(model)
    how.hostnames = ["127.0.0.1"]
    how.port = 0
    how.n_ctx = CONTEXT
    how.n_parallel = 2
    how.warmup = False
    how.cpuparams.n_threads = 1
    how.cpuparams_batch.n_threads = 1
    how.embedding = embeds
    if embeds:
        how.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(how)


def main(folder: Path) -> None:
    """Make the model, serve it twice, and wait for the end of the input."""
    path = folder / "tiny.gguf"
    make_model(path)
    servers = [serve(path, embeds=False), serve(path, embeds=True)]
    print("READY", *(server.listening_address for server in servers), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
