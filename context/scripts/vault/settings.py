"""The environment, read once into plain values. Opens no connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vault.failure import asked_wrongly

PARTS = ("falkordb", "valkey", "opencode")


@dataclass(frozen=True)
class Store:
    """A store that speaks the Redis protocol."""

    part: str
    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)

    def __str__(self) -> str:
        return f"{self.part} at {self.host}:{self.port}"


@dataclass(frozen=True)
class BucketKey:
    """An application key of Backblaze B2."""

    key_id: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    stores: dict[str, Store]
    database: Path
    target: str
    bucket_key: BucketKey | None
    keep: int
    parts: tuple[str, ...]
    # Needs room for one whole set.
    staging: Path
    # Where restore puts what it replaces.
    replaced: Path


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads every variable of backup and restore; raises VaultFailed with the variable's name."""
    target = environ.get("BACKUP_TARGET", "")
    if not target:
        raise asked_wrongly(
            "BACKUP_TARGET is not set",
            "it is b2://BUCKET/FOLDER for Backblaze B2, or any REMOTE:PATH of rclone",
        )
    data = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/root")) / ".local/share")
    return Settings(
        stores={
            "falkordb": _read_store(environ, "falkordb", 6379),
            "valkey": _read_store(environ, "valkey", 6380),
        },
        database=data / "opencode/opencode.db",
        target=target,
        bucket_key=_read_bucket_key(environ) if target.startswith("b2://") else None,
        keep=_read_number(environ, "BACKUP_KEEP", 7),
        parts=_read_parts(environ),
        staging=Path(environ.get("BACKUP_STAGING") or "/var/tmp"),
        replaced=Path(environ.get("BACKUP_REPLACED") or data / "opencode-replaced"),
    )


def _read_store(environ: Mapping[str, str], part: str, default_port: int) -> Store:
    prefix = part.upper()
    return Store(
        part=part,
        host=environ.get(f"{prefix}_HOST") or "localhost",
        port=_read_number(environ, f"{prefix}_PORT", default_port),
        username=environ.get(f"{prefix}_USERNAME") or None,
        password=_read_secret(environ, f"{prefix}_PASSWORD"),
    )


def _read_bucket_key(environ: Mapping[str, str]) -> BucketKey:
    key_id = _read_secret(environ, "B2_APPLICATION_KEY_ID")
    key = _read_secret(environ, "B2_APPLICATION_KEY")
    missing = [name for name, value in (("B2_APPLICATION_KEY_ID", key_id), ("B2_APPLICATION_KEY", key)) if not value]
    if missing:
        raise asked_wrongly(f"{' and '.join(missing)} not set", "Backblaze B2 needs both; each can also be a NAME_FILE")
    return BucketKey(key_id=str(key_id), key=str(key))


def _read_parts(environ: Mapping[str, str]) -> tuple[str, ...]:
    named = tuple(part.strip() for part in (environ.get("BACKUP_PARTS") or ",".join(PARTS)).split(","))
    for part in named:
        if part not in PARTS:
            raise asked_wrongly(f"BACKUP_PARTS names `{part}`", f"the parts are {', '.join(PARTS)}")
    return named


def _read_number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise asked_wrongly(f"{name} is `{text}`, not a number above 0")
    return int(text)


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
        raise asked_wrongly(f"{name}_FILE names `{path}`, which cannot be read: {error.strerror}") from error
