#!/bin/sh
# Compares an environment written by `parity-pip environment DIR …` with the one that pip makes of the same wheels.
# usage: pip-environment.sh ROOT DIR   ROOT: a trixie root with python3, python3-venv and python3-pip (mmdebstrap)
set -eu
root=$1 dir=$2
here=$(dirname "$0")
rm -rf "$root/opt/venv" "$root/opt/wheels" "$dir/theirs" "$dir/ours"
mkdir -p "$root/opt/wheels"
cp "$dir"/wheels/*.whl "$root/opt/wheels/"
for wheel in "$dir"/wheels/*.whl; do
    basename "$wheel" | sed 's/^\([^-]*\)-\([^-]*\)-.*/\1==\2/'
done > "$root/opt/wheels/names"
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 sh -euc '
    umask 022
    python3 -m venv --without-pip /opt/venv
    python3 -m pip -q --python /opt/venv/bin/python install --no-deps --no-index --no-compile --no-warn-script-location \
        --disable-pip-version-check --root-user-action=ignore --find-links /opt/wheels -r /opt/wheels/names'
mv "$root/opt/venv" "$dir/theirs"
tar -xf "$dir/venv.tar" -C "$root"
cp -a "$root/opt/venv" "$dir/ours"
mountpoint -q "$root/dev/shm" || { mkdir -p "$root/dev/shm" && chmod 1777 "$root/dev/shm"; }
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 sh -euc '
    python3 -m pip --python /opt/venv/bin/python check --disable-pip-version-check'
xargs -0 chroot "$root" env -i PATH=/usr/bin:/bin < "$dir/compile"
echo "byte code: $(find "$root/opt/venv" -name '*.pyc' | wc -l) of $(find "$root/opt/venv/lib" -name '*.py' | wc -l)"
python3 "$here/pip-environment.py" "$dir/theirs" "$dir/ours"
