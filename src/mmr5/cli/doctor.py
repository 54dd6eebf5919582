"""``mmr5 doctor``: what this machine can run, and why not."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.flags import Only, flags
from mmr5.settings import ModelSettings

_PARTS = {
    "torch": "local",
    "transformers": "local",
    "peft": "local",
    "sentence_transformers": "local",
    "gguf": "local",
    "rapidocr": "ocr",
    "onnxruntime": "ocr",
    "pypdfium2": "",
    "bm25s": "",
    "httpx": "",
}


@flags
def doctor(
    server: Annotated[ModelSettings, Only("base_url")],
    model: Annotated[Path | None, typer.Option(help="Folder of a checkpoint: also show what a server of it must share.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every package, script, engine, method and view.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what this machine can run, and what is missing for the rest.

    With --model FOLDER instead the fingerprint of its chat template, and with --base-url whether a server of it reads the tokens
    that the engine transformers would.
    """
    del debug
    if model is not None:
        _served(model, server.base_url, as_json)
        return
    report: dict[str, Any] = {
        "machine": _machine(),
        "packages": _packages(),
        "weights": _weights(),
        "text recognition": _recognition(),
        "office documents": _office(),
        "can_run": _can_run(),
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    if not everything:
        for name, value in _summary(report).items():
            typer.echo(f"{name:<18} {value}")
        return
    for part in ("machine", "packages", "weights", "text recognition", "office documents"):
        typer.echo(part)
        for name, value in report[part].items():
            typer.echo(f"    {name:<24} {value}")
    typer.echo("can run")
    for row in report["can_run"]:
        verdict = "yes" if row["ok"] else "no"
        typer.echo(f"    {row['engine']:<13} {row['method']:<16} {row['view']:<6} {verdict:<4} {row['why']}")


def _summary(report: dict[str, Any]) -> dict[str, str]:
    """The report in some ten lines."""
    machine = report["machine"]
    packages = {name: said for name, said in report["packages"].items() if said.startswith("missing")}
    weights = report["weights"]
    waiting = [name for name, where in weights.items() if where.startswith("fetched when")]
    found = {
        "machine": ", ".join(
            f"{label}{machine[key]}"
            for key, label in (("python", "Python "), ("cores", "cores "), ("memory", ""), ("device", "device "), ("dtype", ""))
            if key in machine
        ),
        "packages": _ways(packages) or "all there",
        "weights": f"{len(weights) - len(waiting)} of {len(weights)} here"
        + (f", the others are fetched when first used: {', '.join(waiting)}" if waiting else ""),
        "text recognition": _parts(report["text recognition"]),
        "office documents": _parts(report["office documents"]),
    }
    by_engine: dict[str, list[dict[str, Any]]] = {}
    for row in report["can_run"]:
        by_engine.setdefault(row["engine"], []).append(row)
    for engine, rows in by_engine.items():
        able = list(dict.fromkeys(row["method"] for row in rows if row["ok"]))
        why = {row["view"]: row["why"] for row in rows if row["ok"] or not able}
        notes = "; ".join(filter(None, (why["text"], "" if why["image"] == why["text"] else f"pictures {why['image']}")))
        found[f"engine {engine}"] = f"{', '.join(able)}{f' ({notes})' if notes else ''}" if able else f"no: {notes}"
    return found | {"more": "mmr5 doctor --all"}


def _ways(missing: dict[str, str]) -> str:
    """What is missing, by the way to get it."""
    ways: dict[str, list[str]] = {}
    for name, said in missing.items():
        ways.setdefault(said.removeprefix("missing: "), []).append(name)
    return "; ".join(f"missing {', '.join(names)}: {way}" for way, names in ways.items())


def _parts(found: dict[str, str]) -> str:
    """What is there by name, and how many others are missing."""
    there = [name for name, said in found.items() if not said.startswith("missing")]
    missing = {name: said for name, said in found.items() if said.startswith("missing")}
    if len(missing) <= 2:
        return "; ".join(filter(None, (", ".join(there), _ways(missing))))
    return f"{', '.join(there) or 'nothing'}; missing: {', '.join(missing)}"


def _served(folder: Path, base_url: str | None, as_json: bool) -> None:
    from mmr5.engines.openai.probe import describe, probe
    from mmr5.errors import EngineError

    found = describe(folder)
    read = {} if base_url is None else probe(folder, base_url)
    if as_json:
        typer.echo(json.dumps({"checkpoint": found, "served": read}, indent=2))
    else:
        for name, value in {**found, **{f"served, {kind}": said for kind, said in read.items()}}.items():
            typer.echo(f"{name:<24} {value}")
    wrong = [said for said in read.values() if not said.startswith("the same ")]
    if wrong:
        raise EngineError(f"the server at {base_url} does not read what the engine 'transformers' would")


def _machine() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    if _has("torch") and _has("transformers"):
        from mmr5.engines.loading import bf16_features, dtype_name, import_torch, pick_device, pick_dtype

        torch = import_torch()
        device = pick_device()
        found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        found["dtype"] = dtype_name(pick_dtype("auto", device))
        found["bfloat16 on this CPU"] = ", ".join(bf16_features()) or "no instructions for it"
        if device.type == "cpu" and torch.backends.mps.is_available():
            found["mps"] = "there, used with --device mps: replies on it are known to hang or differ in other projects"
    return found


def _packages() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name, extra in _PARTS.items():
        try:
            found[name] = version(name.replace("_", "-"))
        except PackageNotFoundError:
            found[name] = f"missing: pip install 'mmr5[{extra}]'" if extra else "missing: reinstall mmr5"
    return found


def _weights() -> dict[str, str]:
    from mmr5.models.weights import ALL, locate

    return {w.name: str(locate(w) or f"fetched when first used ({w.wheel}, {w.size / 1e6:.0f} MB)") for w in ALL}


def _recognition() -> dict[str, str]:
    """What reads the text of pictures, script by script."""
    from mmr5.pages import tesseract
    from mmr5.pages.rapid import other_models

    latin = "RapidOCR" if _has("rapidocr") and _has("onnxruntime") else "missing: pip install 'mmr5[ocr]'"
    found = {"Latin, Chinese, Japanese": latin}
    if tesseract.is_installed() and "osd" not in tesseract.installed():
        found["script detection"] = "missing: apt-get install tesseract-ocr-osd"
    for path in other_models():
        found[path.stem] = f"RapidOCR with {path} (MMR5_OCR_MODELS)"
    for script, packs in tesseract.LANGUAGES.items():
        held = tesseract.packs_for(script)
        way = f"missing: apt-get install {'' if tesseract.is_installed() else 'tesseract-ocr '}tesseract-ocr-{packs[0]}"
        found[script] = f"tesseract: {', '.join(held)}" if held else way
    return found


def _office() -> dict[str, str]:
    """What reads office and web documents: as pages, and as texts."""
    from mmr5.pages.office import HOW_TO_INSTALL, LIBRARIES, program

    missing = "missing: pip install 'mmr5[office]'"
    found = {"pages": f"LibreOffice: {program()}" if program() else f"missing, so that they are read as texts: {HOW_TO_INSTALL}"}
    if program() and (unseen := _scripts_without_fonts()):
        found["fonts"] = f"missing: for {', '.join(unseen)}, printed as boxes: apt-get install fonts-noto"
    return found | {f"text of {kind}": name if _has(module) else missing for kind, (name, module) in LIBRARIES.items()}


def _scripts_without_fonts() -> list[str]:
    """Scripts that no installed font shows, as fontconfig knows them."""
    import shutil
    import subprocess

    finder = shutil.which("fc-list")
    if finder is None:
        return []
    asked = {"Chinese": "zh-cn", "Japanese": "ja", "Korean": "ko", "Arabic": "ar", "Hebrew": "he", "Hindi": "hi", "Thai": "th"}
    said = {name: subprocess.run([finder, f":lang={code}"], capture_output=True, check=False) for name, code in asked.items()}
    return [name for name, run in said.items() if run.returncode == 0 and not run.stdout.strip()]


def _can_run() -> list[dict[str, Any]]:
    """Every engine, method and view: whether it runs here, and why not or under what condition."""
    from mmr5.engines.protocol import Capabilities
    from mmr5.prompt import METHODS, VIEWS

    needs = {
        "reason": "generate",
        "direct": "generate",
        "logits": "score_choices",
        "pointwise": "score_choices",
        "likelihood": "score_text",
    }
    local = [name for name in ("torch", "transformers") if not _has(name)]
    everything = Capabilities(generate=True, score_choices=True, score_text=True, prefill=True, images=True)
    engines = {
        "transformers": (everything, f"needs {', '.join(local)}: pip install 'mmr5[local]'" if local else ""),
        "openai": (Capabilities(images=True), ""),
        "vllm": (everything, "" if _has("vllm") else "needs vllm: pip install 'mmr5[vllm]'"),
        "scripted": (everything, ""),
    }
    rows = []
    for engine, (capabilities, missing) in engines.items():
        for method in METHODS:
            for view in VIEWS:
                able = getattr(capabilities, needs[method])
                why = missing or ("" if able else f"the engine cannot {needs[method].replace('_', ' ')}")
                if not why and engine == "transformers" and view != "text":
                    why = "with a vision-language checkpoint (mini-lm reads text)"
                if not why and engine == "openai":
                    why = "with --base-url" + ("" if view == "text" else " of a server whose model sees")
                rows.append({"engine": engine, "method": method, "view": view, "ok": able and not missing, "why": why})
    ready = not local
    why = "mini, which needs no language model" if ready else f"needs {', '.join(local)}: pip install 'mmr5[local]'"
    row = {"engine": "transformers", "method": "late-interaction", "view": "text", "ok": ready, "why": why}
    return [row, *rows]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
