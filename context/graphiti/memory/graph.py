"""Graphiti on FalkorDB. The only module that imports graphiti_core, which takes seconds: import it late."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Read when graphiti_core is imported: its usage reports would leave the machine.
os.environ.setdefault("GRAPHITI_TELEMETRY_ENABLED", "false")

from falkordb.asyncio import FalkorDB
from graphiti_core import Graphiti
from graphiti_core.cross_encoder.openai_reranker_client import OpenAIRerankerClient
from graphiti_core.driver.falkordb_driver import FalkorDriver
from graphiti_core.embedder.openai import OpenAIEmbedder, OpenAIEmbedderConfig
from graphiti_core.llm_client import LLMClient, LLMConfig, OpenAIClient
from graphiti_core.llm_client.openai_generic_client import OpenAIGenericClient
from redis.exceptions import RedisError

from memory.settings import LanguageModel, Settings, StoreAddress
from memory.stores import ANSWER_SECONDS, CONNECT_SECONDS, explain

# Its driver logs every failed query with all parameters, which hold what people said.
logging.getLogger("graphiti_core").setLevel(logging.CRITICAL)


class MemoryDisabled(Exception):
    """There is no language model, so nothing can be added or found."""

    def __init__(self) -> None:
        super().__init__("memory disabled: OPENAI_API_KEY is not set")


def require_language_model(settings: Settings) -> LanguageModel:
    if settings.language_model is None:
        raise MemoryDisabled
    return settings.language_model


@asynccontextmanager
async def open_driver(address: StoreAddress, group: str) -> AsyncIterator[FalkorDriver]:
    """Connects to FalkorDB with indexes and constraints in place; raises StoreDown."""
    try:
        driver = await asyncio.to_thread(_connect_driver, address, group)
        await driver.build_indices_and_constraints()
    except (RedisError, OSError) as error:
        raise explain(address, error) from error
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def open_graph(settings: Settings) -> AsyncIterator[Graphiti]:
    """Opens the graph for adding and searching; raises MemoryDisabled or StoreDown."""
    model = require_language_model(settings)
    async with open_driver(settings.falkordb, settings.group) as driver:
        yield Graphiti(
            graph_driver=driver,
            llm_client=_make_llm_client(model),
            embedder=_make_embedder(model),
            cross_encoder=OpenAIRerankerClient(config=_llm_config(model)),
        )


def _connect_driver(address: StoreAddress, group: str) -> FalkorDriver:
    # Runs in a thread: FalkorDB() asks the server at once and would block the event loop, and
    # FalkorDriver() inside a loop starts a second, unwatched building of the indexes.
    client = FalkorDB(
        host=address.host,
        port=address.port,
        username=address.username,
        password=address.password,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
    )
    return FalkorDriver(falkor_db=client, database=group)


def _make_llm_client(model: LanguageModel) -> LLMClient:
    # Only OpenAI itself has the Responses interface; everything compatible has chat completions.
    client_type = OpenAIClient if model.base_url is None else OpenAIGenericClient
    return client_type(config=_llm_config(model))


def _llm_config(model: LanguageModel) -> LLMConfig:
    return LLMConfig(
        api_key=model.api_key,
        base_url=model.base_url,
        model=model.model,
        small_model=model.model,
    )


def _make_embedder(model: LanguageModel) -> OpenAIEmbedder:
    config = OpenAIEmbedderConfig(api_key=model.api_key, base_url=model.base_url)
    if model.embedding_model is not None:
        config = config.model_copy(update={"embedding_model": model.embedding_model})
    return OpenAIEmbedder(config=config)
