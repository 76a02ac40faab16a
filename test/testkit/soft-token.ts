/** A PKCS#11 token of one test's own: SoftHSM, with the library's settings, the token and its PIN in one directory. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const TOKEN_LABEL = 'fleet';
const PIN = '1234';

export interface SoftToken {
  readonly pinFile: string;
  /** Where SoftHSM keeps the token. */
  readonly tokens: string;
  /** What a process that opens the token needs; SoftHSM reads it once. */
  readonly environment: { readonly SOFTHSM2_CONF: string };
  writePin(pin: string): void;
  unplug(): void;
  plugIn(): void;
}

export function softToken(directory: string): SoftToken {
  const tokens = join(directory, 'tokens');
  const pinFile = join(directory, 'pin');
  const SOFTHSM2_CONF = join(directory, 'softhsm2.conf');
  mkdirSync(tokens);
  writeFileSync(SOFTHSM2_CONF, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const init = ['--init-token', '--free', '--label', TOKEN_LABEL, '--so-pin', '5678', '--pin', PIN];
  const made = spawnSync('softhsm2-util', init, { env: { PATH: process.env.PATH, SOFTHSM2_CONF } });
  if (made.status !== 0) throw new Error(String(made.stderr));
  const writePin = (pin: string) => writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
  writePin(PIN);
  return {
    pinFile,
    tokens,
    environment: { SOFTHSM2_CONF },
    writePin,
    unplug: () => renameSync(tokens, `${tokens}-away`),
    plugIn: () => renameSync(`${tokens}-away`, tokens),
  };
}
