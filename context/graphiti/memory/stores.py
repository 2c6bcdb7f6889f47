"""Connections to FalkorDB and Valkey, and whether they answer. Knows nothing of graphs or queues."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from memory.settings import StoreAddress

CONNECT_SECONDS = 3
ANSWER_SECONDS = 30


class StoreDown(Exception):
    """A store cannot be used now; the text is one plain sentence that names it."""


def connect(address: StoreAddress) -> Redis:
    """Makes a client; the connection itself opens with the first command."""
    return Redis(
        host=address.host,
        port=address.port,
        username=address.username,
        password=address.password,
        decode_responses=True,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        # A store that is down is reported at once; whoever asked decides about another try.
        retry=Retry(NoBackoff(), 0),
    )


def explain(address: StoreAddress, error: Exception) -> StoreDown:
    """Turns a client's error into a sentence, without the client's stack of causes."""
    if isinstance(error, (RedisError, OSError)):
        reason = str(error).strip().rstrip(".") or type(error).__name__
        return StoreDown(f"{address} does not answer: {reason}")
    return StoreDown(f"{address} cannot be used: {type(error).__name__}: {error}")


async def check_valkey(address: StoreAddress) -> None:
    """Raises StoreDown unless the store answers a PING."""
    client = connect(address)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise explain(address, error) from error
    finally:
        await client.aclose()


async def check_falkordb(address: StoreAddress) -> None:
    """Raises StoreDown unless the store answers a graph command: a plain Redis does not."""
    client = connect(address)
    try:
        await client.execute_command("GRAPH.LIST")
    except (RedisError, OSError) as error:
        if "unknown command" in str(error).lower():
            raise StoreDown(f"{address} answers, but has no graph module") from error
        raise explain(address, error) from error
    finally:
        await client.aclose()
