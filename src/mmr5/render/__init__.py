"""HTML and terminal rendering, shared by ``mmr5 rerank``, reports and the server. Nothing here needs a network."""
