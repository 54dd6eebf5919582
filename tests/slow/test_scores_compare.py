"""The same question and page have the same relevance by `mini` alone, in any list, order, number of threads, or service."""

import pytest
from fastapi.testclient import TestClient

from mmr5 import Reranker, Searcher
from mmr5.server.app import create_app
from mmr5.settings import ServerSettings

pytestmark = pytest.mark.slow

NEAR = 0.01
QUESTIONS = ["How many crane drivers work in the port?", "Wie viele Kranfahrer arbeiten im Hafen?", "Who won the 1998 world cup?"]
PAGES = [
    "Staff. The port employs 412 people: 37 crane drivers, 58 lashers and 12 pilots.",
    "The history of the harbour began in 1931, when the first quay was built. " * 40,
    "Tariffs. A night at the quay costs 48 euros for ships below 20 metres.",
    "Kranfahrer. Im Hafen arbeiten 37 Kranfahrer in drei Schichten.",
    "港では37人のクレーン運転士が働いている。",
    "Appendix",
]


@pytest.fixture(scope="module")
def mini():
    return Reranker.from_pretrained("mini")


def relevances(reranker, question, pages):
    return {pages[line.index]: line.relevance for line in reranker.rerank(question, pages)}


@pytest.mark.parametrize("question", QUESTIONS)
def test_alone_and_in_any_list(mini, question):
    whole = relevances(mini, question, PAGES)
    assert len(whole) == len(PAGES)
    for page in PAGES:
        assert relevances(mini, question, [page])[page] == pytest.approx(whole[page], abs=NEAR)
    assert relevances(mini, question, PAGES[::-1]) == pytest.approx(whole, abs=NEAR)
    assert relevances(mini, question, PAGES[1:4]) == pytest.approx({p: whole[p] for p in PAGES[1:4]}, abs=NEAR)


def test_in_a_batch_and_by_other_numbers_of_threads(mini):
    import torch

    before = torch.get_num_threads()
    whole = [relevances(mini, question, PAGES) for question in QUESTIONS]
    batch = mini.rerank_many([(question, PAGES) for question in QUESTIONS])
    assert [{PAGES[line.index]: line.relevance for line in found} for found in batch] == [
        pytest.approx(w, abs=NEAR) for w in whole
    ]
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            fresh = Reranker.from_pretrained("mini")
            pages = [page + " " * threads + f"({threads})" for page in PAGES]  # nothing of these pages is kept from before
            alike = relevances(fresh, QUESTIONS[0], pages)
            torch.set_num_threads(before)
            again = relevances(Reranker.from_pretrained("mini"), QUESTIONS[0], pages)
            assert alike == pytest.approx(again, abs=NEAR)
    finally:
        torch.set_num_threads(before)


def test_by_the_service(mini):
    whole = relevances(mini, QUESTIONS[0], PAGES)
    with TestClient(create_app(mini, ServerSettings(batch_wait_ms=0))) as client:
        answer = client.post("/v1/rerank", json={"query": QUESTIONS[0], "documents": PAGES}).json()
    assert {PAGES[line["index"]]: line["relevance"] for line in answer["results"]} == pytest.approx(whole, abs=NEAR)


def test_with_a_first_stage_the_list_counts_for_nothing(mini):
    from mmr5 import Page

    pages = [Page("a.pdf", number, text=text) for number, text in enumerate(PAGES, 1)]
    searcher = Searcher(mini)
    ten = {line.index: line.relevance for line in searcher.search(QUESTIONS[0], pages)}
    few = {line.index: line.relevance for line in Searcher(mini, candidates=2).search(QUESTIONS[0], pages)}
    assert all(value is not None for value in ten.values())
    assert few == pytest.approx({index: ten[index] for index in few}, abs=NEAR)


def test_nothing_answers(mini):
    from mmr5 import Page

    pages = [Page("a.pdf", number, text=text) for number, text in enumerate(PAGES, 1)]
    assert Searcher(mini).search(QUESTIONS[2], pages).answerable.verdict == "no"
    assert Searcher(mini).search(QUESTIONS[0], pages).answerable.verdict != "no"
