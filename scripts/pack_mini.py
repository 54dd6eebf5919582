"""Join the adapters of both stages to one that can stand in for `mini-lm`.

    python scripts/pack_mini.py --sft runs/mini/sft --grpo runs/mini/grpo --page-tokens 200 --fusion 1 --other-fusion 0 \
        --question-weight 0.5 --out runs/mini/packed

The joined adapter is exact (its matrices are those of both stages side by side) and is kept in bfloat16. It goes, with its
recipe, to --out (src/mmr5/models/mini_lm would make it the default). Without --grpo the adapter of stage 1 is packed alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from mmr5.engines.loading import import_torch, import_transformers
from mmr5.models import resolve
from mmr5.models.recipes import FILE, Recipe
from mmr5.prompt import fingerprint

KEPT = ("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias", "target_modules", "alpha_pattern", "rank_pattern")
"""Of the adapter's configuration: what every version of peft knows."""
LIMIT = 12_000_000
"""Most bytes of the adapter's file."""


def join(folders: list[Path]) -> tuple[dict[str, object], dict[str, object]]:
    """Weights (bfloat16) and configuration of one adapter that does what the given ones do together."""
    import peft

    torch = import_torch()
    base = import_transformers().AutoModelForCausalLM.from_pretrained(resolve("mini-base").path)
    names = [folder.name for folder in folders]
    model = peft.PeftModel.from_pretrained(base, str(folders[0]), adapter_name=names[0])
    for folder, name in zip(folders[1:], names[1:], strict=True):
        model.load_adapter(str(folder), adapter_name=name)
    joined = names[0]
    if len(names) > 1:
        joined = "joined"
        model.add_weighted_adapter(names, [1.0] * len(names), joined, combination_type="cat")
    with tempfile.TemporaryDirectory() as made:
        model.save_pretrained(made, selected_adapters=[joined])
        folder = Path(made) / joined
        from safetensors.torch import load_file

        weights = {name: value.to(torch.bfloat16) for name, value in load_file(folder / "adapter_model.safetensors").items()}
        settings = json.loads((folder / "adapter_config.json").read_text())
    return weights, settings


def main() -> None:
    """Join, save, say how large it is."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sft", type=Path, required=True)
    parser.add_argument("--grpo", type=Path)
    parser.add_argument("--page-tokens", type=int, required=True)
    parser.add_argument("--fusion", type=float, required=True)
    parser.add_argument("--other-fusion", type=float, required=True, help="weight outside English")
    parser.add_argument("--question-weight", type=float, required=True)
    parser.add_argument("--notes", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    weights, settings = join([folder for folder in (given.sft, given.grpo) if folder is not None])
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "adapter_model.safetensors"
    save_file(weights, file)
    settings = {key: settings[key] for key in KEPT} | {"base_model_name_or_path": "mini-base", "inference_mode": True}
    (given.out / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    recipe = Recipe(
        method="pointwise",
        view="text",
        page_tokens=given.page_tokens,
        fusion=given.fusion,
        languages=("en",),
        other_fusion=given.other_fusion,
        question_weight=given.question_weight,
        notes=given.notes,
        prompt_fingerprint=fingerprint("pointwise", "text"),
    )
    (given.out / FILE).write_text(recipe.to_json())
    size = file.stat().st_size
    print(f"{file}: {size:,} bytes")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT:,} bytes: lower lora.rank")


if __name__ == "__main__":
    main()
