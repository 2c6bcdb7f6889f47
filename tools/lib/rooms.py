"""Commands inside another root directory, as on a machine that has nothing else.

A chroot would not do: the kernel makes no user namespace for a process in one. So the root becomes the root of a mount
namespace, which ends with the command together with all its mounts and processes.
"""

import shlex
from pathlib import Path

from lib.commands import Run, attempt

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")

SCRIPT = r"""
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
cd "$ROOT"
mkdir -p proc sys dev tmp run old
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755 dev dev
for name in $DEVICES; do
  [ -e /dev/$name ] || continue
  : >dev/$name
  mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
%(binds)s
pivot_root . old
cd /
umount -l old
rmdir old
exec "$@"
"""


def enter(root: Path, *command: object, binds: dict[Path, str], environment: dict[str, str]) -> tuple[Run, int]:
    """Runs a command in `root` as root, without a network; `binds` are directories or files of this machine and their places."""
    lines = []
    for source, place in binds.items():
        target = shlex.quote(place.lstrip("/"))
        make = f"mkdir -p {target}" if source.is_dir() else f"mkdir -p $(dirname {target}); : >>{target}"
        lines.append(f"{make}; mount --rbind {shlex.quote(str(source))} {target}")
    script = SCRIPT % {"binds": "\n".join(lines)}
    room = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c", script, "sh"]
    settings = {"ROOT": str(root), "DEVICES": " ".join(DEVICES), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}
    return attempt(*room, *command, env=settings)
