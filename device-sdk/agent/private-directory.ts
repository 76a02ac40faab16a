/** The directory of the control socket: only its owner may enter it, because the socket accepts changes of the identity. */

import { lstatSync, mkdirSync, type Stats, statSync } from 'node:fs';
import { DeviceError } from '../device-error.ts';

/** Makes it (0700) if there is none. Throws `unavailable` when it belongs to another user or others may enter it. */
export function openPrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const found = lstatSync(path);
  if (isPrivate(found) && found.uid === effectiveUser(found)) return;
  throw new DeviceError('unavailable', {
    reason: `expected ${path} to be a directory of mode 700 that the agent's user owns, found mode ${(found.mode & 0o777).toString(8)} of user ${found.uid}`,
  });
}

/**
 * Before a token is sent through the socket in it. Throws `owner_required` unless the directory belongs to the caller or
 * to the owner of the agent's state: another local user could have put a socket there while no agent ran.
 */
export function requireOwnDirectory(path: string, state: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return; // nothing answers there, and the caller hears that
  const owners = [effectiveUser(found), ownerOf(state)];
  if (isPrivate(found) && owners.includes(found.uid)) return;
  throw new DeviceError('owner_required', { reason: `${path} belongs to user ${found.uid}` });
}

function isPrivate(found: Stats): boolean {
  return found.isDirectory() && (process.platform === 'win32' || (found.mode & 0o077) === 0);
}

function effectiveUser({ uid }: Stats): number {
  return process.geteuid?.() ?? uid;
}

/** Undefined where the caller may not look. */
function ownerOf(path: string): number | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.uid;
  } catch {
    return undefined;
  }
}
