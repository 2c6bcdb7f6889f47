"""cron really runs the backup, on a started server, with the variables it may have and no others."""

from checks.common import FAKE_LLM, FALKORDB, VALKEY, ask, start_store, wait_for_health, wait_until
from places import Place, PlaceMaker
from report import Report, expect

CHECKS = (
    "cron-environment-is-private",
    "cron-gets-only-listed-variables",
    "server-lacks-the-backup-keys",
    "cron-runs-the-backup",
    "cron-output-is-in-the-container-log",
    "backup-of-the-running-server-is-whole",
)
SETS = "/srv/cron-sets"
KEY = "K00-not-a-real-key"
ENVIRONMENT = {
    **FAKE_LLM,
    "BACKUP_TARGET": SETS,
    "BACKUP_SCHEDULE": "* * * * *",
    "B2_APPLICATION_KEY": KEY,
    "RCLONE_CONFIG_NAS_PASS": KEY,
    "OPENCODE_SERVER_PASSWORD_FILE": "/run/password",
    "AWKWARD": "x",
    "BACKUP_NOTE": 'it\'s "quoted" $HOME `id` \\',
}
PASSWORD = "from a file"


def begin(maker: PlaceMaker) -> Place:
    """Starts the server and its stores, a while before cron's next minute is looked at."""
    place = maker.boot(
        ENVIRONMENT, ["sh", "-c", f"printf '%s\\n' '{PASSWORD}' >/run/password; exec /app/scripts/start"]
    )
    start_store(place, FALKORDB)
    start_store(place, VALKEY)
    return place


def check_cron(report: Report, place: Place) -> None:
    with report.group(CHECKS):
        _check_environment(report, place)
        with report.check("cron-runs-the-backup") as details:
            wait_until(lambda: place.run(["sh", "-c", f"ls {SETS}/*/SHA256SUMS"]).code == 0, 90, "a backup set")
            details.append(place.run(["ls", SETS]).out.split()[0])
        with report.check("cron-output-is-in-the-container-log"):
            wait_until(lambda: f"is at {SETS}" in place.log(), 10, "the backup's line in the log")
        with report.check("backup-of-the-running-server-is-whole"):
            _check_set(place)


def _check_environment(report: Report, place: Place) -> None:
    with report.check("cron-environment-is-private"):
        modes = place.run(
            ["stat", "-c", "%a %U", "/run/opencode", "/run/opencode/cron.env", "/etc/cron.d/opencode-backup"]
        ).out
        expect(modes.split("\n")[:3] == ["700 root", "600 root", "644 root"], modes)
    with report.check("cron-gets-only-listed-variables"):
        shown = place.run(["bash", "-c", "set -a; . /run/opencode/cron.env; env -0 | tr '\\0' '\\n'"]).out
        names = {line.split("=", 1)[0] for line in place.run(["cat", "/run/opencode/cron.env"]).out.splitlines()}
        expect({"BACKUP_TARGET", "B2_APPLICATION_KEY", "RCLONE_CONFIG_NAS_PASS", "VALKEY_PORT"} <= names, str(names))
        expect(not names & {"OPENAI_API_KEY", "OPENCODE_SERVER_PASSWORD", "AWKWARD", "PATH"}, str(names))
        expect(f"BACKUP_NOTE={ENVIRONMENT['BACKUP_NOTE']}" in shown, "quoting changed a value")
    with report.check("server-lacks-the-backup-keys"):
        wait_for_health(place)
        first = place.run(["sh", "-c", "tr '\\0' '\\n' </proc/1/environ"]).out
        expect(KEY not in first and "OPENAI_API_KEY" in first, "the first process has the backup's keys")
        expect(f"OPENCODE_SERVER_PASSWORD={PASSWORD}" in first, "the password was not taken from its file")


def _check_set(place: Place) -> None:
    ask(place, "/session", password=PASSWORD)
    script = f"cd {SETS} && cd $(ls | head -1) && sha256sum --check --quiet SHA256SUMS && ls"
    done = place.run(["sh", "-c", script])
    expect(
        done.code == 0 and done.out.split() == ["SHA256SUMS", "falkordb.rdb", "opencode.db", "valkey.rdb"], done.text
    )
