"""Where sets are kept: a Backblaze B2 bucket by b2sdk, or anything rclone knows. Both hold one folder a set.

Credentials come from the environment only. rclone's own come as RCLONE_CONFIG_<REMOTE>_* variables.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vault.failure import VaultFailed, asked_wrongly
from vault.sets import SUMS, is_set_name
from vault.settings import BucketKey, Settings

RCLONE_SECONDS = 3600


class Remote(Protocol):
    def files(self) -> list[str]:
        """Gives the paths of all files, as SET/FILE."""

    def upload(self, directory: Path) -> None:
        """Sends a set, SHA256SUMS last, and makes sure that it arrived as it was sent."""

    def download(self, name: str, directory: Path) -> None:
        """Fetches the files of a set into a directory."""

    def delete(self, name: str) -> None:
        """Removes a set."""


def open_remote(settings: Settings) -> Remote:
    """Chooses by BACKUP_TARGET; raises VaultFailed when it cannot be used."""
    if settings.target.startswith("b2://"):
        if settings.bucket_key is None:
            raise asked_wrongly("a b2:// target needs an application key")
        return BucketRemote(settings.target, settings.bucket_key)
    return RcloneRemote(settings.target)


def complete_sets(remote: Remote) -> list[str]:
    """The names of sets that arrived whole, oldest first."""
    names = (path.split("/") for path in remote.files() if path.endswith(f"/{SUMS}"))
    return sorted(name[0] for name in names if len(name) == 2 and is_set_name(name[0]))


def prune_sets(remote: Remote, keep: int) -> list[str]:
    """Removes all but the newest complete sets, and incomplete ones; gives the names of those removed."""
    kept = set(complete_sets(remote)[-keep:])
    present = {path.split("/")[0] for path in remote.files() if "/" in path}
    surplus = sorted(name for name in present - kept if is_set_name(name))
    for name in surplus:
        remote.delete(name)
    return surplus


def _in_upload_order(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=lambda path: (path.name == SUMS, path.name))


class RcloneRemote:
    def __init__(self, target: str) -> None:
        self._target = target.rstrip("/")

    def files(self) -> list[str]:
        # A folder that nobody made yet is an empty one (exit code 3); a remote that is not configured is not.
        return self._run("lsf", "--recursive", "--files-only", self._target, accepted=(0, 3)).splitlines()

    def upload(self, directory: Path) -> None:
        place = f"{self._target}/{directory.name}"
        for path in _in_upload_order(directory):
            self._run("copyto", str(path), f"{place}/{path.name}")
        # Reads everything back: some remotes, such as WebDAV, have no hashes to compare.
        self._run("check", "--download", "--one-way", str(directory), place)

    def download(self, name: str, directory: Path) -> None:
        self._run("copy", f"{self._target}/{name}", str(directory))

    def delete(self, name: str) -> None:
        self._run("purge", f"{self._target}/{name}")

    def _run(self, *arguments: str, accepted: tuple[int, ...] = (0,)) -> str:
        # No configuration file: one that happens to lie around must not decide where data goes.
        command = [
            "rclone",
            "--config",
            "",
            "--retries",
            "2",
            "--low-level-retries",
            "3",
            "--contimeout",
            "10s",
            *arguments,
        ]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RCLONE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise VaultFailed(f"rclone {arguments[0]} did not end within {RCLONE_SECONDS} s") from error
        if done.returncode not in accepted:
            raise VaultFailed(f"rclone could not {arguments[0]} at {self._target}: {_rclone_reason(done.stderr)}")
        return done.stdout


def _rclone_reason(stderr: str) -> str:
    # Lines look like `2026/11/24 02:03:04 ERROR : file: reason`.
    lines = [line for line in stderr.splitlines() if "NOTICE" not in line and line.strip()]
    return lines[-1][20:] if lines else "no reason given"


class BucketRemote:
    def __init__(self, target: str, key: BucketKey) -> None:
        bucket_name, _, folder = target.removeprefix("b2://").partition("/")
        self._prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        self._target = target
        with self._trying("open"):
            self._bucket = make_b2_api(key).get_bucket_by_name(bucket_name)

    def files(self) -> list[str]:
        with self._trying("list"):
            found = self._bucket.ls(self._prefix, recursive=True)
            return [version.file_name.removeprefix(self._prefix) for version, _ in found]

    def upload(self, directory: Path) -> None:
        with self._trying("upload to"):
            for path in _in_upload_order(directory):
                # B2 refuses an upload whose SHA-1 differs from the one b2sdk sends along.
                self._bucket.upload_local_file(str(path), f"{self._prefix}{directory.name}/{path.name}")

    def download(self, name: str, directory: Path) -> None:
        in_set = [path for path in self.files() if path.startswith(f"{name}/") and path.count("/") == 1]
        with self._trying("download from"):
            for path in in_set:
                self._bucket.download_file_by_name(self._prefix + path).save_to(directory / path.rpartition("/")[2])

    def delete(self, name: str) -> None:
        with self._trying("delete from"):
            found = self._bucket.ls(f"{self._prefix}{name}/", latest_only=False, recursive=True)
            for version, _ in list(found):
                self._bucket.api.delete_file_version(version.id_, version.file_name)

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        from b2sdk.v3.exception import B2Error

        try:
            yield
        except (B2Error, OSError) as error:
            reason = " ".join(str(error).split()) or "no reason given"
            raise VaultFailed(f"could not {what} {self._target}: {type(error).__name__}: {reason}") from error


def make_b2_api(key: BucketKey):
    """Logs in to Backblaze B2. Keeps nothing on disk."""
    from b2sdk.v3 import B2Api, InMemoryAccountInfo

    api = B2Api(InMemoryAccountInfo())
    api.authorize_account(application_key_id=key.key_id, application_key=key.key)
    return api
