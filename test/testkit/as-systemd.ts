/** How the agent's unit is started where no systemd is. */

/** As systemd starts it: the token as a credential, a user without rights, directories of its own. */
export const AS_SYSTEMD = `
set -e
chown 4711:4711 /var/lib/private/rollcall-device /run/rollcall-device
mkdir -p /run/credentials/rollcall-device.service
cp /etc/rollcall-device/token /run/credentials/rollcall-device.service/token 2>/dev/null || : > /run/credentials/rollcall-device.service/token
chown -R 4711 /run/credentials
ln -sfn private/rollcall-device /var/lib/rollcall-device
# No exec: the kernel forgets whom to kill with its parent when a process changes its user.
setpriv --reuid 4711 --regid 4711 --clear-groups --no-new-privs rollcall-device run
exit $?
`;
