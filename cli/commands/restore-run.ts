/** What `rollcall restore` does. Loaded when it is called, with what writes a data directory. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { readVerifiedAuditHead } from '../../registry/open.ts';
import { readPublicKey, restore } from '../../server/backup/index.ts';
import { readPassphraseFile } from '../../server/config/load.ts';
import { run } from '../command-line.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface RestoreOptions {
  readonly data: string;
  readonly passphraseFile?: string;
  readonly ca?: string;
  readonly root?: string;
  readonly signedBy?: string;
  readonly acceptUnauthenticated?: boolean;
}

export const restoreBackup = run<RestoreOptions>(async ({ args, options, form }) => {
  const [file = ''] = args;
  const { data, passphraseFile, ca, root, signedBy, acceptUnauthenticated = false } = options;
  const { manifest, provenBy } = restore({
    file,
    data,
    now: Date.now,
    trust: {
      roots: root === undefined ? [] : [readTrusted('--root', root, (pem) => new X509Certificate(pem))],
      keys: signedBy === undefined ? [] : [readTrusted('--signed-by', signedBy, readPublicKey)],
    },
    acceptUnauthenticated,
    auditHead: readVerifiedAuditHead,
    ...(passphraseFile !== undefined && { passphrase: readPassphraseFile(passphraseFile) }),
    ...(ca !== undefined && { authority: ca }),
  });
  const { takenAt, files } = manifest;
  if (provenBy === 'nothing') {
    note('WARNING: this backup is not authenticated. Anyone who could write the file may have');
    note(
      'WARNING: un-revoked devices, added tokens or shortened the audit. Check all of them before you start a server.',
    );
  }
  const auditHead = manifest.format === 1 ? null : manifest.auditHead;
  if (form === 'json') return printJson({ data, takenAt, files: files.length, provenBy, auditHead });
  printResult(`${data}: restored as of ${takenAt}`);
  if (auditHead !== null) note(`audit head: ${auditHead.id}:${auditHead.hash}`);
  note('revocations, suspensions and other changes made since then are missing: repeat them before you start a server');
});

function readTrusted<Value>(option: string, file: string, read: (pem: string) => Value): Value {
  try {
    return read(readFileSync(file, 'utf8'));
  } catch (cause) {
    const wanted = option === '--root' ? 'a root certificate in PEM' : 'a public key or certificate on P-256 in PEM';
    throw new Problem('usage', { detail: `expected ${wanted} in the file of ${option}`, cause });
  }
}
