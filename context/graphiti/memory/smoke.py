"""Proves that a deployment can work: the imports, FalkorDB with its indexes, Valkey. Needs no language model."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from importlib import import_module

from redis.exceptions import RedisError

from memory.settings import Settings
from memory.stores import StoreDown, connect, explain

IMPORTS = ("graphiti_core", "falkordb", "redis", "openai", "mcp", "ddtrace", "datadog_api_client", "b2sdk")


def run_smoke(settings: Settings) -> bool:
    """Prints one line a check; True when all of them passed."""
    checks: dict[str, Callable[[], Awaitable[str]]] = {
        "imports": lambda: _check_imports(),
        "indexes": lambda: _check_indexes(settings),
        "valkey": lambda: _check_valkey(settings),
    }
    return all([_run(name, check) for name, check in checks.items()])


def _run(name: str, check: Callable[[], Awaitable[str]]) -> bool:
    try:
        detail = asyncio.run(check())
    except (StoreDown, ImportError) as error:
        print(f"FAIL {name}: {error}")
        return False
    print(f"ok {name}: {detail}")
    return True


async def _check_imports() -> str:
    for name in IMPORTS:
        import_module(name)
    return f"{len(IMPORTS)} packages"


async def _check_indexes(settings: Settings) -> str:
    from memory.graph import open_driver

    async with open_driver(settings.falkordb, settings.group) as driver:
        records, _, _ = await driver.execute_query("CALL db.indexes() YIELD label RETURN label")
    if not records:
        raise StoreDown(f"{settings.falkordb} has no indexes after they were built")
    return f"{len(records)} labels of graph `{settings.group}` are indexed"


async def _check_valkey(settings: Settings) -> str:
    client = connect(settings.valkey)
    key, value = f"memory:{settings.group}:smoke", secrets.token_hex(8)
    try:
        await client.set(key, value, ex=60)
        found = await client.getdel(key)
    except (RedisError, OSError) as error:
        raise explain(settings.valkey, error) from error
    finally:
        await client.aclose()
    if found != value:
        raise StoreDown(f"{settings.valkey} did not give back what was written")
    return "wrote, read and removed a key"
