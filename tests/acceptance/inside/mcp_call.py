"""Starts the Graphiti server as OpenCode does, and calls its tools; prints what came back as JSON.

usage: mcp_call.py TOOL=JSON...      for example  search='{"query": "where"}'
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = StdioServerParameters(
    command="/opt/venv/bin/python", args=["-B", "/root/.opencode/graphiti", "serve"], env=dict(os.environ)
)


async def main(calls: list[tuple[str, dict]]) -> dict:
    async with stdio_client(SERVER) as (reading, writing), ClientSession(reading, writing) as session:
        await session.initialize()
        answer: dict = {"tools": sorted(tool.name for tool in (await session.list_tools()).tools), "calls": []}
        for name, arguments in calls:
            result = await session.call_tool(name, arguments)
            text = "\n".join(block.text for block in result.content)
            answer["calls"].append({"tool": name, "error": bool(result.is_error), "text": text})
        return answer


if __name__ == "__main__":
    asked = [argument.split("=", 1) for argument in sys.argv[1:]]
    print(json.dumps(asyncio.run(main([(name, json.loads(text)) for name, text in asked]))))
