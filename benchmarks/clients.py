"""What real clients of other servers get from a server: each client's calls, answered as the client and its user expect.

    sh benchmarks/clients.sh                                   # builds an environment for the clients, starts a server, runs this
    python benchmarks/clients.py http://127.0.0.1:8000 --key KEY [--json FILE]

The clients (``benchmarks/clients.txt``) need other versions of httpx than ours, so they have an environment of their own, and
this file imports nothing of MM-R5. The server is to know the one key, and to take at most 400 characters of a question and 2,000
of a document, as ``clients.sh`` starts it. A call counts where it returns what its check wants; otherwise its error is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or litellm fetches a table when it is imported

import cohere
import httpx
import infinity_client
import litellm
import voyageai
from infinity_client.api.default import classify, embeddings, health, models, rerank
from infinity_client.models import ClassifyInput, OpenAIEmbeddingInputText, RerankInput

QUERY = "harbour dredged 1931"
DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]
LONG_QUERY, LONG_DOCS = QUERY * 50, [d * 200 for d in DOCS]
MODEL = "m"
Call = Callable[[], None]


def same(found: object, wanted: object) -> None:
    """Fail where a value is not the wanted one."""
    if found != wanted:
        raise AssertionError(f"{found!r}, and {wanted!r} was expected")


def best(indexes: Any, n: int) -> None:
    """Fail where an order is not the only right beginning, or has another length."""
    found = list(indexes)
    same((found[0], len(found)), (1, n))


def refused(call: Call, kind: type[BaseException], words: str) -> None:
    """Fail where a call is not refused by the client's own error, with the words in it."""
    try:
        call()
    except kind as error:
        said = f"{error} {getattr(error, 'body', '')}"
        if words not in said:
            raise AssertionError(f"the error says {said!r}, not {words!r}") from None
        return
    raise AssertionError("it was not refused")


def cohere_calls(url: str, key: str) -> dict[str, Call]:
    """Cohere's SDK."""
    two, one = cohere.ClientV2(key, base_url=url), cohere.Client(key, base_url=url)
    ask = {"model": MODEL, "query": QUERY, "documents": DOCS}
    wrong = cohere.ClientV2("wrong", base_url=url)

    def back() -> None:
        found = one.rerank(**{**ask, "documents": [{"text": d} for d in DOCS]}, return_documents=True)
        same(found.results[0].document.text, DOCS[1])

    return {
        "v2": lambda: best((r.index for r in two.rerank(**ask).results), 3),
        "v2, top_n": lambda: best((r.index for r in two.rerank(**ask, top_n=2).results), 2),
        "v2, async": lambda: best(
            (r.index for r in asyncio.run(cohere.AsyncClientV2(key, base_url=url).rerank(**ask)).results), 3
        ),
        "v1": lambda: best((r.index for r in one.rerank(**ask).results), 3),
        "v1, return_documents": back,
        "v2, wrong key": lambda: refused(lambda: wrong.rerank(**ask), cohere.UnauthorizedError, "API key"),
    }  # fmt: skip


def litellm_calls(url: str, key: str) -> dict[str, Call]:
    """LiteLLM's six providers, with return_documents left out, true and false."""
    litellm.suppress_debug_info = True
    known = httpx.get(url + "/infinity/health").status_code == 200  # older versions of ours have one address
    calls: dict[str, Call] = {}
    for provider in ("hosted_vllm", "cohere", "jina_ai", "voyage", "huggingface", "infinity"):
        for back in (None, True, False):

            def call(provider: str = provider, back: bool | None = back) -> None:
                said = {} if back is None else {"return_documents": back}
                base = url + ("/infinity" if provider == "infinity" and known else "")
                ask = {"model": f"{provider}/m", "query": QUERY, "documents": DOCS, "api_base": base, "api_key": key}
                found = litellm.rerank(**ask, top_n=2, **said)
                best((r["index"] for r in found.results), 2)
                if back and provider != "voyage":  # its answer to LiteLLM's client has no documents
                    same(found.results[0]["document"]["text"], DOCS[1])

            calls[f"{provider}/, return_documents {'unset' if back is None else str(back).lower()}"] = call
    return calls


def infinity_calls(url: str, key: str) -> dict[str, Call]:
    """The client of infinity."""
    client = infinity_client.AuthenticatedClient(base_url=url, token=key)

    def ask(**more: Any) -> Any:
        return rerank.sync(client=client, body=RerankInput(query=QUERY, documents=DOCS, model=MODEL, **more))

    async def later() -> Any:
        async with infinity_client.AuthenticatedClient(base_url=url, token=key) as own:
            return await rerank.asyncio(client=own, body=RerankInput(query=QUERY, documents=DOCS, model=MODEL))

    def raw() -> None:
        found = ask(raw_scores=True)
        best((r.index for r in found.results), 3)
        if (
            any(0 <= r.relevance_score <= 1 for r in found.results[:1])
            and found.results[0].relevance_score == ask().results[0].relevance_score
        ):
            raise AssertionError("raw_scores changed nothing")

    return {
        "health": lambda: same(health.sync(client=client) is None, False),
        "models": lambda: same(len(models.sync(client=client).data), 1),
        "rerank": lambda: best((r.index for r in ask().results), 3),
        "rerank, async": lambda: best((r.index for r in asyncio.run(later()).results), 3),
        "rerank, top_n": lambda: best((r.index for r in ask(top_n=1).results), 1),
        "rerank, return_documents": lambda: same(ask(return_documents=True).results[0].document, DOCS[1]),
        "rerank, raw_scores": raw,
        "rerank, usage and id": lambda: same(bool(ask().usage.total_tokens and ask().id), True),
        "embeddings": lambda: same(
            len(embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=QUERY, model=MODEL)).data), 1
        ),
        "classify": lambda: same(len(classify.sync(client=client, body=ClassifyInput(input_=[QUERY], model=MODEL)).data), 1),
    }  # fmt: skip


def voyage_calls(url: str, key: str) -> dict[str, Call]:
    """Voyage's SDK."""
    client = voyageai.Client(api_key=key, base_url=url + "/v1")
    error = voyageai.error

    async def later() -> Any:
        return await voyageai.AsyncClient(api_key=key, base_url=url + "/v1").rerank(QUERY, DOCS, MODEL)

    def whole() -> None:
        found = client.rerank(QUERY, DOCS, MODEL)
        best((r.index for r in found.results), 3)
        same((found.results[0].document, found.total_tokens > 0), (DOCS[1], True))

    return {
        "rerank": whole,
        "top_k": lambda: best((r.index for r in client.rerank(QUERY, DOCS, MODEL, top_k=2).results), 2),
        "async": lambda: best((r.index for r in asyncio.run(later()).results), 3),
        "too long, cut": lambda: same(len(client.rerank(LONG_QUERY, LONG_DOCS, MODEL).results), 3),
        "question too long, truncation false": lambda: refused(
            lambda: client.rerank(LONG_QUERY, DOCS, MODEL, truncation=False), error.InvalidRequestError, "at most"
        ),
        "document too long, truncation false": lambda: refused(
            lambda: client.rerank(QUERY, LONG_DOCS, MODEL, truncation=False), error.InvalidRequestError, "at most"
        ),
        "too many documents": lambda: refused(
            lambda: client.rerank(QUERY, DOCS * 400, MODEL), error.InvalidRequestError, "at most"
        ),
        "embed": lambda: same(len(client.embed([QUERY], MODEL).embeddings), 1),
    }  # fmt: skip


def vllm_calls(url: str, key: str) -> dict[str, Call]:
    """What vLLM's users send over HTTP, and the shapes that they read."""
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def post(path: str, status: int = 200, **body: Any) -> Any:
        answer = client.post(path, json={"model": MODEL, **body})
        same((answer.status_code, answer.text[:200] if answer.status_code != status else ""), (status, ""))
        return answer.json()

    def pairs(left: Any, right: Any, n: int) -> Call:
        def call() -> None:
            found = post("/score", text_1=left, text_2=right)
            same(([x["index"] for x in found["data"]], found["usage"]["total_tokens"] > 0), (list(range(n)), True))

        return call

    def warned() -> None:
        found = post("/v1/rerank", query=QUERY, documents=DOCS, truncate_prompt_tokens=10)
        same(any("truncate_prompt_tokens" in said for said in found["meta"].get("warnings", [])), True)

    ask = {"query": QUERY, "documents": DOCS}
    return {
        "rerank, document": lambda: same(post("/rerank", **ask)["results"][0]["document"]["text"], DOCS[1]),
        "rerank, usage": lambda: same(post("/v1/rerank", **ask)["usage"]["prompt_tokens"] > 0, True),
        "rerank, top_n 2": lambda: best((r["index"] for r in post("/v2/rerank", **ask, top_n=2)["results"]), 2),
        "rerank, top_n 0": lambda: best((r["index"] for r in post("/rerank", **ask, top_n=0)["results"]), 3),
        "rerank, truncate_prompt_tokens warned": warned,
        "rerank, too long is 400": lambda: post("/rerank", 400, query=LONG_QUERY, documents=DOCS)["error"]["message"],
        "score, 1 to 1": pairs(QUERY, DOCS[0], 1),
        "score, 1 to N": pairs(QUERY, DOCS, 3),
        "score, N to N": pairs([QUERY] * 3, DOCS, 3),
        "score, v1": lambda: post("/v1/score", text_1=QUERY, text_2=DOCS)["data"][2],
        "models": lambda: same(client.get("/v1/models").json()["object"], "list"),
    }  # fmt: skip


CLIENTS: dict[str, tuple[str, Callable[[str, str], dict[str, Call]]]] = {
    "Cohere": ("cohere", cohere_calls), "LiteLLM": ("litellm", litellm_calls), "infinity": ("infinity_client", infinity_calls),
    "Voyage": ("voyageai", voyage_calls), "vLLM over HTTP": ("httpx", vllm_calls),
}  # fmt: skip


def main() -> int:
    """Make every call, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--key", required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name, (package, calls) in CLIENTS.items():
        failed = {}
        own = calls(given.url.rstrip("/"), given.key)
        for call, run in own.items():
            try:
                run()
            except Exception as error:  # whatever a client throws is what its user sees
                failed[call] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        rows.append(
            {"client": name, "version": f"{package} {importlib.metadata.version(package)}", "calls": len(own), "failed": failed}
        )
    print("| Client | Version | Calls | As expected |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['client']} | {row['version']} | {row['calls']} | {row['calls'] - len(row['failed'])} |")
    for row in rows:
        for call, error in row["failed"].items():
            print(f"{row['client']}: {call}: {error}", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
