#!/usr/bin/env python3
"""Says what is wrong with a SARIF log by a JSON schema: sarif.py SCHEMA LOG. Says nothing when all is well."""
import json
import sys

import jsonschema

schema, log = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
validator = jsonschema.validators.validator_for(schema)(schema)
for error in sorted(validator.iter_errors(log), key=str):
    print(f"{error.json_path}: {error.message}")
