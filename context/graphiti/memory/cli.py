"""The memory as commands. Standard output is data, standard error is talk.

Exit codes: 0 done, 1 the memory could not do it, 2 asked wrongly.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence

from memory.settings import Settings, SettingsError, read_settings


def main(arguments: Sequence[str]) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="graphiti: %(levelname)s %(message)s")
    asked = _parse_arguments(arguments)
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return asked.run(settings, asked)


def _parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="graphiti", description="The image's long-term memory.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("serve", help="MCP server on standard input and output").set_defaults(run=_serve)
    commands.add_parser("record", help="record the episode on standard input (JSON)").set_defaults(run=_record)
    search = commands.add_parser("search", help="print the facts that answer a question, as JSON")
    search.add_argument("query")
    search.add_argument("--limit", type=int, default=10)
    search.set_defaults(run=_search)
    commands.add_parser("status", help="print what works now, as JSON").set_defaults(run=_status)
    commands.add_parser("smoke", help="check imports, indexes and Valkey").set_defaults(run=_smoke)
    return parser.parse_args(arguments)


def _serve(settings: Settings, _asked: argparse.Namespace) -> int:
    from memory.server import make_server

    make_server(settings).run("stdio")
    return 0


def _record(settings: Settings, _asked: argparse.Namespace) -> int:
    from memory.intake import parse_episode
    from memory.service import MemoryFailed, record

    try:
        episode = parse_episode(sys.stdin.read())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        outcome = asyncio.run(record(settings, episode))
    except MemoryFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    print(json.dumps({"state": outcome.state, "detail": outcome.detail}))
    return 0


def _search(settings: Settings, asked: argparse.Namespace) -> int:
    from memory.service import MemoryFailed, search

    try:
        facts = asyncio.run(search(settings, asked.query, asked.limit))
    except MemoryFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    print(json.dumps(facts, indent=2, ensure_ascii=False))
    return 0


def _status(settings: Settings, _asked: argparse.Namespace) -> int:
    from memory.service import status

    print(json.dumps(asyncio.run(status(settings)), indent=2))
    return 0


def _smoke(settings: Settings, _asked: argparse.Namespace) -> int:
    from memory.smoke import run_smoke

    return 0 if run_smoke(settings) else 1
