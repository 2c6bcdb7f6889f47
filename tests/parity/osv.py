#!/usr/bin/env python3
"""The evaluation algorithm of the OSV schema, written down as the schema has it, to judge oclock's.

Reads cases from standard input, one JSON document a line, and answers each with `affected` or `not-affected`.
Versions are compared by `packaging` (Python), `dpkg --compare-versions` (Debian) and section 11 of SemVer 2.0 (npm).
"""
import functools
import json
import re
import subprocess
import sys

try:
    from packaging.version import Version
except ImportError:
    from pip._vendor.packaging.version import Version


@functools.lru_cache(maxsize=None)
def dpkg(one, relation, other):
    return subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0


def compare_debian(one, other):
    return 0 if dpkg(one, "eq", other) else -1 if dpkg(one, "lt", other) else 1


def compare_python(one, other):
    one, other = Version(one), Version(other)
    return (one > other) - (one < other)


def semver(text):
    text = text.split("+", 1)[0]
    numbers, _, pre = text.partition("-")
    identifiers = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return [int(number) for number in numbers.split(".")], not pre, identifiers


def compare_npm(one, other):
    one, other = semver(one), semver(other)
    return (one > other) - (one < other)


COMPARE = {"npm": compare_npm, "PyPI": compare_python, "Debian": compare_debian}


def same_package(one, other):
    if one["ecosystem"] != other["ecosystem"]:
        return False
    if one["ecosystem"] == "PyPI":
        return re.sub(r"[-_.]+", "-", one["name"]).lower() == re.sub(r"[-_.]+", "-", other["name"]).lower()
    return one["name"] == other["name"]


def is_vulnerable(package, version, record):
    compare = COMPARE[package["ecosystem"].split(":")[0]]
    for affected in record["affected"]:
        if same_package(affected["package"], package):
            if included_in_versions(version, affected.get("versions", []), compare):
                return True
            if included_in_ranges(version, affected.get("ranges", []), compare):
                return True
    return False


def included_in_versions(version, versions, compare):
    return any(compare(version, listed) == 0 for listed in versions)


def included_in_ranges(version, ranges, compare):
    for one in ranges:
        if one["type"] == "GIT" or not before_limits(version, one, compare):
            continue
        vulnerable = False
        for event in sorted_events(one["events"], compare):
            if "introduced" in event and (event["introduced"] == "0" or compare(version, event["introduced"]) >= 0):
                vulnerable = True
            elif "fixed" in event and compare(version, event["fixed"]) >= 0:
                vulnerable = False
            elif "last_affected" in event and compare(version, event["last_affected"]) > 0:
                vulnerable = False
        if vulnerable:
            return True
    return False


def before_limits(version, one, compare):
    limits = [event["limit"] for event in one["events"] if "limit" in event]
    return not limits or any("*" in limit or compare(version, limit) < 0 for limit in limits)


def sorted_events(events, compare):
    def order(one, other):
        starts = [event.get("introduced") == "0" for event in (one, other)]
        if any(starts):
            return starts[1] - starts[0]
        return compare(*(next(iter(event.values())) for event in (one, other)))

    return sorted((event for event in events if "limit" not in event), key=functools.cmp_to_key(order))


for line in sys.stdin:
    case = json.loads(line)
    answer = is_vulnerable(case["package"], case["version"], case["record"])
    print("affected" if answer else "not-affected")
