"""Judges documents about images: `attest.py KIND FILE…`, KIND one of cyclonedx, spdx, statement. Prints what is wrong.

CycloneDX and purls: the libraries of those projects, with the official schemas that they bring. SPDX: the validator of the
SPDX project, and the official JSON schema, which lib4sbom brings. Statements: the bindings of the in-toto project.
"""

import hashlib
import importlib.resources
import json
import sys

SPDX_SCHEMA = "239208b7ac287b3cf5d9a9af23f9d69863971102a5e1587a27a398b43490b89b"


def cyclonedx(path, text):
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        yield str(error)
        return
    document = json.loads(text)
    for component in [document["metadata"]["component"], *document["components"]]:
        purl = component.get("purl")
        if purl and PackageURL.from_string(purl).to_string() != purl:
            yield f"{purl} is written {PackageURL.from_string(purl).to_string()}"
    if not Bom.from_json(document).validate():
        yield "its dependencies name components that are not there"


def spdx(path, text):
    from jsonschema import Draft7Validator, FormatChecker
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    schema = importlib.resources.files("lib4sbom").joinpath("schemas/spdx/2.3-schema.json").read_bytes()
    if hashlib.sha256(schema).hexdigest() != SPDX_SCHEMA:
        yield "this is not the official schema of SPDX 2.3"
    for error in Draft7Validator(json.loads(schema), format_checker=FormatChecker()).iter_errors(json.loads(text)):
        yield f"{error.json_path}: {error.message}"
    for message in validate_full_spdx_document(parse_file(path)):
        yield message.validation_message


def statement(path, text):
    import in_toto_attestation.v1.statement_pb2 as statement_pb2
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement

    # Parsing refuses fields that are not in the specification.
    message = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    if message.predicate_type == "https://slsa.dev/provenance/v1":
        provenance = json_format.ParseDict(json.loads(text)["predicate"], provenance_pb2.Provenance())
        for dependency in provenance.build_definition.resolved_dependencies:
            ResourceDescriptor.copy_from_pb(dependency).validate()
    # The libraries raise what is wrong.
    return []


def main():
    judge = {"cyclonedx": cyclonedx, "spdx": spdx, "statement": statement}[sys.argv[1]]
    wrong = False
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            problems = list(judge(path, text))
        except Exception as error:  # Whatever a library says of a document that it does not take.
            problems = [f"{type(error).__name__}: {error}"]
        for problem in problems:
            print(f"{path}: {problem}"[:2000])
        wrong = wrong or bool(problems)
    sys.exit(1 if wrong else 0)


main()
