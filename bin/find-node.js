// Which Node runs Rollcall: the one at hand if it is new enough, otherwise the one that npm installed with it.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const OLDEST = [24, 21]; // strips types by itself and carries OpenSSL 3.5; package.json "engines" says the same

/** Path of a Node that can run Rollcall, or undefined. */
export function findNode() {
  const pinned = fileURLToPath(
    new URL(`../node_modules/node/bin/node${process.platform === 'win32' ? '.exe' : ''}`, import.meta.url),
  );
  if (existsSync(pinned)) return pinned;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]) ? process.execPath : undefined;
}

export const NODE_NEEDED = `rollcall: error: Rollcall needs Node ${OLDEST.join('.')} or newer, and this is ${process.versions.node}
rollcall: hint: run "npm ci" in Rollcall's own folder; it brings the right Node along
`;
