"""Reranking a whole run on many machines: shards of work, the worker that does one, the file that keeps them, Ray between."""
