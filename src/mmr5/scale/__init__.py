"""Reranking a whole run on many machines: pieces of work, the worker that does one, the file that keeps them, Ray between."""
