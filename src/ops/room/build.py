"""Builds a wheel of a source distribution as PEP 517 says, once or several times, each time from nothing.

Runs inside the room, under the Python that the image has, with nothing but the locked build requirements. build.json says
what is built and how; requires.json, when it is written, what the backend needs and the room lacks.
"""

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

ROOM = os.path.dirname(os.path.abspath(__file__))


def place(*names):
    return os.path.join(ROOM, *names)


def unpack(archive):
    for name in ("work", "home", "tmp"):
        shutil.rmtree(place(name), ignore_errors=True)
        os.mkdir(place(name))
    if archive.endswith(".zip"):
        with zipfile.ZipFile(archive) as source:
            source.extractall(place("work"))
    else:
        with tarfile.open(archive) as source:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            source.extractall(place("work"), **safe)
    tops = [name for name in os.listdir(place("work")) if os.path.isdir(place("work", name))]
    if len(tops) != 1:
        sys.exit("oclock: a source distribution is one directory, and this one has %d" % len(tops))
    return place("work", tops[0])


def hook(name, source, out):
    """Calls a hook of the backend in a process of its own, in the source's directory."""
    answer = place("tmp", "answer.json")
    variables = dict(
        os.environ,
        HOME=place("home"),
        TMPDIR=place("tmp"),
        SOURCE_DATE_EPOCH="315532800",
        PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
    )
    command = [sys.executable, os.path.abspath(__file__), name, out, answer]
    ended = subprocess.run(command, cwd=source, env=variables, stdin=subprocess.DEVNULL)
    if ended.returncode:
        sys.exit("oclock: the backend failed in %s (status %d)" % (name, ended.returncode))
    with open(answer) as file:
        return json.load(file)


def call(name, out, answer):
    asked = read_asked()
    sys.path[:1] = [os.path.abspath(path) for path in asked["backend-path"]]
    module, _, attributes = asked["backend"].partition(":")
    backend = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    if name == "build_wheel":
        result = backend.build_wheel(out, None, None)
    else:
        function = getattr(backend, name, None)
        result = list(function(None)) if function else []
    with open(answer, "w") as file:
        json.dump(result, file)


def read_asked():
    with open(place("build.json")) as file:
        return json.load(file)


def is_there(requirement):
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip()).group()
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main():
    asked = read_asked()
    for number in range(asked["rounds"]):
        source = unpack(place("source", asked["file"]))
        out = place("out", str(number))
        os.makedirs(out)
        requires = hook("get_requires_for_build_wheel", source, out)
        missing = [requirement for requirement in requires if not is_there(requirement)]
        if missing:
            with open(place("requires.json"), "w") as file:
                json.dump(missing, file)
            return
        hook("build_wheel", source, out)
    for name in ("work", "home", "tmp"):
        shutil.rmtree(place(name), ignore_errors=True)


if __name__ == "__main__":
    call(*sys.argv[1:]) if len(sys.argv) > 1 else main()
