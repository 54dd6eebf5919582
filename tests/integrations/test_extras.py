"""A framework that is not installed is named with its extra; adapters load their own framework and no other."""

import subprocess
import sys

import pytest

FRAMEWORKS = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack"}


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("module", "package"), FRAMEWORKS.items())
def test_a_missing_framework_is_named_with_its_extra(module, package):
    done = python(f"import sys; sys.modules[{package!r}] = None\nimport mmr5.integrations.{module}")
    assert done.returncode != 0
    assert f"pip install 'mmr5[{module.replace('_', '-')}]'" in done.stderr
    assert "MissingExtraError" in done.stderr


def test_the_shapes_of_others_load_no_framework_and_no_torch():
    heavy = [*FRAMEWORKS.values(), "torch", "transformers", "sentence_transformers"]
    code = "import mmr5.integrations.rerankers, mmr5.integrations.sentence_transformers, sys\n"
    done = python(code + f"print([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
