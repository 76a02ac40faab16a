/** The files of `ca/` that another node with the role enroll needs: certificates, revocation lists of roots, and issuing keys. Keys of roots stay here. */

import type { CaDirectory } from './ca-directory.ts';
import type { KeyStore } from './key-store.ts';

export interface AuthorityExport {
  /** Without keys: by file name. */
  readonly files: Readonly<Record<string, string>>;
  /** Plain PEM by file name; empty where they are in a token of PKCS#11. */
  readonly keys: Readonly<Record<string, string>>;
}

export async function exportAuthority(directory: CaDirectory, keys: KeyStore): Promise<AuthorityExport> {
  const files: Record<string, string> = {};
  for (const kind of ['pem', 'crl', 'uri'] as const) {
    for (const name of await directory.names(kind)) {
      if (kind === 'uri' && !name.startsWith('issuing')) continue;
      const text = await directory.readText(name, kind);
      if (text !== undefined) files[`${name}.${kind}`] = text;
    }
  }
  const plain: Record<string, string> = {};
  for (const name of await directory.names('key')) {
    const text = name.startsWith('issuing') ? await keys.exportPem(name) : undefined;
    if (text !== undefined) plain[`${name}.key`] = text;
  }
  return { files, keys: plain };
}
