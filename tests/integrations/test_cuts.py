"""Every framework's own spelling of the least relevance, and relevance in what it hands on."""

import asyncio

import pytest
from haystack import Document as HaystackDocument
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from integrations.conftest import QUESTION, TEXTS
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError
from mmr5.integrations.haystack import MMR5Ranker
from mmr5.integrations.langchain import MMR5Rerank
from mmr5.integrations.llama_index import MMR5Postprocessor
from mmr5.integrations.rerankers import MMR5Ranker as PlainRanker
from mmr5.integrations.sentence_transformers import MMR5CrossEncoder
from mmr5.relevance import Calibration, Setting
from mmr5.reranker import Reranker

CALIBRATION = Calibration(Setting("likelihood", "text", "none", None), 2.0, 1.5, 99.0, (1.0, 0.0, 0.0), 0.0, 0.2, 0.8)


@pytest.fixture
def calibrated():
    return Reranker(ScriptedEngine(), view="text", method="likelihood", calibrations=(CALIBRATION,))


@pytest.fixture
def cut(calibrated):
    """A relevance between the best and the second document."""
    first, second, _ = (line.relevance for line in calibrated.rerank(QUESTION, TEXTS))
    assert first > second
    return (first + second) / 2


def langchain(reranker, cut):
    compressor = MMR5Rerank(reranker=reranker, score_threshold=cut)
    documents = [LangChainDocument(page_content=text) for text in TEXTS]
    now = compressor.compress_documents(documents, QUESTION)
    assert now == asyncio.run(compressor.acompress_documents(documents, QUESTION))
    return [(d.page_content, d.metadata["relevance"]) for d in now]


def llama_index(reranker, cut):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = MMR5Postprocessor(reranker, similarity_cutoff=cut).postprocess_nodes(nodes, QueryBundle(QUESTION))
    return [(n.node.text, n.node.metadata["mmr5_relevance"]) for n in found]


def haystack(reranker, cut):
    documents = [HaystackDocument(content=text) for text in TEXTS]
    found = MMR5Ranker(reranker=reranker, score_threshold=cut).run(query=QUESTION, documents=documents)["documents"]
    asked = MMR5Ranker(reranker=reranker).run(query=QUESTION, documents=documents, score_threshold=cut)["documents"]
    assert found == asked
    return [(d.content, d.meta["relevance"]) for d in found]


@pytest.mark.parametrize("framework", [langchain, llama_index, haystack])
def test_documents_below_the_cut_are_left_out(framework, calibrated, cut):
    best = calibrated.rerank(QUESTION, TEXTS)[0]
    assert framework(calibrated, cut) == [(TEXTS[best.index], best.relevance)]
    assert len(framework(calibrated, None)) == len(TEXTS)


def test_the_other_shapes_tell_relevance(calibrated):
    expected = [line.relevance for line in calibrated.rerank(QUESTION, TEXTS)]
    assert [r.relevance for r in PlainRanker(calibrated).rank(QUESTION, TEXTS)] == expected
    assert [r["relevance"] for r in MMR5CrossEncoder(calibrated).rank(QUESTION, TEXTS)] == expected


def test_wrong_cuts_are_refused(calibrated, reader):
    with pytest.raises(ConfigError, match="score_threshold is 2"):
        MMR5Ranker(reranker=calibrated, score_threshold=2)
    with pytest.raises(ConfigError, match="needs a calibration"):
        MMR5Rerank(reranker=reader, score_threshold=0.5).compress_documents([LangChainDocument(page_content="a")], QUESTION)
