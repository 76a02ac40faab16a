#!/bin/sh
# Installs the Rollcall agent from this directory, or brings an installed one up to date. Asked again, also after a power
# cut in the middle, it ends in the same place. An identity and settings that are already there stay.
#
#   sh install.sh                onto this machine
#   sh install.sh --root DIR     into the root file system below DIR, for images that are built elsewhere
#
# Exit codes: 0 installed, 1 it could not be done, 2 it was not understood.
set -eu
# Under a strict umask of the caller, the service's user could not read the files. They get their modes below.
umask 022

say() { printf 'rollcall-device: %s\n' "$*"; }
fail() { printf 'rollcall-device: error: %s\n' "$*" >&2; exit 1; }

root=
while [ $# -gt 0 ]; do
  case $1 in
    --root)
      [ $# -ge 2 ] || { echo 'rollcall-device: error: --root: expected a directory' >&2; exit 2; }
      root=${2%/}
      shift 2
      ;;
    *)
      echo "rollcall-device: error: expected --root DIR or nothing, found $1" >&2
      exit 2
      ;;
  esac
done

here=$(cd "$(dirname "$0")" && pwd)
[ -z "$root" ] || [ -d "$root" ] || fail "expected a directory, found none at $root"
[ "$(id -u)" = 0 ] || fail 'expected to be run as root (sudo sh install.sh)'
for file in rollcall-device.cjs rollcall-device.service device.conf; do
  [ -f "$here/$file" ] || fail "expected $file beside install.sh; verify this directory with: rollcall image verify"
done

# 1. A Node to run it: the one that came along, or the machine's own from version 20 on.
if [ -f "$here/node" ]; then
  node=/opt/rollcall-device/node
else
  node=$(PATH="${root:+$root/usr/local/bin:$root/usr/bin:}$PATH" command -v node || true)
  [ -n "$node" ] || fail 'expected Node 20 or newer, found none: install it (apt-get install nodejs), or make the image with --node FILE'
  [ -z "$root" ] || node=${node#"$root"}
  major=$(${root:+chroot "$root"} "$node" --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
  [ "${major:-0}" -ge 20 ] || fail "expected Node 20 or newer, found ${major:-none} at $node: make the image with --node FILE"
fi

# Each file appears whole or not at all: written beside its place, for nobody else's eyes, flushed, renamed.
put() {
  mkdir -p "$root$(dirname "$2")"
  rm -f "$root$2.new"
  (umask 077 && cp "$1" "$root$2.new")
  chmod "$3" "$root$2.new"
  sync "$root$2.new" 2>/dev/null || sync
  mv -f "$root$2.new" "$root$2"
}

# 2. The program.
put "$here/rollcall-device.cjs" /opt/rollcall-device/rollcall-device.cjs 0644
[ ! -f "$here/node" ] || put "$here/node" /opt/rollcall-device/node 0755
starter=$(mktemp)
trap 'rm -f "$starter"' EXIT
# Small heaps: a gateway has other things to do with its memory.
printf '#!/bin/sh\nexec %s --max-semi-space-size=1 /opt/rollcall-device/rollcall-device.cjs "$@"\n' "$node" >"$starter"
put "$starter" /usr/local/bin/rollcall-device 0755

# 3. Settings and token. A machine that has an identity needs no token, and keeps the settings it was given.
mkdir -p "$root/etc/rollcall-device"
[ -f "$root/etc/rollcall-device/device.conf" ] || put "$here/device.conf" /etc/rollcall-device/device.conf 0644
[ ! -f "$here/root.pem" ] || put "$here/root.pem" /etc/rollcall-device/root.pem 0644
if [ -e "$root/var/lib/private/rollcall-device/cert.pem" ]; then
  say 'this machine is enrolled already; its identity stays'
elif [ -f "$here/token" ]; then
  put "$here/token" /etc/rollcall-device/token 0600
fi

# 4. The service, last: what it needs is there before it can start.
put "$here/rollcall-device.service" /etc/systemd/system/rollcall-device.service 0644
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
ln -sf ../rollcall-device.service "$wants/rollcall-device.service"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl restart rollcall-device.service
  say 'installed and started; "rollcall-device status" says how it is'
else
  say "installed${root:+ in $root}; it starts with the machine"
fi
