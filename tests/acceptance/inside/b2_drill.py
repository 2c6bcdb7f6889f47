"""Backup, wipe and restore against b2sdk's simulator of Backblaze B2, which lives only as long as this process.

Runs the image's own backup and restore; only the login is replaced, so that it goes to the simulator. Prints one line a
step; the exit code tells whether all of them came out as expected.
"""

import contextlib
import io
import os
import runpy
import subprocess
import sys

sys.path.insert(0, "/app/scripts")

from b2sdk.v3 import B2Api, B2HttpApiConfig, InMemoryAccountInfo, RawSimulator
from vault import remotes

API = B2Api(InMemoryAccountInfo(), api_config=B2HttpApiConfig(_raw_api_class=RawSimulator))


def login(key: remotes.BucketKey) -> B2Api:
    API.authorize_account(application_key_id=key.key_id, application_key=key.key, realm="production")
    return API


def run(script: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Runs a script of the image in this process, where the simulator is."""
    said = io.StringIO()
    os.environ.update(environment)
    program = runpy.run_path(f"/app/scripts/{script}")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = program["main"](list(arguments))
    return code, said.getvalue().strip()


def expect(step: str, holds: bool, evidence: object) -> None:
    print(f"{step}: {'as expected' if holds else 'NOT as expected'}: {evidence}")
    if not holds:
        sys.exit(1)


def valkey(*command: str) -> str:
    return subprocess.run(
        ["redis-cli", "-p", "6380", *command], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    real_login, remotes.make_b2_api = remotes.make_b2_api, login
    assert real_login is not login
    key_id, key = API.session.raw_api.create_account()
    API.authorize_account(application_key_id=key_id, application_key=key, realm="production")
    bucket = API.create_bucket("drill", "allPrivate")
    good = {
        "BACKUP_TARGET": "b2://drill/servers/one",
        "B2_APPLICATION_KEY_ID": key_id,
        "B2_APPLICATION_KEY": key,
        "BACKUP_KEEP": "1",
    }

    valkey("SET", "drill", "before")
    code, said = run("backup", **good)
    expect("backup", code == 0, said)
    files = [version.file_name for version, _ in bucket.ls(recursive=True)]
    expect("files", len(files) == 4 and all(name.startswith("servers/one/opencode-") for name in files), files)
    valkey("FLUSHALL")
    code, said = run("restore", "latest", **good)
    expect("restore", code == 0 and valkey("GET", "drill") == "before", said)

    code, said = run("backup", **good)
    versions = list(bucket.ls(latest_only=False, recursive=True))
    expect("retention", code == 0 and len(versions) == 4, f"{len(versions)} file versions are left")

    newest = next(
        version.file_name for version, _ in bucket.ls(recursive=True) if version.file_name.endswith("valkey.rdb")
    )
    bucket.upload_bytes(b"REDIS0011 not what was sent", newest)
    code, said = run("restore", "latest", **good)
    expect("damaged", code == 1 and "is damaged" in said and valkey("GET", "drill") == "before", said)

    code, said = run("backup", **{**good, "B2_APPLICATION_KEY": "wrong"})
    expect(
        "bad key", code == 1 and said.startswith("error: could not open b2://drill") and "\nTraceback" not in said, said
    )
    run("backup", **good)
    code, said = run("backup", **{**good, "BACKUP_TARGET": "b2://nowhere"})
    expect("no bucket", code == 1 and "could not open b2://nowhere" in said, said)


if __name__ == "__main__":
    main()
