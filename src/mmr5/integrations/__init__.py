"""Adapters for other frameworks. Each lives in a module of its own, which loads its framework and no other.

``documents`` turns what a program holds into pages, ``adapter`` ranks them; the rest translate between these two and a
framework: ``langchain``, ``llama_index``, ``haystack``, ``rerankers`` and ``sentence_transformers`` (these two follow the
shape of those packages and need neither), and ``mteb`` for its benchmarks.
"""
