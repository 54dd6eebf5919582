"""A session of an agent with ``mmr5 mcp``, by the client of the official SDK, printed as Markdown.

    python scripts/mcp_session.py examples > results/mcp-session.md

Starts the server on standard streams for one folder, lists its tools and calls each of them; pictures are told by their size,
and long texts are cut.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from typing import Any

from mcp import Client, StdioServerParameters
from PIL import Image

QUESTION = "When was the harbour dredged?"
SHOWN_CHARS = 300
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("list_documents", {}),
    ("search_pages", {"question": QUESTION, "documents": ["harbour-report.pdf"], "top_n": 2}),
    ("get_page", {"document": "harbour-report.pdf", "page": 10, "question": QUESTION}),
    ("rerank_pages", {"question": QUESTION, "pages": [{"document": "harbour-report.pdf", "page": 1}, "Dredged in 1931."]}),
    ("search_pages", {"question": "Who won the cup final in 1998?", "documents": ["harbour-report.pdf"], "top_n": 1}),
    ("get_page", {"document": "../pyproject.toml", "page": 1}),
)


def shown(value: Any) -> Any:
    """A value with its long strings cut."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, str) and len(value) > SHOWN_CHARS:
        return f"{value[:SHOWN_CHARS]}… ({len(value):,} characters)"
    return value


def told(block: Any) -> str:
    """A block of an answer's content."""
    if block.type == "image":
        picture = Image.open(io.BytesIO(base64.b64decode(block.data)))
        return f"a picture of {picture.width} × {picture.height} pixels ({block.mime_type})"
    return str(shown(block.text))


async def session(folder: str) -> None:
    """Call every tool, and print what is asked and answered."""
    command = StdioServerParameters(command=sys.executable, args=["-m", "mmr5.cli.main", "mcp", folder])
    async with Client(command, read_timeout_seconds=300) as client:
        tools = (await client.list_tools()).tools
        print(f"# A session with `mmr5 mcp {folder}`\n\nRecorded by `python scripts/mcp_session.py {folder}`.\n")
        print("The tools that are listed: " + ", ".join(f"`{tool.name}`" for tool in tools) + ".")
        for name, arguments in CALLS:
            answer = await client.call_tool(name, arguments)
            print(f"\n## `{name}`\n\n```json\n{json.dumps(arguments, ensure_ascii=False)}\n```\n")
            if answer.is_error or answer.structured_content is None:
                kind = "An error" if answer.is_error else "Answer"
                print(f"{kind}:\n\n```\n" + "\n".join(told(block) for block in answer.content) + "\n```")
            else:
                print(f"```json\n{json.dumps(shown(answer.structured_content), ensure_ascii=False, indent=1)}\n```")


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1]))
