"""What is kept on disk and in memory: files written whole or not at all, a journal, files of JSON lines, a bounded memory."""
