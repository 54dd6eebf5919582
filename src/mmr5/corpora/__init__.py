"""Corpora: documents, questions and the pages that answer them."""

from __future__ import annotations

from mmr5.corpora.folder import PdfStore
from mmr5.corpora.opening import load_corpus
from mmr5.corpora.records import Corpus, Document, Layout, PageStore, Question

__all__ = ["Corpus", "Document", "Layout", "PageStore", "PdfStore", "Question", "load_corpus"]
