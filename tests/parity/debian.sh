#!/bin/bash
# Unpacks .deb files with oclock and with dpkg itself, configures both in a chroot without network and compares the trees.
# usage: debian.sh WORK-DIRECTORY FILE.deb...       (root; needs unshare, dpkg-deb, target/debug/examples/unpack_set)
# The files must be a whole set: the essential packages and all dependencies. Prints the differences; none is success.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$1
shift
epoch=1760000000
mkdir -p "$work"

# inside ROOT COMMAND...: namespaces and a small /dev, as the built-in engine does it.
inside() {
	unshare --mount --pid --net --uts --ipc --fork --propagation private /bin/bash -c '
		root=$1; shift; hostname oclock
		mount --bind "$root" "$root"; mount -t proc proc "$root/proc"; mount -t tmpfs -o mode=755 tmpfs "$root/dev"
		for device in null zero full random urandom tty; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
		ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
		mkdir "$root/dev/shm" "$root/dev/pts"
		exec chroot "$root" "$@"' inside "$@"
}

# listing ROOT: type, mode, owner, size, link target and sha256 of every path; what is known to differ is left out:
# logs, backups, locks, random ids, and the contents of .pyc files, which hold the time of their source.
listing() {
	(cd "$1" && find . -xdev \( -path ./.oclock -o -path ./proc -o -path ./dev \) -prune -o -printf '%P\t%y\t%m\t%U:%G\t%l\n' | sort >"$1.meta"
		find . -xdev \( -path ./.oclock -o -path ./proc -o -path ./dev \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum >"$1.sums")
	cat "$1.meta" "$1.sums" | grep -vE '(\./|^)var/log/(alternatives|dpkg|fontconfig|bootstrap)\.log|var/cache/ldconfig/aux-cache|var/cache/debconf/.*-old|var/lib/dpkg/[a-z]*-old|etc/(passwd|group|shadow|gshadow|subuid|subgid)-(\s|$)|var/lib/dpkg/(lock|lock-frontend|triggers/Lock)(\s|$)|etc/\.pwd\.lock|etc/machine-id|__pycache__/.*\.pyc$' >"$1.list"
}

rm -rf "$work/ours" "$work/dpkg"
mkdir -p "$work/ours" "$work/dpkg/.oclock"
"$here/target/debug/examples/unpack_set" "$work/store" "$work/ours.tar" "$epoch" "$@"
tar -C "$work/ours" --numeric-owner --same-owner -xpf "$work/ours.tar"
cp "$work/ours/.oclock/"{clean,environment} "$work/dpkg/.oclock/"
grep '^configure ' "$work/ours/.oclock/apt/plan" | cut -d' ' -f2- >"$work/dpkg/.oclock/order"
head -n 1 "$work/dpkg/.oclock/order" >"$work/dpkg/.oclock/essential"
{ time inside "$work/ours" /bin/sh /.oclock/configure; } >"$work/ours.log" 2>&1 || { tail -30 "$work/ours.log"; echo "FAILED: configure"; exit 1; }

# The other way: the data of all packages so that there is a dpkg to run, then dpkg unpacks everything properly.
mkdir -p "$work/dpkg/debs" "$work/dpkg/var/lib/dpkg/info" "$work/dpkg/var/lib/dpkg/updates"
for deb in "$@"; do
	case $(dpkg-deb -f "$deb" Package) in base-files) tar -C "$work/dpkg" -xpf <(dpkg-deb --fsys-tarfile "$deb") ;; esac
done
for deb in "$@"; do
	name=$(dpkg-deb -f "$deb" Package)
	arch=$(dpkg-deb -f "$deb" Architecture)
	if grep -qwE -- "$name(:$arch)?" <(tr ' ' '\n' <"$work/dpkg/.oclock/essential"); then
		tar -C "$work/dpkg" --keep-directory-symlink -xpf <(dpkg-deb --fsys-tarfile "$deb")
	fi
	case $name in base-files) order=0 ;; base-passwd) order=1 ;; *) order=2 ;; esac
	cp "$deb" "$work/dpkg/debs/${order}_$name.deb"
done
# Conffiles that lie there unowned would be taken for the administrator's; dpkg is to bring its own.
for deb in "$@"; do
	dpkg-deb -I "$deb" conffiles 2>/dev/null | grep '^/' | sed "s|^|$work/dpkg|" | xargs -r rm -f || true
done
touch "$work/dpkg/var/lib/dpkg/status"
cat >"$work/dpkg/.oclock/reference" <<'SCRIPT'
set -e
cd /
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
dpkg --force-unsafe-io --force-depends --unpack $(ls /debs/*.deb)
# The same order as ours, because it decides the order of lines in /etc/group.
while read -r packages; do dpkg --force-unsafe-io --configure $packages </dev/null; done </.oclock/order
dpkg --force-unsafe-io --configure -a
rm -rf /usr/sbin/policy-rc.d /debs
SCRIPT
{ time inside "$work/dpkg" /bin/sh /.oclock/clean fixed /bin/sh /.oclock/reference; } >"$work/dpkg.log" 2>&1 || { tail -30 "$work/dpkg.log"; echo "FAILED: reference"; exit 1; }

listing "$work/ours"
listing "$work/dpkg"
inside "$work/ours" /bin/sh -c 'dpkg --audit; dpkg --verify; command -v apt-get >/dev/null && apt-get check 2>&1 | grep -vE "^(Reading|Building|Note)" || true' >"$work/verify.log" 2>&1
echo "--- audit, verify, check:"
cat "$work/verify.log"
echo "--- differences (< ours, > dpkg):"
if diff "$work/ours.list" "$work/dpkg.list"; then
	echo "equal: $(wc -l <"$work/ours.meta") paths"
else
	exit 1
fi
