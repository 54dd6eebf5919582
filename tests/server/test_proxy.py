"""Behind a proxy: other names, other sites, another path; and what load balancers and browsers ask."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mmr5.errors import ConfigError
from mmr5.settings import ServerSettings

from .test_page import ask, browser, open_page, pdf, upload  # noqa: F401 - fixtures
from .test_search import REPORT

NAMES = ("127.0.0.1", "localhost", "::1", "testserver")
BODY = {"query": "harbour", "documents": ["A harbour.", "A list."]}
SITE = "https://app.example.org"


def test_another_name_is_answered_where_it_is_allowed(make_client):
    client = make_client(hosts=NAMES, allow_host=("MMR5.example.org",))
    for host, status in (
        ("mmr5.example.org", 200),
        ("mmr5.example.org:8443", 200),
        ("other.example.org", 403),
        ("127.0.0.1", 200),
    ):
        answer = client.post("/rerank", json=BODY, headers={"Host": host})
        assert answer.status_code == status, host
    assert "--allow-host" in client.get("/health", headers={"Host": "other"}).json()["message"]


def test_a_page_of_an_allowed_site_may_call(make_client):
    client = make_client(allow_origin=(SITE,), api_keys=("k",))
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    before = client.options("/v1/rerank", headers=asked)
    assert before.status_code == 200 and before.headers["access-control-allow-origin"] == SITE
    assert "Authorization" in before.headers["access-control-allow-headers"]
    answer = client.post("/v1/rerank", json=BODY, headers={"Origin": SITE, "Authorization": "Bearer k"})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == SITE
    refused = client.post("/v1/rerank", json=BODY, headers={"Origin": "https://evil.example.org", "Authorization": "Bearer k"})
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    assert "--allow-origin" in refused.json()["message"]
    assert client.options("/v1/rerank", headers={**asked, "Origin": "https://evil.example.org"}).status_code == 400
    no_key = client.post("/v1/rerank", json=BODY, headers={"Origin": SITE})
    assert no_key.status_code == 401 and no_key.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("prefix", ["", "/mmr5"])
def test_a_root_path_stands_in_addresses_and_routes_with_and_without_it(make_client, prefix):
    client = make_client(root_path="/mmr5", api_keys=("k",))
    key = {"Authorization": "Bearer k"}
    assert client.get(f"{prefix}/").status_code == client.get(f"{prefix}/static/main.js").status_code == 200
    assert client.get(f"{prefix}/health").status_code == 200
    assert client.post(f"{prefix}/rerank", json=BODY).status_code == 401
    assert client.post(f"{prefix}/rerank", json=BODY, headers=key).status_code == 200
    sent = client.post(f"{prefix}/v1/files", files={"files": ("r.pdf", REPORT)}, headers=key).json()["files"][0]
    address = sent["pages"][0]["thumbnail"]
    assert address.startswith("/mmr5/v1/files/")
    assert client.get(prefix + address.removeprefix("/mmr5"), headers=key).headers["content-type"] == "image/jpeg"


def test_the_page_names_nothing_by_an_absolute_path(client):
    static = Path(__file__).parents[2] / "src" / "mmr5" / "server" / "static"
    for file in [static / "index.html", *static.glob("*.js"), *static.glob("*.css")]:
        found = re.findall(
            r"""(?:href="|src="|from "|fetch\("|call\(["`]|url\(["']?)/[a-z]\S*""", file.read_text(encoding="utf-8")
        )
        assert not found, (file.name, found)


@pytest.mark.parametrize("path", ["/", "/health", "/info", "/v1/models", "/static/main.js", "/openapi.json"])
def test_head_is_answered_as_get_without_a_body(client, path):
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert client.head("/rerank").status_code == 405


def test_head_counts_under_its_route(client):
    client.head("/health")
    assert 'requests_total{route="/health",status="200"} 1.0' in client.get("/metrics").text


def test_an_id_of_a_request_is_kept(client):
    assert client.get("/health", headers={"X-Request-ID": "a-b.c:7"}).headers["x-request-id"] == "a-b.c:7"
    for odd in ("x" * 129, "a b", 'a"b'):
        made = client.get("/health", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/rerank", "application/x-www-form-urlencoded", "send it with Content-Type: application/json"),
        ("/score", "text/plain", "send it with Content-Type: application/json"),
        ("/v1/search", "application/json", "send files as multipart/form-data"),
        ("/v1/files", "application/pdf", "send files as multipart/form-data"),
    ],
)
def test_a_body_of_another_kind_is_a_415_that_says_what_to_send(client, path, kind, said):
    answer = client.post(path, content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415 and said in answer.json()["message"] and kind in answer.json()["message"]
    assert client.post("/rerank", json=BODY, headers={"Content-Type": "application/vnd.x+json; charset=utf-8"}).status_code == 200


def test_the_openapi_document_says_where_a_key_is_needed(make_client):
    for keys in ((), ("k",)):
        told = make_client(api_keys=keys).get("/openapi.json").json()
        assert told["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
        assert told["paths"]["/rerank"]["post"]["security"] == ([{"apiKey": []}] if keys else [{}])
        assert told["paths"]["/health"]["get"]["security"] == [{}]
        OpenAPIV31SpecValidator(told).validate()
        assert {"403", "415", "502"} <= set(told["paths"]["/v1/rerank"]["post"]["responses"])


@pytest.mark.parametrize(
    "wrong", [{"allow_origin": ("app.example.org",)}, {"allow_origin": ("https://a/b",)}, {"allow_host": ("https://a",)},
              {"allow_host": ("a/b",)}, {"root_path": "mmr5"}, {"root_path": "/mmr5/"}],
)  # fmt: skip
def test_a_wrong_name_site_or_path_is_refused_at_the_start(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ServerSettings(**wrong)


def block_of(kind: str) -> str:
    """The documented configuration: the first block after the proxy's name."""
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.search(rf"^{kind}.*?```\w*\n(.*?)```", text, re.S | re.M | re.I)[1]


def nginx(folder, server, port):
    """A command that runs the documented block in nginx."""
    block = block_of("nginx").replace("http://127.0.0.1:8000", server).replace("listen 80", f"listen 127.0.0.1:{port}")
    folders = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off; {folders}\n{block}}}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder, server, port):
    """A command that runs the documented block in Caddy, over plain HTTP."""
    block = block_of("caddy").replace("127.0.0.1:8000", server.removeprefix("http://"))
    block = block.replace("mmr5.example.org {", f"http://:{port} {{\nbind 127.0.0.1")
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{block}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(params=[nginx, caddy])
def proxy(serve, tmp_path, request, monkeypatch):
    """A real proxy with its documented block, before a server under the documented flags; gives its address."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    port = free_port()
    live = serve(hosts=NAMES, allow_host=("mmr5.example.org",), root_path="/mmr5")
    command = request.param(tmp_path, live.url, port)
    assert shutil.which(command[0]), f"{command[0]} is missing: make tools"
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, stderr=log)
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 20
    while True:
        try:
            httpx.get(address, timeout=1)
            break
        except httpx.TransportError:
            assert running.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
    yield address
    running.terminate()
    running.wait(20)


def free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.slow  # 30 s each
def test_the_documented_block(proxy, open_page):  # noqa: F811
    port = proxy.rpartition(":")[2]
    named = {"Host": f"mmr5.example.org:{port}"}
    answer = httpx.post(f"{proxy}/mmr5/rerank", json=BODY, headers=named)
    assert answer.status_code == 200 and answer.json()["results"][0]["index"] == 0
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert httpx.post(f"{proxy}/mmr5/rerank", json=BODY, headers={"Host": "other.example.org"}).status_code == 403
    page_asks = {**named, "Origin": f"http://mmr5.example.org:{port}"}
    assert httpx.post(f"{proxy}/mmr5/rerank", json=BODY, headers=page_asks).status_code == 200
    events = httpx.post(f"{proxy}/mmr5/rerank", json={**BODY, "stream": True}, headers=named).text
    assert "event: result" in events and events.rstrip().endswith("data: {}")
    page = open_page(f"{proxy}/mmr5/")  # by a name of this machine, which is allowed, too
    upload(page)
    ask(page, "harbour")
    page.wait_for_selector("body[data-state=result]")
    source = page.locator(".thumb img").first.get_attribute("src")
    assert "/mmr5/v1/files/" in source or source.startswith("blob:")
    page.wait_for_function("[...document.querySelectorAll('.thumb img')].every((i) => i.naturalWidth > 0)")
