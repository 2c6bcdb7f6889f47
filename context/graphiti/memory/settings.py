"""The environment, read once into plain values. Opens no connection and imports no client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(Exception):
    """A variable is set to something that cannot be used."""


@dataclass(frozen=True)
class StoreAddress:
    """Where a store listens and who we are there; the password never shows in a repr."""

    name: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.name} at {self.host}:{self.port}"


@dataclass(frozen=True)
class LanguageModel:
    """The OpenAI-compatible endpoint that extracts facts and embeds text; None means the client's default."""

    api_key: str = field(repr=False)
    base_url: str | None = None
    model: str | None = None
    embedding_model: str | None = None


@dataclass(frozen=True)
class Settings:
    falkordb: StoreAddress
    valkey: StoreAddress
    group: str
    language_model: LanguageModel | None


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads every variable of the memory; raises SettingsError with the variable's name."""
    return Settings(
        falkordb=_read_store(environ, "FalkorDB", "FALKORDB", default_port=6379),
        valkey=_read_store(environ, "Valkey", "VALKEY", default_port=6380),
        group=_read_group(environ),
        language_model=_read_language_model(environ),
    )


def _read_store(environ: Mapping[str, str], name: str, prefix: str, default_port: int) -> StoreAddress:
    return StoreAddress(
        name=name,
        host=environ.get(f"{prefix}_HOST") or "localhost",
        port=_read_port(environ, f"{prefix}_PORT", default_port),
        username=environ.get(f"{prefix}_USERNAME") or None,
        password=_read_secret(environ, f"{prefix}_PASSWORD"),
    )


def _read_port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise SettingsError(f"{name} is `{text}`, which is not a port")
    return int(text)


def _read_group(environ: Mapping[str, str]) -> str:
    # Graphiti stores each group as a FalkorDB graph of that name and refuses other characters.
    group = environ.get("GRAPHITI_GROUP") or "opencode"
    if not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in group):
        raise SettingsError(f"GRAPHITI_GROUP is `{group}`: only letters, digits, `-` and `_` are possible")
    return group


def _read_language_model(environ: Mapping[str, str]) -> LanguageModel | None:
    api_key = _read_secret(environ, "OPENAI_API_KEY")
    if api_key is None:
        return None
    return LanguageModel(
        api_key=api_key,
        base_url=environ.get("OPENAI_BASE_URL") or None,
        model=environ.get("GRAPHITI_LLM_MODEL") or None,
        embedding_model=environ.get("GRAPHITI_EMBEDDING_MODEL") or None,
    )


def _read_secret(environ: Mapping[str, str], name: str) -> str | None:
    """Takes NAME, or else the content of the file that NAME_FILE names."""
    if environ.get(name):
        return environ[name]
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except OSError as error:
        raise SettingsError(f"{name}_FILE names `{path}`, which cannot be read: {error.strerror}") from error
