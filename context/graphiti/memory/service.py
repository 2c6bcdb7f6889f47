"""What can be asked of the memory: record, search, status. Every way in (tool, command, plugin) ends here."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory.intake import WRITER_SECONDS, Episode, Intake, open_intake
from memory.settings import Settings
from memory.stores import StoreDown, check_falkordb, check_valkey

EPISODE_SECONDS = 300
SEARCH_SECONDS = 60
WRITER_PATIENCE_SECONDS = 60


class MemoryFailed(Exception):
    """The memory could not do it; the text is one plain sentence."""


@dataclass(frozen=True)
class Recorded:
    """What became of an episode: `state` is recorded, known, waiting or disabled."""

    state: str
    detail: str


async def record(settings: Settings, episode: Episode) -> Recorded:
    """Queues an episode and moves everything that waits into the graph; raises MemoryFailed.

    Without a language model nothing is kept anywhere. Without Valkey the episode goes straight
    into the graph. Without FalkorDB it waits in Valkey for the next time.
    """
    if settings.language_model is None:
        return Recorded("disabled", "memory disabled: OPENAI_API_KEY is not set")
    try:
        async with open_intake(settings) as intake:
            is_new = await intake.accept(episode)
    except StoreDown as down:
        await _add_directly(settings, episode)
        return Recorded("recorded", f"added without de-duplication: {down}")
    if not is_new:
        return Recorded("known", "this episode was told before")
    try:
        async with open_intake(settings) as intake:
            return await _drain(settings, intake)
    except StoreDown as down:
        return Recorded("waiting", str(down))


async def search(settings: Settings, query: str, limit: int) -> list[dict[str, Any]]:
    """Finds facts for a question, best first; raises MemoryFailed."""
    from memory.graph import MemoryDisabled, open_graph

    try:
        async with asyncio.timeout(SEARCH_SECONDS), open_graph(settings) as graph:
            edges = await graph.search(query, group_ids=[settings.group], num_results=limit)
    except (StoreDown, MemoryDisabled) as error:
        raise MemoryFailed(str(error)) from error
    except Exception as error:
        raise MemoryFailed(_one_line("the search failed", error)) from error
    return [_render_fact(edge) for edge in edges]


async def status(settings: Settings) -> dict[str, Any]:
    """Says what works now; never raises."""
    return {
        "memory": "enabled" if settings.language_model else "disabled: OPENAI_API_KEY is not set",
        "falkordb": await _state(check_falkordb(settings.falkordb)),
        "valkey": await _state(check_valkey(settings.valkey)),
        "group": settings.group,
        "episodes": await _episode_counts(settings),
    }


async def _drain(settings: Settings, intake: Intake) -> Recorded:
    async with intake.writer(WRITER_PATIENCE_SECONDS) as lock:
        if lock is None:
            return Recorded("waiting", "another process is writing and will take this episode too")
        added = 0
        while (episode := await intake.oldest()) is not None:
            await lock.extend(WRITER_SECONDS, replace_ttl=True)
            try:
                await _add(settings, episode)
            except StoreDown as down:
                return Recorded("waiting", str(down))
            except MemoryFailed as failure:
                await intake.postpone(episode)
                return Recorded("waiting", str(failure))
            await intake.done()
            added += 1
        return Recorded("recorded", f"{added} added to the graph")


async def _add_directly(settings: Settings, episode: Episode) -> None:
    try:
        await _add(settings, episode)
    except StoreDown as down:
        raise MemoryFailed(f"the episode is lost, both stores are away: {down}") from down


async def _add(settings: Settings, episode: Episode) -> None:
    """Adds one episode to the graph; raises StoreDown or MemoryFailed."""
    from memory.graph import open_graph

    try:
        async with asyncio.timeout(EPISODE_SECONDS), open_graph(settings) as graph:
            await graph.add_episode(
                name=episode.name,
                episode_body=episode.body,
                source_description=episode.source,
                reference_time=datetime.fromisoformat(episode.happened),
                group_id=settings.group,
            )
    except StoreDown:
        raise
    except Exception as error:
        raise MemoryFailed(_one_line("the episode was not added", error)) from error


async def _state(check: Any) -> str:
    try:
        await check
    except StoreDown as down:
        return str(down)
    return "ok"


async def _episode_counts(settings: Settings) -> dict[str, int]:
    try:
        async with open_intake(settings) as intake:
            return await intake.counts()
    except StoreDown:
        return {}


def _render_fact(edge: Any) -> dict[str, Any]:
    return {
        "fact": edge.fact,
        "valid_from": edge.valid_at.isoformat() if edge.valid_at else None,
        "valid_until": edge.invalid_at.isoformat() if edge.invalid_at else None,
    }


def _one_line(what: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"{what}: {type(error).__name__}: {reason}" if reason else f"{what}: {type(error).__name__}"
