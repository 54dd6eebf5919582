import json
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from mmr5 import provenance
from mmr5.corpora import Corpus, Document, Question
from mmr5.evaluation.provenance import provenance as of_evaluation
from mmr5.training.config import load_config
from mmr5.training.run_dir import provenance as of_training


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout that the code seems to run from; its root."""
    package = tmp_path / "checkout" / "src" / "mmr5"
    package.mkdir(parents=True)
    shutil.copy(provenance.__file__, package / "provenance.py")
    root = tmp_path / "checkout"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    return root


@pytest.fixture
def both(tmp_path):
    """What evaluation and training say of the commit."""
    (tmp_path / "c.toml").write_text(
        '[model]\nbase = "b"\ndevice = "cpu"\n[data]\nrows = "r.jsonl"\ncorpus = "c"\n[run]\nout = "o"\n'
    )
    config = load_config(tmp_path / "c.toml", ())
    corpus = Corpus("c", (Document("d", "none", 1),), (Question("d", "q?", (0,), "d#0"),), None)
    return lambda: (of_evaluation({}, "", corpus, None, None)["commit"], of_training(config, "sft")["commit"])


def test_evaluation_and_training_name_the_same_commit_and_own_up_to_changes(checkout, both):
    head = git(checkout, "rev-parse", "HEAD")
    assert both() == (head, head)
    (checkout / "notes.txt").write_text("outside the package")
    assert both() == (head, head)
    (checkout / "src" / "mmr5" / "provenance.py").write_text("changed")
    assert both() == (f"{head}+changes",) * 2
    git(checkout, "commit", "-qam", "second")
    second = git(checkout, "rev-parse", "HEAD")
    assert both() == (second, second) and second != head
    (checkout / "src" / "mmr5" / "new.py").write_text("not added yet")
    assert both() == (f"{second}+changes",) * 2


def test_outside_a_checkout_there_is_no_commit(checkout, both, tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert both() == (None, None)
    beside = checkout / "src" / "mmr5" / "untracked.py"
    beside.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(beside))
    assert both() == (None, None)


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None


@dataclass
class Device:
    type: str

    def __str__(self):
        return f"{self.type}:0"


class Torch:
    class cuda:
        get_device_name = staticmethod(lambda device: f"card of {device}")


def test_the_environment_is_plain_json_and_leaves_out_what_is_not_installed(monkeypatch):
    found = provenance.environment(("numpy", "no-such-package"), "cpu")
    assert json.loads(json.dumps(found)) == found
    assert list(found["libraries"]) == ["numpy"]
    assert found["hardware"]["device"] == "cpu" and found["hardware"]["cores"] >= 1
    monkeypatch.setitem(provenance.sys.modules, "torch", Torch)
    assert provenance.device_name(Device("cuda")) == "cuda:0 (card of cuda:0)"
    assert provenance.device_name(Device("mps")) == "mps:0"


def test_a_file_is_known_by_its_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert provenance.file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
