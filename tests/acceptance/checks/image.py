"""What the image says about itself: environment, entry point, port, health check."""

import re
from collections.abc import Mapping
from typing import Any

from places import PROMISED_ENVIRONMENT, SERVER, PlaceMaker
from report import Report, expect

CHECKS = (
    "image-environment-has-the-defaults",
    "image-environment-holds-no-secret",
    "image-entrypoint-ends-in-the-server",
    "image-exposes-4096",
    "image-health-check-is-kept",
)
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|API_KEY|APPLICATION_KEY|APP_KEY)$")
SECOND = 1_000_000_000


def check_image(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        config = maker.image_config()
        expect(config.raw is not None, "the image's configuration was not given (--image-config)")
        with report.check("image-environment-has-the-defaults"):
            wrong = {
                name: config.environment.get(name)
                for name, value in PROMISED_ENVIRONMENT.items()
                if config.environment.get(name) != value
            }
            expect(not wrong, f"not as promised: {wrong}")
        with report.check("image-environment-holds-no-secret"):
            held = [name for name, value in config.environment.items() if value and SECRET_NAME.search(name)]
            expect(not held, f"secrets: {held}")
        with report.check("image-entrypoint-ends-in-the-server"):
            expect(list(config.entrypoint)[-len(SERVER) :] == SERVER, f"the entry point is {config.entrypoint}")
        with report.check("image-exposes-4096"):
            expect("4096/tcp" in (config.raw.get("ExposedPorts") or {}), str(config.raw.get("ExposedPorts")))
        with report.check("image-health-check-is-kept"):
            _check_health(config.raw.get("Healthcheck") or {})


def _check_health(health: Mapping[str, Any]) -> None:
    times = [health.get(name, 0) // SECOND for name in ("Interval", "Timeout", "StartPeriod")]
    expect(times == [30, 10, 40], f"interval, timeout and start period are {times} s")
    expect("healthcheck" in " ".join(health.get("Test", [])), f"the test is {health.get('Test')}")
