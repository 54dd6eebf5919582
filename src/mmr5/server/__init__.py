"""The rerank server: HTTP around a :class:`mmr5.Reranker`. Needs the extra ``server``."""
