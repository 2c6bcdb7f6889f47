#!/usr/bin/env python3
"""Proves on a built image what the image promises; loopback only, nothing else can be reached.

usage: run.py --root DIRECTORY [--image-config FILE] [--stores DIRECTORY] [--only WORD]
       run.py --engine docker|podman --image NAME [--stores DIRECTORY] [--only WORD]

--root          an unpacked root filesystem; needs root. It is not written to.
--image-config  the image's configuration (JSON); without it the checks of the configuration fail
--stores        the directory that prepare_stores.py made
--only          run the subjects whose name contains WORD

One line a check, `ok NAME` or `FAIL NAME: why`, then `N passed, N failed`; exit code 1 when one failed. A check that
cannot run has failed.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

from checks import backup, cron, image, memory, server, session, tracing  # noqa: E402
from places import ContainerMaker, PlaceMaker, RootMaker, promised_config, read_image_config  # noqa: E402
from report import Report  # noqa: E402

SUBJECTS: dict[str, Callable[[Report, PlaceMaker], None]] = {
    "image": image.check_image,
    "server": server.check_server,
    "server-alone": server.check_alone,
    "server-password": server.check_password,
    "healthcheck": server.check_healthcheck,
    "start": server.check_start,
    "memory": memory.check_memory,
    "session": session.check_session,
    "tracing": tracing.check_tracing,
    "backup": backup.check_backup,
}
STORES = Path("target/acceptance-stores")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--image-config", type=Path)
    parser.add_argument("--engine", choices=("docker", "podman"))
    parser.add_argument("--image")
    parser.add_argument("--stores", type=Path, default=STORES)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    if bool(asked.root) == bool(asked.engine and asked.image):
        parser.error("either --root, or --engine and --image")
    return asked


def make_maker(asked: argparse.Namespace) -> PlaceMaker:
    stores = asked.stores.absolute()
    if asked.root is None:
        return ContainerMaker(asked.engine, asked.image, stores)
    config = read_image_config(asked.image_config) if asked.image_config else promised_config()
    return RootMaker(asked.root.absolute(), stores, config)


def main() -> int:
    asked = parse_arguments()
    maker = make_maker(asked)
    report = Report()
    # cron's smallest step is a minute, so its server starts first and is looked at last.
    waiting = cron.begin(maker) if asked.only in "cron" else None
    try:
        for name, check in SUBJECTS.items():
            if asked.only in name:
                check(report, maker)
        if waiting:
            cron.check_cron(report, waiting)
    finally:
        if waiting:
            waiting.close()
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
