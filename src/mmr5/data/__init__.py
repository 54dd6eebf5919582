"""Corpora and what is made from them: candidates, reasoning, training rows."""

from __future__ import annotations

from mmr5.data.corpus import Corpus, Document, Layout, PageStore, PdfStore, Question, load_corpus

__all__ = ["Corpus", "Document", "Layout", "PageStore", "PdfStore", "Question", "load_corpus"]
