"""The memory as tools for OpenCode: MCP over standard input and output, logs on standard error."""

import json
import uuid
from datetime import UTC, datetime

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from memory import service
from memory.intake import Episode
from memory.settings import Settings


def make_server(settings: Settings) -> MCPServer:
    server = MCPServer(
        "graphiti",
        instructions="Long-term memory of this OpenCode server: facts from earlier sessions, with when they held.",
        log_level="WARNING",
    )

    @server.tool(description="Says whether the memory works: language model, FalkorDB, Valkey, episodes that wait.")
    async def status() -> str:
        return json.dumps(await service.status(settings), indent=2)

    @server.tool(description="Finds facts in the memory that answer a question, best first.")
    async def search(query: str, limit: int = 10) -> str:
        try:
            facts = await service.search(settings, query, max(1, min(limit, 50)))
        except service.MemoryFailed as failure:
            raise ToolError(str(failure)) from failure
        return json.dumps(facts, indent=2, ensure_ascii=False)

    @server.tool(description="Adds something worth remembering to the memory. One episode is one event or statement.")
    async def add(name: str, text: str) -> str:
        episode = Episode(
            id=str(uuid.uuid4()), name=name, body=text, source="tool call", happened=datetime.now(UTC).isoformat()
        )
        try:
            outcome = await service.record(settings, episode)
        except service.MemoryFailed as failure:
            raise ToolError(str(failure)) from failure
        return f"{outcome.state}: {outcome.detail}"

    return server
