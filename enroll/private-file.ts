/** Reads a secret of the authority from a file, and refuses one that others can read. Knows nothing of what it is for. */

import { readFile, stat } from 'node:fs/promises';
import { Problem } from '../contract/problem.ts';

const LARGEST = 4_096;

/** Without line breaks at its end. Problem `config_invalid` when there is none, `private_key_exposed` when others can read it. */
export async function readPrivateText(file: string, what: string): Promise<string> {
  try {
    const { mode, size } = await stat(file);
    // A systemd credential is 0440 and in a directory of its own (systemd.exec, LoadCredential).
    if (process.platform !== 'win32' && (mode & 0o027) !== 0) {
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
