"""Judges attestations as the Python index does, with its own program: `attestations.py FILE`, JSON with a list of cases, each with
`served` (what an index serves), `file` and `sha256`. Prints for each case `yes`, or why not, one a line."""

import json
import sys

from pypi_attestations import Distribution, Provenance


def judge(case):
    try:
        served = Provenance.model_validate(case["served"])
        file = Distribution(name=case["file"], digest=case["sha256"])
        for bundle in served.attestation_bundles:
            for attestation in bundle.attestations:
                attestation.verify(bundle.publisher, file, offline=True)
    except Exception as error:  # noqa: BLE001
        return " ".join(f"{type(error).__name__} {error}".split())
    return "yes"


with open(sys.argv[1]) as text:
    for case in json.load(text):
        print(judge(case))
