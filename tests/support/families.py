"""Tiny random checkpoints of eight vision-language families: real architectures, processors and styles of template, toy sizes."""

from pathlib import Path

from support.tiny import SPECIALS, TEMPLATE

IDEFICS = (
    "{start}{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""Idefics3 opens with its beginning-of-sequence token, SmolVLM with ``<|im_start|>``; neither writes the assistant's blank."""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'][0]['text'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ first if loop.first else '' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}"
    "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma 3 writes its beginning-of-sequence token, joins the system message to the user's, and strips every text."""
INTERNVL = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n")
LLAVA = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")

TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 8192, "initializer_range": 0.3, "tie_word_embeddings": True, "head_dim": 8,
}  # fmt: skip
SIGLIP = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
    "initializer_range": 0.3,
}  # fmt: skip

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "idefics3", "smolvlm", "internvl", "gemma3", "llava_onevision")


def byte_tokenizer(specials, template, *, eos, bos=None, adds_bos=False, named=None):
    """A byte-level tokenizer with a family's special tokens.

    Args:
        specials: further special tokens.
        template: chat template.
        eos: ends a turn.
        bos: begins a sequence.
        adds_bos: whether the tokenizer writes ``bos`` by itself, as Llama's and Gemma's do.
        named: tokens that the family's processor asks for by attribute.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    words = [w for w in dict.fromkeys(["<pad>", bos, eos, *specials, *(named or {}).values()]) if w]
    inner.add_special_tokens(words)
    if adds_bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, inner.token_to_id(bos))]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=eos,
        pad_token="<pad>",
        **({"bos_token": bos} if bos else {}),
        extra_special_tokens=named or {},
    )
    if not named:
        made.add_special_tokens({"additional_special_tokens": list(specials)})
    made.chat_template = template
    return made


def build(family, folder: Path, *, seed: int = 0) -> Path:
    """One family's checkpoint, saved with its tokenizer and image processor."""
    import torch

    torch.manual_seed(seed)
    model, tokenizer, extras = _MAKERS[family]()
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for part in extras:
        part.save_pretrained(folder)
    return folder


def _text(tokenizer, **more):
    return {
        **TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, **more,
    }  # fmt: skip


def _qwen(family):
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = byte_tokenizer(SPECIALS, TEMPLATE, eos="<|im_end|>")
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in SPECIALS}
    tokens = {
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    vision = {
        "depth": 2,
        "num_heads": 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
        "initializer_range": 0.3,
    }
    patch = 14
    if family == "qwen2_vl":
        config = transformers.Qwen2VLConfig(
            text_config=_text(tokenizer, rope_parameters=rope),
            vision_config={**vision, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, "patch_size": patch}, **tokens,
        )  # fmt: skip
        model = transformers.Qwen2VLForConditionalGeneration(config)
    elif family == "qwen2_5_vl":
        config = transformers.Qwen2_5_VLConfig(
            text_config=_text(tokenizer, rope_parameters=rope),
            vision_config={
                **vision, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32, "patch_size": patch, "window_size": 112,
                "fullatt_block_indexes": [1],
            }, **tokens,
        )  # fmt: skip
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    else:
        patch = 16
        seen = {
            **vision, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32, "patch_size": patch,
            "num_position_embeddings": 64,
        }  # fmt: skip
        if family == "qwen3_vl":
            text = _text(tokenizer, rope_parameters={**rope, "mrope_interleaved": True})
            config = transformers.Qwen3VLConfig(
                text_config=text, vision_config={**seen, "deepstack_visual_indexes": [0]}, **tokens
            )
            model = transformers.Qwen3VLForConditionalGeneration(config)
        else:
            text = _text(
                tokenizer, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4,
                linear_key_head_dim=8, linear_value_head_dim=8, linear_conv_kernel_dim=4,
                rope_parameters={**rope, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
            )  # fmt: skip
            config = transformers.Qwen3_5Config(text_config=text, vision_config=seen, **tokens)
            model = transformers.Qwen3_5ForConditionalGeneration(config)
    unit = 2 * patch
    return model, tokenizer, [Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=unit**2, max_pixels=unit**2 * 16)]


def _idefics(family):
    import transformers
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    grid = [f"<row_{i}_col_{j}>" for i in range(1, 3) for j in range(1, 3)]
    words = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *grid]
    smol = family == "smolvlm"
    start, bos = ("<|im_start|>", "<|im_start|>") if smol else ("<|begin_of_text|>", "<|begin_of_text|>")
    template = IDEFICS.replace("{start}", start)
    tokenizer = byte_tokenizer(words, template, eos="<end_of_utterance>", bos=bos, adds_bos=not smol)
    kind = "SmolVLM" if smol else "Idefics3"
    config = getattr(transformers, f"{kind}Config")(
        text_config={"model_type": "llama", **_text(tokenizer)}, vision_config=SIGLIP, scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    pictures = (SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil)(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    )
    processor = _Json("processor_config.json", {"processor_class": f"{kind}Processor", "image_seq_len": 4})
    return model, tokenizer, [pictures, processor]


def _internvl():
    import transformers
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    named = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
        "turn_token": "<|im_start|>",
    }  # fmt: skip
    tokenizer = byte_tokenizer([], INTERNVL, eos="<|im_end|>", named=named)
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        vision_config={**SIGLIP, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4,
    )  # fmt: skip
    model = transformers.InternVLForConditionalGeneration(config)
    pictures = GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, min_patches=1, max_patches=4, crop_to_patches=True)
    return (
        model,
        tokenizer,
        [pictures, _Json("processor_config.json", {"processor_class": "InternVLProcessor", "image_seq_length": 4})],
    )


def _gemma():
    import transformers
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    named = {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>", "sot": "<start_of_turn>",
    }  # fmt: skip
    tokenizer = byte_tokenizer([], GEMMA, eos="<end_of_turn>", bos="<bos>", adds_bos=True, named=named)
    config = transformers.Gemma3Config(
        text_config=_text(tokenizer, sliding_window=512, layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8),
        vision_config={**SIGLIP, "vision_use_head": False}, mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    model = transformers.Gemma3ForConditionalGeneration(config)
    pictures = Gemma3ImageProcessorPil(size={"height": 56, "width": 56}, image_seq_length=4)
    return (
        model,
        tokenizer,
        [pictures, _Json("processor_config.json", {"processor_class": "Gemma3Processor", "image_seq_length": 4})],
    )


def _llava():
    import transformers
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    tokenizer = byte_tokenizer(["<image>", "<video>", "<|im_start|>"], LLAVA, eos="<|im_end|>")
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **_text(tokenizer)}, vision_config={"model_type": "siglip_vision_model", **SIGLIP},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints, vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlavaOnevisionForConditionalGeneration(config)
    pictures = LlavaOnevisionImageProcessorPil(size={"height": 56, "width": 56}, image_grid_pinpoints=pinpoints)
    said = {"processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    return model, tokenizer, [pictures, _Json("processor_config.json", said)]


class _Json:
    """A settings file that is saved like a part of a checkpoint."""

    def __init__(self, name, content):
        self._name, self._content = name, content

    def save_pretrained(self, folder):
        import json

        Path(folder, self._name).write_text(json.dumps(self._content), encoding="utf-8")


_MAKERS = {
    **{f: (lambda f=f: _qwen(f)) for f in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")},
    **{f: (lambda f=f: _idefics(f)) for f in ("idefics3", "smolvlm")},
    "internvl": _internvl, "gemma3": _gemma, "llava_onevision": _llava,
}  # fmt: skip
