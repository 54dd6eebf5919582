"""Tiny random checkpoints of every kind of encoder, built here: real architectures, toy sizes, no download."""

from pathlib import Path

from support.tiny import SPECIALS, tokenizer, vision_model

MARKS = ["<image>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def bert(folder: Path, *, labels: int | None = None, seed: int = 0) -> Path:
    """A BERT of two layers; with ``labels`` it classifies pairs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    tok = tokenizer()
    tok.model_max_length = 256
    tok.chat_template = None
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tok), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, pad_token_id=tok.pad_token_id, initializer_range=0.5, num_labels=labels or 2,
    )  # fmt: skip
    (BertForSequenceClassification if labels else BertModel)(config).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def sentence_encoder(folder: Path, *, prompts: dict[str, str] | None = None) -> Path:
    """A text model of sentence-transformers: mean over a tiny BERT, with prompts where given."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    inner = Transformer(str(bert(folder.with_name(folder.name + "-bert"))))
    SentenceTransformer(modules=[inner, Pooling(32)], prompts=prompts, device="cpu").save_pretrained(str(folder))
    return folder


def colbert(folder: Path) -> Path:
    """A late-interaction text model: token vectors of a tiny BERT."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    torch.manual_seed(0)
    MultiVectorEncoder(str(bert(folder.with_name(folder.name + "-bert"))), device="cpu").save_pretrained(str(folder))
    return folder


def cross_encoder(folder: Path) -> Path:
    """A text cross-encoder over a tiny BERT."""
    return bert(folder, labels=1)


def vision_cross_encoder(folder: Path) -> Path:
    """A generative cross-encoder that sees pictures, as Qwen3-VL-Reranker is published: log-odds of one token against another."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    from mmr5.engines.encoders import _processors

    base = vision_model(folder.with_name(folder.name + "-base"))
    with _processors():
        inner = Transformer(str(base), transformer_task="any-to-any")
    made = CrossEncoder(modules=[inner, LogitScore(true_token_id=88, false_token_id=77)], device="cpu")
    made.save_pretrained(str(folder))
    return folder


def clip(folder: Path) -> Path:
    """A CLIP of two layers on each side."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tok = tokenizer()
    tok.model_max_length = 77
    tok.chat_template = None
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"eos_token_id": tok.eos_token_id, "bos_token_id": tok.eos_token_id, "pad_token_id": tok.pad_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**size, **ends, "vocab_size": len(tok), "max_position_embeddings": 77},
        vision_config={**size, "image_size": 56, "patch_size": 14},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    crop = {"height": 56, "width": 56}
    CLIPProcessor(CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=crop), tok).save_pretrained(folder)
    return folder


def llava_next(folder: Path) -> Path:
    """A LLaVA-NeXT of two layers, the architecture of E5-V."""
    import torch
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tok = tokenizer()
    tok.add_special_tokens({"additional_special_tokens": [*SPECIALS, *MARKS]})
    tok.chat_template = None
    grid = [[56, 112], [112, 56]]
    size = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    config = LlavaNextConfig(
        text_config={
            **size, "model_type": "llama", "vocab_size": len(tok), "max_position_embeddings": 4096, "bos_token_id": None,
            "eos_token_id": tok.eos_token_id, "pad_token_id": tok.pad_token_id,
        },
        vision_config={**size, "model_type": "clip_vision_model", "image_size": 56, "patch_size": 14},
        image_token_index=tok.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grid, vision_feature_layer=-2,
    )  # fmt: skip
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, image_grid_pinpoints=grid
    )
    LlavaNextProcessor(
        pictures, tok, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
    return folder


def colqwen2(folder: Path) -> Path:
    """A native ColQwen2 of two layers."""
    import torch
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, Qwen2VLConfig
    from transformers.models.colqwen2.processing_colqwen2 import ColQwen2Processor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tok = tokenizer()
    ids = {t: tok.convert_tokens_to_ids(t) for t in SPECIALS}
    torch.manual_seed(0)
    backbone = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tok), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 8192, "initializer_range": 0.3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
            "eos_token_id": tok.eos_token_id, "pad_token_id": tok.pad_token_id, "bos_token_id": None,
        },
        vision_config={
            "depth": 2, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "in_channels": 3, "initializer_range": 0.3,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    ColQwen2ForRetrieval(ColQwen2Config(vlm_config=backbone, embedding_dim=16)).save_pretrained(folder)
    ColQwen2Processor(Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 64), tok).save_pretrained(folder)
    return folder
