"""The queue of episodes in Valkey: each accepted once, kept until the graph has it.

Keys, all under `memory:GROUP:`
    seen:ID    exists while an episode is known, so that the same one is not told twice
    waiting    list of episodes as JSON, newest left, oldest right
    failed     list of episodes that could not be added after MAX_ATTEMPTS
    writer     lock: one process at a time moves episodes into the graph
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from memory.settings import Settings
from memory.stores import connect, explain

SEEN_SECONDS = 30 * 24 * 3600
WRITER_SECONDS = 900
MAX_ATTEMPTS = 5

# One step, so that a crash cannot leave an episode marked as seen and yet not waiting.
ACCEPT = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then
  redis.call('LPUSH', KEYS[2], ARGV[1])
  return 1
end
return 0
"""


@dataclass(frozen=True)
class Episode:
    """Something that happened. `id` says when two are the same; `happened` is ISO 8601 with a zone."""

    id: str
    name: str
    body: str
    source: str
    happened: str
    attempts: int = 0

    def render(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def parse_episode(text: str) -> Episode:
    """Raises ValueError when the text is not an episode."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("an episode is a JSON object")
    try:
        episode = Episode(**fields)
    except TypeError as error:
        raise ValueError(f"not an episode: {error}") from error
    texts = (episode.id, episode.name, episode.body, episode.source, episode.happened)
    if not all(isinstance(value, str) and value for value in texts):
        raise ValueError("id, name, body, source and happened of an episode are texts and not empty")
    return episode


class Intake:
    def __init__(self, client: Redis, group: str) -> None:
        self._client = client
        self._prefix = f"memory:{group}:"

    async def accept(self, episode: Episode) -> bool:
        """Queues an episode; False when it is known already."""
        keys = (self._key(f"seen:{episode.id}"), self._key("waiting"))
        return bool(await self._client.eval(ACCEPT, len(keys), *keys, episode.render(), SEEN_SECONDS))

    async def oldest(self) -> Episode | None:
        text = await self._client.lindex(self._key("waiting"), -1)
        return None if text is None else parse_episode(text)

    async def done(self) -> None:
        """Forgets the oldest episode: the graph has it."""
        await self._client.rpop(self._key("waiting"))

    async def postpone(self, episode: Episode) -> None:
        """Puts the oldest episode, just failed, behind the others, or aside after too many attempts."""
        tried = replace(episode, attempts=episode.attempts + 1)
        target = "failed" if tried.attempts >= MAX_ATTEMPTS else "waiting"
        async with self._client.pipeline(transaction=True) as steps:
            steps.rpop(self._key("waiting"))
            steps.lpush(self._key(target), tried.render())
            await steps.execute()

    async def counts(self) -> dict[str, int]:
        return {name: await self._client.llen(self._key(name)) for name in ("waiting", "failed")}

    @asynccontextmanager
    async def writer(self, patience_seconds: float) -> AsyncIterator[Lock | None]:
        """Holds the writer's lock, or gives None when another process kept it all the time."""
        lock = self._client.lock(self._key("writer"), timeout=WRITER_SECONDS, blocking_timeout=patience_seconds)
        if not await lock.acquire():
            yield None
            return
        try:
            yield lock
        finally:
            # It may have run out while an episode took too long; the next writer has it then.
            with suppress(LockError):
                await lock.release()

    def _key(self, name: str) -> str:
        return self._prefix + name


@asynccontextmanager
async def open_intake(settings: Settings) -> AsyncIterator[Intake]:
    """Connects to Valkey; raises StoreDown, also when it goes away in between."""
    client = connect(settings.valkey)
    try:
        await client.ping()
        yield Intake(client, settings.group)
    except (RedisError, OSError) as error:
        raise explain(settings.valkey, error) from error
    finally:
        await client.aclose()
