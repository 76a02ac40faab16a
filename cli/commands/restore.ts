import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import { readVerifiedAuditHead } from '../../registry/index.ts';
import { publicKeyIn, restore } from '../../server/backup/index.ts';
import { passphraseIn } from '../../server/config/index.ts';
import { run, speaksJson } from '../command-line.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface RestoreOptions {
  readonly data: string;
  readonly passphraseFile?: string;
  readonly ca?: string;
  readonly root?: string;
  readonly signedBy?: string;
  readonly acceptUnauthenticated?: boolean;
}

const restoring = run<RestoreOptions>(async ({ args, options, form }) => {
  const [file = ''] = args;
  const { data, passphraseFile, ca, root, signedBy, acceptUnauthenticated = false } = options;
  const { manifest, provenBy } = restore({
    file,
    data,
    now: Date.now,
    trust: {
      roots: root === undefined ? [] : [readTrusted('--root', root, (pem) => new X509Certificate(pem))],
      keys: signedBy === undefined ? [] : [readTrusted('--signed-by', signedBy, publicKeyIn)],
    },
    acceptUnauthenticated,
    auditHead: readVerifiedAuditHead,
    ...(passphraseFile !== undefined && { passphrase: passphraseIn(passphraseFile) }),
    ...(ca !== undefined && { authority: ca }),
  });
  const { takenAt, files } = manifest;
  if (provenBy === 'nothing') {
    note('WARNING: nothing proves that this backup is what the fleet wrote. Anybody who could write the file may have');
    note('WARNING: un-revoked devices, added tokens or shortened the audit. Check all of them before you start it.');
  }
  const auditHead = manifest.format === 1 ? null : manifest.auditHead;
  if (form === 'json') return printJson({ data, takenAt, files: files.length, provenBy, auditHead });
  printResult(`${data}: the fleet as of ${takenAt}`);
  if (auditHead !== null) note(`the head of its audit is ${auditHead.id}:${auditHead.hash}`);
  note('what was revoked, suspended or changed since then is not in it: do it again before you start');
});

function readTrusted<Value>(option: string, file: string, read: (pem: string) => Value): Value {
  try {
    return read(readFileSync(file, 'utf8'));
  } catch (cause) {
    const wanted = option === '--root' ? 'a root certificate in PEM' : 'a public key or certificate on P-256 in PEM';
    throw new Problem('usage', { detail: `expected ${wanted} in the file of ${option}`, cause });
  }
}

export function restoreCommand(): Command {
  return speaksJson(new Command('restore').description('make a data directory of a backup'))
    .argument('<file>', 'the backup')
    .requiredOption('--data <dir>', 'the directory; it must be empty, or not exist')
    .option(
      '--passphrase-file <file>',
      'holds the passphrase that encrypted the private keys; it proves the whole backup',
    )
    .option('--ca <dir>', "a copy of the fleet's ca directory, for a backup without keys; its roots are believed")
    .option('--root <file>', 'a root certificate: signatures of issuing CAs below it are believed')
    .option('--signed-by <file>', "the public key, or its certificate, of an operator's --signing-key")
    .option('--accept-unauthenticated', 'restore a backup that nothing proves, such as one of format 1')
    .action(restoring);
}
