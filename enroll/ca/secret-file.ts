/** Reads a secret from a file, and refuses a file that other users can read. */

import { readFile, realpath, stat } from 'node:fs/promises';
import { sep } from 'node:path';
import { Problem } from '@rollcall/protocol';

const LARGEST = 4_096;
/** Permission bits of the group and of others. */
const OTHERS = 0o077;
/** A systemd credential is 0440, in a directory that only its service can enter (systemd.exec, LoadCredential). */
const CREDENTIAL_OTHERS = 0o037;

/**
 * The text without line breaks at its end. Throws Problem `config_invalid` without a file, `private_key_exposed` when
 * others can read it. `credentialsDirectory` is systemd's `$CREDENTIALS_DIRECTORY`; the group may read files below it.
 */
export async function readSecretFile(
  file: string,
  what: string,
  credentialsDirectory: string | undefined,
): Promise<string> {
  try {
    const { mode, size } = await stat(file);
    const refused = (await isBelow(file, credentialsDirectory)) ? CREDENTIAL_OTHERS : OTHERS;
    if (process.platform !== 'win32' && (mode & refused) !== 0) {
      throw new Problem('private_key_exposed', {
        reason: `expected a ${what} that others cannot read in ${file}, found mode ${(mode & 0o777).toString(8)}`,
        hint: `run: chmod 600 ${file}`,
      });
    }
    if (size > LARGEST) {
      throw new Problem('config_invalid', { reason: `${what} file ${file}: expected at most ${LARGEST} bytes` });
    }
    return (await readFile(file, 'utf8')).replace(/[\r\n]+$/, '');
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('config_invalid', {
      reason: `${what} file ${file}: ${(error as NodeJS.ErrnoException).code}`,
    });
  }
}

async function isBelow(file: string, directory: string | undefined): Promise<boolean> {
  if (directory === undefined || directory === '') return false;
  const [inner, outer] = await Promise.all([realpath(file), realpath(directory).catch(() => undefined)]);
  return outer !== undefined && inner.startsWith(outer + sep);
}
