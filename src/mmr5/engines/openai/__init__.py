"""Served models: any OpenAI-compatible server."""
