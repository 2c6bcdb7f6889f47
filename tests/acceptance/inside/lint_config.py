"""Validates the image's config.json against OpenCode's own schema, strictly: unknown keys are errors too.

usage: lint_config.py CONFIG OPENAPI      (OPENAPI is what the server answers at /doc)
"""

import json
import sys
from pathlib import Path

from jsonschema import Draft202012Validator


def main(config_path: str, api_path: str) -> int:
    config = json.loads(Path(config_path).read_text(encoding="utf-8"))
    api = json.loads(Path(api_path).read_text(encoding="utf-8"))
    schema = {"$ref": "#/components/schemas/Config", "components": api["components"]}
    errors = list(Draft202012Validator(schema).iter_errors(config))
    for error in errors:
        print(f"{'/'.join(str(step) for step in error.path) or '.'}: {error.message}")
    # A schema that accepts anything would prove nothing.
    if Draft202012Validator(schema).is_valid({**config, "surely-not-a-setting": 1}):
        print("the schema accepts an unknown key")
        return 1
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
