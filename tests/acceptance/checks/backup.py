"""Backup, wipe, restore against rclone's local and WebDAV remotes and b2sdk's simulator; then all that goes wrong."""

from collections.abc import Mapping

from checks.common import (
    FALKORDB,
    PYTHON,
    VALKEY,
    Program,
    ask,
    cli,
    plain,
    running,
    start_store,
    wait_for_health,
    wait_until,
)
from places import IDLE, SERVER, Done, Place, PlaceMaker
from report import Report, expect

CHECKS = (
    "backup-local-restore-gives-the-data-back",
    "restore-keeps-the-old-data",
    "restored-database-opens-in-opencode",
    "backup-webdav-restore-gives-the-data-back",
    "backup-b2-simulator-drill",
    "backup-with-store-passwords",
    "backup-removes-the-oldest",
    "backup-second-run-at-once",
    "backup-missing-target",
    "backup-missing-credential",
    "backup-unknown-remote",
    "backup-full-disk",
    "backup-store-down",
    "restore-refuses-a-damaged-set",
    "restore-refuses-an-incomplete-set",
    "restore-refuses-an-open-database",
    "restore-puts-the-old-data-back-when-loading-fails",
)

SETS = "/srv/sets"
LOCAL = {"BACKUP_TARGET": SETS}
WEBDAV = {
    "BACKUP_TARGET": "nas:server",
    "RCLONE_CONFIG_NAS_TYPE": "webdav",
    "RCLONE_CONFIG_NAS_URL": "http://127.0.0.1:8092",
}
DATABASE = "/root/.local/share/opencode/opencode.db"
PASSWORD = "store pass'word"


def check_backup(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        place = maker.boot(command=IDLE)
        try:
            falkordb, valkey = start_store(place, FALKORDB), start_store(place, VALKEY)
            session = _make_database(place)
            _check_round_trips(report, place, session)
            _check_housekeeping(report, place)
            _check_refusals(report, place)
            _check_bad_sets(report, place)
            _check_rollback(report, place)
            valkey.stop()
            _check_store_down(report, place)
            falkordb.stop()
            _check_passwords(report, place)
        finally:
            place.close()


def _check_round_trips(report: Report, place: Place, session: str) -> None:
    with report.check("backup-local-restore-gives-the-data-back") as details:
        details.append(_round_trip(place, LOCAL, "local"))
    with report.check("restore-keeps-the-old-data"):
        # What the restore replaced was the wiped state with one mark in it.
        kept = place.run(["sh", "-c", "ls /root/.local/share/opencode-replaced/*/"]).out.split()
        expect({"falkordb.rdb", "valkey.rdb"} <= set(kept), str(kept))
        mark = place.run(["sh", "-c", "grep -c replaced-mark /root/.local/share/opencode-replaced/*/valkey.rdb"])
        expect(mark.out.strip() == "1", mark.text)
    with report.check("restored-database-opens-in-opencode"), running(place, SERVER):
        wait_for_health(place)
        found = [item["id"] for item in ask(place, "/session")]
        expect(session in found, f"sessions: {found}")
    with report.check("backup-webdav-restore-gives-the-data-back") as details:
        server = ["rclone", "--config", "", "serve", "webdav", "--addr", "127.0.0.1:8092", "/srv/webdav"]
        place.run(["mkdir", "-p", "/srv/webdav"])
        with running(place, server):
            wait_until(lambda: place.run(["curl", "--silent", "http://127.0.0.1:8092"]).code == 0, 10, "WebDAV answers")
            details.append(_round_trip(place, WEBDAV, "webdav"))
    with report.check("backup-b2-simulator-drill") as details:
        done = place.run([PYTHON, "-B", "/acceptance/b2_drill.py"], timeout=120)
        expect(done.code == 0, done.text[-600:])
        details.append(f"{len(done.out.splitlines())} steps")


def _check_housekeeping(report: Report, place: Place) -> None:
    with report.check("backup-removes-the-oldest"):
        before = _sets(place)
        place.run(["mkdir", f"{SETS}/not-a-set", f"{SETS}/opencode-20200101T000000Z"])
        place.run(["touch", f"{SETS}/not-a-set/file", f"{SETS}/opencode-20200101T000000Z/valkey.rdb"])
        for _ in range(2):
            done = _backup(place, {**LOCAL, "BACKUP_KEEP": "2"})
            expect(done.code == 0, done.text)
        after = _sets(place)
        expect(len(after) == 2 and not set(before) & set(after), f"{before} became {after}")
        left = place.run(["ls", SETS]).out.split()
        expect("not-a-set" in left and "opencode-20200101T000000Z" not in left, f"left: {left}")
    with report.check("backup-second-run-at-once"):
        # Valkey keeps the first backup waiting for its dump until the others have been refused.
        before = _sets(place)
        cli(place, 6380, "CONFIG", "SET", "repl-diskless-sync-delay", "600")
        first = Program(place, ["/app/scripts/backup"], LOCAL)
        wait_until(
            lambda: place.run(["flock", "-n", "/run/opencode-backup.lock", "true"]).code == 1, 30, "the lock is held"
        )
        for done in (_backup(place, LOCAL), _restore(place, LOCAL)):
            _expect_error(done, 1, "another backup or restore is running")
        expect(first.ended() is None and _sets(place) == before, "the first backup did not wait")
        cli(place, 6380, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        wait_until(lambda: first.ended() is not None, 60, "the first backup ends")
        expect(first.ended() == 0 and len(_sets(place)) == len(before) + 1, first.log())


def _check_refusals(report: Report, place: Place) -> None:
    with report.check("backup-missing-target"):
        _expect_error(_backup(place, {}), 2, "BACKUP_TARGET is not set")
    with report.check("backup-missing-credential"):
        done = _backup(place, {"BACKUP_TARGET": "b2://bucket", "B2_APPLICATION_KEY_ID": "id"})
        _expect_error(done, 2, "B2_APPLICATION_KEY not set")
    with report.check("backup-unknown-remote"):
        _expect_error(_backup(place, {"BACKUP_TARGET": "nowhere:x"}), 1, "rclone could not lsf at nowhere:x")
    with report.check("backup-full-disk"):
        before = _sets(place)
        place.run(["sh", "-c", "cat /dev/zero >/dev/shm/filler 2>/dev/null"])
        done = _backup(place, {**LOCAL, "BACKUP_STAGING": "/dev/shm"})
        _expect_error(done, 1, "/dev/shm")
        expect(_sets(place) == before, "the kept sets changed")
        expect(place.run(["ls", "/dev/shm"]).out.split() == ["filler"], "something was left behind")
        done = _restore(place, {**LOCAL, "BACKUP_STAGING": "/dev/shm"})
        _expect_error(done, 1, "")
        expect(cli(place, 6380, "GET", "word") == "webdav", "the data changed")
        place.run(["rm", "/dev/shm/filler"])


def _check_bad_sets(report: Report, place: Place) -> None:
    newest = f"{SETS}/{_sets(place)[-1]}"
    with report.check("restore-refuses-a-damaged-set"):
        place.run(
            ["sh", "-c", f"cp -a {newest} /tmp/good; printf x | dd of={newest}/falkordb.rdb bs=1 seek=40 conv=notrunc"]
        )
        _expect_untouched(place, _restore(place, LOCAL), "is damaged: falkordb.rdb has sha256")
        place.run(["sh", "-c", f"cp -a /tmp/good/. {newest}; rm {newest}/valkey.rdb"])
        _expect_untouched(place, _restore(place, LOCAL), "do not name the same: valkey.rdb")
        place.run(["cp", "-a", "/tmp/good/.", newest])
    with report.check("restore-refuses-an-incomplete-set"):
        place.run(["rm", f"{newest}/SHA256SUMS"])
        name = newest.rpartition("/")[2]
        _expect_untouched(place, _restore(place, LOCAL, name), f"no complete backup set `{name}`", code=2)
        place.run(["cp", "-a", "/tmp/good/.", newest])
    with report.check("restore-refuses-an-open-database"), running(place, SERVER):
        wait_for_health(place)
        _expect_untouched(place, _restore(place, LOCAL), "opencode.db is in use")
        # The stores alone can be restored while the server runs.
        done = _restore(place, {**LOCAL, "BACKUP_PARTS": "falkordb,valkey"})
        expect(done.code == 0, done.text)


def _check_rollback(report: Report, place: Place) -> None:
    with report.check("restore-puts-the-old-data-back-when-loading-fails"):
        # A set that is whole, but whose Valkey dump holds graphs, which Valkey cannot load.
        name = "opencode-20990101T000000Z"
        script = f"cp -a /tmp/good {SETS}/{name} && cd {SETS}/{name} && cp falkordb.rdb valkey.rdb"
        done = place.run(["sh", "-c", f"{script} && sha256sum *.rdb *.db >SHA256SUMS"])
        expect(done.code == 0, done.text)
        cli(place, 6379, "SET", "only-here", "x")
        done = _restore(place, {**LOCAL, "BACKUP_PARTS": "falkordb,valkey"}, name)
        _expect_error(done, 1, "valkey at localhost:6380 did not take the dump")
        expect("everything holds its old data again" in done.err, done.text)
        expect(cli(place, 6380, "GET", "word") == "webdav", "Valkey's old data is not back")
        expect(cli(place, 6379, "GET", "only-here") == "x", "FalkorDB, restored before Valkey failed, was not put back")
        expect("role:master" in cli(place, 6380, "INFO", "replication"), "the store is still a replica")
        place.run(["rm", "-r", f"{SETS}/{name}"])


def _check_store_down(report: Report, place: Place) -> None:
    with report.check("backup-store-down"):
        before = _sets(place)
        _expect_error(_backup(place, LOCAL), 1, "valkey at localhost:6380 does not answer")
        expect(_sets(place) == before, "the kept sets changed")
        done = _backup(place, {**LOCAL, "BACKUP_PARTS": "falkordb,opencode"})
        expect(done.code == 0, done.text)


def _check_passwords(report: Report, place: Place) -> None:
    with report.check("backup-with-store-passwords"):
        start_store(place, FALKORDB, "--requirepass", PASSWORD)
        start_store(place, VALKEY, "--requirepass", PASSWORD)
        passwords = {"FALKORDB_PASSWORD": PASSWORD, "VALKEY_PASSWORD": PASSWORD, "REDISCLI_AUTH": PASSWORD}
        _expect_error(_backup(place, LOCAL), 1, "falkordb at localhost:6379 does not answer: NOAUTH")
        place.run(["redis-cli", "-p", "6380", "SET", "word", "locked"], passwords)
        done = _backup(place, {**LOCAL, **passwords})
        expect(done.code == 0, done.text)
        place.run(["redis-cli", "-p", "6380", "FLUSHALL"], passwords)
        done = _restore(place, {**LOCAL, **passwords})
        expect(done.code == 0, done.text)
        expect(
            place.run(["redis-cli", "-p", "6380", "GET", "word"], passwords).out.strip() == "locked",
            "the data is not back",
        )


def _make_database(place: Place) -> str:
    """Has OpenCode itself make its database; gives the session in it."""
    with running(place, SERVER):
        wait_for_health(place)
        return ask(place, "/session", {"title": "kept"})["id"]


def _round_trip(place: Place, target: Mapping[str, str], word: str) -> str:
    """Writes, backs up, wipes, marks what is there now, restores, compares."""
    cli(place, 6379, "GRAPH.QUERY", "drill", f"MERGE (n:Kept {{word: '{word}'}})-[:WITH]->(:Friend)")
    cli(place, 6380, "SET", "word", word)
    cli(place, 6380, "RPUSH", f"list-{word}", "one", "two")
    done = _backup(place, target)
    expect(done.code == 0, done.text)
    cli(place, 6379, "FLUSHALL")
    cli(place, 6380, "FLUSHALL")
    cli(place, 6380, "SET", "replaced-mark", "x")
    place.run(["sh", "-c", f"rm -f {DATABASE}*"])
    done = _restore(place, target)
    expect(done.code == 0, done.text)
    graph = cli(place, 6379, "GRAPH.QUERY", "drill", "MATCH (n:Kept)-[:WITH]->(:Friend) RETURN n.word")
    expect(word in graph, f"the graph: {graph}")
    expect(cli(place, 6380, "GET", "word") == word, "the key is not back")
    expect(cli(place, 6380, "LRANGE", f"list-{word}", "0", "-1").split() == ["one", "two"], "the list is not back")
    expect(cli(place, 6380, "EXISTS", "replaced-mark") == "0", "the restore mixed old data with new")
    for port in (6379, 6380):
        expect("role:master" in cli(place, port, "INFO", "replication"), f"the store on port {port} is still a replica")
    size = place.run(["sh", "-c", f"stat -c %s {DATABASE}"])
    expect(size.code == 0, "the database is not back")
    return f"database {int(size.out) // 1024} KiB"


def _backup(place: Place, environment: Mapping[str, str]) -> Done:
    return place.run(["/app/scripts/backup"], environment, timeout=120)


def _restore(place: Place, environment: Mapping[str, str], name: str = "latest") -> Done:
    return place.run(["/app/scripts/restore", name], environment, timeout=120)


def _sets(place: Place) -> list[str]:
    done = place.run(["/app/scripts/backup", "--list"], LOCAL)
    expect(done.code == 0, done.text)
    return done.out.split()


def _expect_error(done: Done, code: int, reason: str) -> None:
    expect(done.code == code, f"exit code {done.code}: {done.text}")
    expect(done.err.startswith("error: ") and reason in done.err.splitlines()[0], done.text)
    expect(plain(done.err), done.text)


def _expect_untouched(place: Place, done: Done, reason: str, code: int = 1) -> None:
    _expect_error(done, code, reason)
    expect("untouched" in done.err, done.text)
    expect(cli(place, 6380, "GET", "word") == "webdav", "the data changed")
