"""A dump back into a running store, over the network: we play the primary of a replication.

A store that is told `REPLICAOF us` asks for all data, gets the RDB file, and replaces what it holds by it. That needs
no access to its volume and no restart, and works for module data (FalkorDB's graphs) as for plain keys. The dialogue is
the full synchronisation of the Redis replication protocol:

    store   PING, REPLCONF ..., PSYNC ? -1
    we      +PONG, +OK, +FULLRESYNC <id> 0, $<length> and the file
"""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from vault.failure import VaultFailed
from vault.settings import Store

CHUNK = 1 << 20
HANDSHAKE_SECONDS = 60
LOAD_SECONDS = 1800


def load_dump(store: Store, dump: Path) -> None:
    """Replaces everything a store holds by a dump; raises VaultFailed."""
    try:
        client = Redis(
            host=store.host,
            port=store.port,
            username=store.username,
            password=store.password,
            socket_connect_timeout=5,
            socket_timeout=60,
            decode_responses=True,
        )
        with client:
            _require_lone_primary(client, store)
            with _serve_dump(client, dump) as feed:
                _follow(client, store, feed)
    except (RedisError, OSError) as error:
        raise VaultFailed(f"could not load {dump.name} into {store}: {error}") from error


class _Feed:
    """What the thread that plays the primary tells."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.sent = threading.Event()
        # The store keeps its connection for as long as it is our replica, so an end before that is a refusal.
        self.ended = threading.Event()


def _require_lone_primary(client: Redis, store: Store) -> None:
    replication = client.info("replication")
    if replication.get("role") != "master" or int(replication.get("connected_slaves", 0)) > 0:
        raise VaultFailed(
            f"{store} takes part in a replication", "end it first: a restore would spread or be overwritten"
        )


def _follow(client: Redis, store: Store, feed: _Feed) -> None:
    """Makes the store load the dump, and a primary of its own again, whatever happens."""
    client.execute_command("REPLICAOF", feed.host, feed.port)
    try:
        _wait_until_loaded(client, store, feed)
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")


def _wait_until_loaded(client: Redis, store: Store, feed: _Feed) -> None:
    start = time.monotonic()
    while time.monotonic() - start < LOAD_SECONDS:
        ended = feed.ended.is_set()
        if feed.sent.is_set() and client.info("replication").get("master_link_status") == "up":
            return
        if ended:
            raise VaultFailed(f"{store} did not take the dump; its log says why")
        if not feed.sent.is_set() and time.monotonic() - start > HANDSHAKE_SECONDS:
            raise VaultFailed(f"{store} did not fetch the dump from {feed.host}:{feed.port}")
        time.sleep(0.1)
    raise VaultFailed(f"{store} did not load the dump within {LOAD_SECONDS} s")


@contextmanager
def _serve_dump(client: Redis, dump: Path) -> Iterator[_Feed]:
    # The address by which we reach the store is one by which it reaches us.
    connection = client.connection_pool.get_connection()
    own, peer = connection._sock.getsockname(), connection._sock.getpeername()
    family = connection._sock.family
    client.connection_pool.release(connection)
    with socket.create_server((own[0], 0), family=family) as listener:
        listener.settimeout(HANDSHAKE_SECONDS)
        feed = _Feed(own[0], listener.getsockname()[1])
        thread = threading.Thread(target=_play_primary, args=(listener, peer[0], dump, feed), daemon=True)
        thread.start()
        yield feed


def _play_primary(listener: socket.socket, peer: str, dump: Path, feed: _Feed) -> None:
    try:
        while True:
            connection, address = listener.accept()
            with connection:
                # Nobody but the store may read the dump.
                if address[0] == peer:
                    _serve_replica(connection, dump, feed)
                    return
    except OSError:
        # Told to the main thread as an early end.
        pass
    finally:
        feed.ended.set()


def _serve_replica(connection: socket.socket, dump: Path, feed: _Feed) -> None:
    connection.settimeout(LOAD_SECONDS)
    commands = connection.makefile("rb")
    while words := _read_command(commands):
        name = words[0].upper()
        if name == b"PING":
            connection.sendall(b"+PONG\r\n")
        elif name == b"PSYNC":
            _send_dump(connection, dump)
            feed.sent.set()
        elif name != b"REPLCONF" or words[1].upper() != b"ACK":
            # AUTH and the other REPLCONFs; an ACK has no answer.
            connection.sendall(b"+OK\r\n")


def _send_dump(connection: socket.socket, dump: Path) -> None:
    identity = secrets.token_hex(20)
    connection.sendall(f"+FULLRESYNC {identity} 0\r\n${dump.stat().st_size}\r\n".encode())
    with dump.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            connection.sendall(chunk)


def _read_command(stream) -> list[bytes]:
    """Reads one command in the array form; an empty list at the end."""
    head = stream.readline()
    if not head.startswith(b"*"):
        return head.split()
    words = []
    for _ in range(int(head[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length))
        stream.read(2)
    return words
