"""Says in what two environments differ, file by file, and what of it is meant (see the module doc of assemble::pip)."""
import csv, hashlib, os, stat, sys

theirs, ours = sys.argv[1:]
MEANT = {".gitignore", "bin/activate", "bin/activate.csh", "bin/activate.fish", "bin/Activate.ps1"}


def walk(root):
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            entry = os.lstat(path)
            kind = stat.S_IFMT(entry.st_mode)
            if stat.S_ISLNK(kind):
                content = os.readlink(path)
            elif stat.S_ISREG(kind):
                content = open(path, "rb").read()
            else:
                content = None
            found[os.path.relpath(path, root)] = (kind, stat.S_IMODE(entry.st_mode) if not stat.S_ISLNK(kind) else 0, content)
    return found


def rows(content):
    lines = content.decode().splitlines()
    return {row[0]: tuple(row[1:]) for row in csv.reader(lines)}


def call(script):
    lines = script.decode().splitlines()
    keep = ("#!", "from ", "    sys.exit(")
    return [line for line in lines if line.startswith(keep)]


a, b = walk(theirs), walk(ours)
meant, differing = {}, []


def ok(why):
    meant[why] = meant.get(why, 0) + 1


for path in sorted(a.keys() | b.keys()):
    if a.get(path) == b.get(path):
        continue
    if path in MEANT and path not in b:
        ok("not written")
        continue
    if path not in a or path not in b:
        if path.endswith("/REQUESTED"):
            ok("REQUESTED")
        else:
            differing.append(f"{path}: only {'pip' if path in a else 'oclock'} has it")
        continue
    (kind, mode, one), (kind2, mode2, two) = a[path], b[path]
    if (kind, mode) != (kind2, mode2):
        differing.append(f"{path}: {oct(kind | mode)} and {oct(kind2 | mode2)}")
    elif path.endswith("/INSTALLER"):
        ok("INSTALLER")
    elif path.startswith("bin/") and call(one) == call(two):
        ok("wrapper")
    elif path.endswith(".dist-info/RECORD"):
        x, y = rows(one), rows(two)
        changed = [row for row in x.keys() | y.keys() if x.get(row) != y.get(row)]
        wrong = [row for row in changed if not row.endswith(("/INSTALLER", "/REQUESTED")) and not row.startswith("../../../bin/")]
        if wrong:
            differing.append(f"{path}: rows {wrong[:4]}")
        else:
            ok("RECORD")
    elif one != two:
        differing.append(f"{path}: other content")
print(f"{len(a)} entries by pip, {len(b)} by oclock; meant to differ: {meant}")
for line in differing[:40]:
    print("DIFF", line)
print(f"{len(differing)} differences")
sys.exit(bool(differing))
