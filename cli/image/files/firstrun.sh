#!/bin/sh
# First boot of a Raspberry Pi, or of any machine that runs a script once: installs the agent from the directory
# rollcall/ beside this script, on the boot partition, and doesn't run again. On a Raspberry Pi name it in cmdline.txt:
#   systemd.run=/boot/firmware/rollcall/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/install.sh"
# The token must not stay on a partition that every computer can read.
rm -f "$here/token"
for line in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
  [ -f "$line" ] || continue
  sed -i 's# systemd\.run=[^ ]*##; s# systemd\.run_success_action=[^ ]*##; s# systemd\.unit=[^ ]*##' "$line"
done
