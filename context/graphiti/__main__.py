"""Runs this directory as a program: `python /root/.opencode/graphiti COMMAND`.

Python puts the directory itself on the import path, so nothing has to set PYTHONPATH, which
belongs to ddtrace-run.
"""

import sys

from memory.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
