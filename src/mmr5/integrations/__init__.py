"""Adapters for other frameworks. Each lives in a module of its own, which loads its framework and no other.

``adapter`` ranks what a program holds (:mod:`mmr5.documents` turns it into pages); the rest translate between it and a
framework: ``langchain``, ``llama_index``, ``haystack``, ``rerankers`` and ``sentence_transformers`` (these two follow the
shape of those packages and need neither), and ``mteb`` for its benchmarks.
"""
