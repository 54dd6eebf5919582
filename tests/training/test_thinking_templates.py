"""Chat templates of reasoning models, as TRL ships them: what is learnt is the target after the prompt of inference, in every kind."""

import json
from importlib import resources

import pytest
import trl

from mmr5 import prompt
from mmr5.answer import format_reply
from mmr5.data.rows import ListRow
from mmr5.engines.chat_template import LocalPrompts, check_template, render, turn_end, written_for
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError
from mmr5.methods import method
from mmr5.methods.inputs import Candidates, MethodSettings
from mmr5.training import preflight, row_dataset, trainer
from mmr5.training.grpo_rewards import Watch, reward_functions
from mmr5.training.sft import make_trainer
from mmr5.types import Page
from support.tiny import TEMPLATE, tokenizer

KINDS = {"plain": None, "qwen3": "qwen3", "think": "qwen3_5_think", "nothink": "qwen3_5_nothink", "r1": "deepseek_r1_distill"}
OPENED = {"plain": "", "qwen3": "", "think": "<think>\n", "nothink": "<think>\n", "r1": "<think>\n"}
"""What each writes of a reply that is to reason."""
CLOSED = {"plain": "", "qwen3": "<think>\n\n</think>\n\n", "think": "<think>\n\n</think>\n\n", "nothink": "<think>\n\n</think>\n\n", "r1": ""}  # fmt: skip
"""What is left before a reply that is not to reason."""
NOTES = ["It names the price.", "It names no price."]
PAGES = [Page("guide.pdf", i + 1, f"Page {i} says that it costs {i} euros.", None) for i in range(3)]


def template(kind):
    name = KINDS[kind]
    return TEMPLATE if name is None else (resources.files(trl) / "chat_templates" / f"{name}.jinja").read_text()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def checkpoint(kind, tiny_text, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(tiny_text)
    words.chat_template = template(kind)
    words.save_pretrained(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(tiny_text).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def row(number, method_name="reason", taught=True):
    order = [1, 0]
    target = format_reply(order, NOTES if method_name == "reason" else None)
    return ListRow(
        "listwise" if taught else "grpo", f"guide#{number}", "guide", "What does it cost?", (number, number + 1), (1,), method_name, "text",
        tuple(NOTES) if taught and method_name == "reason" else None, target if taught else None, (2.0, 1.0),
    )  # fmt: skip


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch):
    class Corpus:
        def document_pages(self, name):
            return PAGES

    monkeypatch.setattr(row_dataset, "load_corpus", lambda *a, **k: Corpus())

    def make(stage, method_name="reason"):
        from mmr5.training.config import from_tables

        rows = [row(n, method_name, taught=stage == "sft") for n in range(2)]
        (tmp_path / f"{stage}.jsonl").write_text("".join(json.dumps(r.to_dict()) + "\n" for r in rows))
        tables = {
            "model": {"base": str(checkpoint), "device": "cpu", "dtype": "float32", "autocast": "float32"},
            "data": {"rows": str(tmp_path / f"{stage}.jsonl"), "corpus": "c"}, "run": {"out": str(tmp_path / f"run-{stage}")},
            "recipe": {"method": method_name, "view": "text", "page_tokens": 50},
        }  # fmt: skip
        return trainer.begin(from_tables(tables, "test"), stage, resume=False, progress=None)

    return make


@pytest.mark.parametrize("method_name", ["reason", "direct"])
def test_sft_learns_the_whole_target_after_the_prompt_of_inference(run, kind, method_name, checkpoint):
    begun = run("sft", method_name)
    made = make_trainer(begun)  # refuses by itself what would differ
    assert begun.template == template(kind)
    batch = made.data_collator([made.train_dataset[0]])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    start = next(i for i, label in enumerate(labels) if label != -100)
    learnt = begun.tokenizer.decode(ids[start:])
    opening = OPENED[kind] if method_name == "reason" else ""
    assert opening + learnt == begun.rows[0].target + "<|im_end|>"
    asked = Request(begun.talk.prompt(begun.rows[0]), think=method_name == "reason")
    assert ids[:start] == LocalPrompts.from_pretrained(checkpoint).ids(asked)


def test_a_perfect_rollout_earns_both_rewards(run, kind):
    begun = run("grpo")
    data = row_dataset.dataset(begun.rows, begun.speech, begun.config, taught=False, context=None)
    example = data[0]
    assert example["opening"] == OPENED[kind]
    perfect = format_reply([1, 0], NOTES)
    completion = perfect.removeprefix(OPENED[kind])
    rewards = reward_functions(Watch((1.0, 1.0), started=True), end_ids=[7], compat="paper", gather=lambda r: r)
    columns = {k: [example[k]] for k in ("row", "opening", "relevant", "n", "think")}
    told = {
        "completions": [[{"role": "assistant", "content": completion}]],
        "completion_ids": [[1, 7]],
        "log_metric": lambda *a: None,
    }
    assert [reward(**columns, **told) for reward in rewards] == [[1.0], [1.0]]


def test_an_answer_is_never_put_inside_an_open_think_block(kind, checkpoint):
    engine = TransformersEngine.from_pretrained(str(checkpoint), dtype="float32", device="cpu")
    asked = Request(prompt.listwise("q", view="text", think=False, texts=["a", "b"]), "<answer>[")
    assert engine.render(asked).endswith(CLOSED[kind] + "<answer>[")
    assert engine.render(asked).count("<think>") == (1 if CLOSED[kind] else 0)
    reasoned = Request(prompt.listwise("q", view="text", think=True, texts=["a", "b"]), "<think>\nImage 1: x.", think=True)
    assert engine.render(reasoned).endswith("<think>\nImage 1: x.")
    assert "<think>\n<think>" not in engine.render(reasoned)


def test_the_engine_tells_the_whole_reply(kind, checkpoint):
    engine = TransformersEngine.from_pretrained(str(checkpoint), dtype="float32", device="cpu")
    asked = Request(prompt.listwise("q", view="text", think=True, texts=["a", "b"]), think=True)
    heard = []
    reply = engine.generate([asked], Sampling(8), lambda i, text: heard.append(text))[0]
    assert reply.text.startswith(OPENED[kind])
    assert "".join(heard) == reply.text
    found = method("reason")(engine, [Candidates("q", PAGES[:2])], MethodSettings(view="text", max_new_tokens=8))[0]
    assert found.reply.startswith(OPENED[kind])


def test_the_checkpoint_keeps_its_own_template(run, kind, tmp_path):
    from transformers import AutoTokenizer

    from mmr5.training import base_model

    begun = run("sft")
    base_model.save_processor(begun.processor, tmp_path / "saved", begun.template)
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == template(kind)
    assert begun.processor.chat_template != template(kind)


def test_a_target_that_does_not_begin_as_the_template_is_refused(run, kind):
    begun = run("sft")
    if OPENED[kind]:
        with pytest.raises(ConfigError, match="opens every reply with '<think>"):
            begun.speech.completion(row(0, "direct"), OPENED[kind])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] | upper }}"), "does not write"),
        (TEMPLATE.replace("assistant\\n{% endif %}", "assistant\\n[THINK]{% endif %}").replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n[THINK]{% endif %}"), r"\[THINK\]"),
        ("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}{{ raise_exception('nor this') }}", "no system here"),
    ],
)  # fmt: skip
def test_a_template_that_is_not_known_is_refused_with_the_difference(changed, said):
    words = tokenizer()
    words.chat_template = changed
    with pytest.raises(ConfigError, match=said):
        check_template(words, images=False)


def test_a_template_without_a_system_role_gets_its_words_before_the_users():
    words = tokenizer()
    words.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TEMPLATE
    check_template(words, images=False)
    messages = prompt.listwise("q", view="text", think=True, texts=["a", "b"])
    rendered = render(words, Request(messages), images=False)
    assert rendered.startswith("<|im_start|>user\n" + messages[0]["content"][0]["text"] + "\n\n")
    assert rendered.count("<|im_start|>") == 2


def test_a_run_that_would_learn_something_else_is_refused(run):
    begun = run("sft")
    made = make_trainer(begun)
    good = made.train_dataset[0]
    for ids, said in (
        ({**good, "labels": [-100] * 40 + list(good["labels"])[40:]}, None),
        (
            {**good, "labels": [label if i < len(good["labels"]) - 5 else -100 for i, label in enumerate(good["labels"])]},
            "would learn",
        ),
        ({**good, "input_ids": [good["input_ids"][0] + 1, *good["input_ids"][1:]]}, "part at token 0"),
    ):
        made.train_dataset = [ids]
        if said is None:
            preflight.check_sft(begun, made)
        else:
            with pytest.raises(ConfigError, match=said):
                preflight.check_sft(begun, made)


def test_the_end_of_a_turn_is_what_the_template_writes():
    words = tokenizer()
    assert turn_end(words, images=False) == "<|im_end|>"
    words.chat_template = "{% for m in messages %}{{ m['content'] }}<|vision_end|>\n{% endfor %}"
    assert turn_end(words, images=False) == "<|vision_end|>"
    words.chat_template = None
    assert turn_end(words, images=False) == "<|im_end|>"
    assert written_for("…assistant\n<think>\n", Request([], think=True)) == "<think>\n"
    assert written_for("…assistant\n<think>\n", Request([])) == ""


@pytest.mark.parametrize(
    ("name", "images", "said"),
    [
        ("gptoss", False, "opens the reply with"),
        ("qwen3", True, "does not write|in parts"),
        ("gemma4_v2", True, "does not write"),
        ("glm4moe", True, "no place for pictures"),
    ],
)
def test_templates_that_do_not_fit_are_refused_by_their_kind(name, images, said):
    words = tokenizer()
    words.chat_template = (resources.files(trl) / "chat_templates" / f"{name}.jinja").read_text()
    with pytest.raises(ConfigError, match=said):
        check_template(words, images=images)


def test_a_template_that_puts_all_pictures_first_is_said():
    from mmr5.errors import MMR5Warning

    words = tokenizer()
    words.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] if p['type'] == 'image' %}<|image_pad|>{% endfor %}"
        "{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.warns(MMR5Warning, match="all pictures before the words"):
        check_template(words, images=True)


def test_the_end_of_a_turn_that_is_taught_is_the_end_that_is_waited_for(run, checkpoint):
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(checkpoint)
    words.eos_token = "<|endoftext|>"
    words.chat_template = TEMPLATE
    words.save_pretrained(checkpoint)
    begun = run("grpo")
    end = begun.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert begun.tokenizer.eos_token_id == end
    assert end in begun.model.generation_config.eos_token_id
    assert end in LocalPrompts.from_pretrained(checkpoint).end_ids
    assert begun.speech.completion(row(0), "").endswith("<|im_end|>")
