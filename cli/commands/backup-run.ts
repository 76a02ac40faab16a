/** What `rollcall backup` does. Loaded when it is called, with what reads a data directory. */

import { Problem } from '@rollcall/protocol';
import { readAuditHead } from '../../registry/open.ts';
import { backUp } from '../../server/backup/index.ts';
import { version } from '../../server/config/index.ts';
import { loadConfig, readPassphraseFile } from '../../server/config/load.ts';
import { authoritySigner, operatorSigner } from '../backup-signer.ts';
import { run } from '../command-line.ts';
import { dataDirectoryOf } from '../console-address.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface BackupOptions {
  readonly data?: string;
  readonly config?: string;
  readonly passphraseFile?: string;
  readonly signingKey?: string;
}

export const backup = run<BackupOptions>(async ({ args, options, form }) => {
  const [file = ''] = args;
  const { passphraseFile, signingKey } = options;
  if (passphraseFile !== undefined && signingKey !== undefined) {
    throw new Problem('usage', { detail: 'expected --passphrase-file or --signing-key, found both' });
  }
  const data = dataDirectoryOf(options);
  const take = (protection: Parameters<typeof backUp>[0]['protection']) =>
    backUp({ data, file, protection, auditHead: readAuditHead, version, now: Date.now });
  const { takenAt, files, auditHead } =
    passphraseFile === undefined
      ? await signed(data, options, take)
      : await take({ passphrase: readPassphraseFile(passphraseFile) });
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const keys = passphraseFile === undefined ? 'none' : 'encrypted';
  if (form === 'json') return printJson({ file, takenAt, files: files.length, bytes, keys, auditHead });
  printResult(`${file}: ${files.length} files, ${bytes} bytes, of ${takenAt}`);
  if (auditHead !== null) note(`store the audit head on another machine: ${auditHead.id}:${auditHead.hash}`);
  if (keys === 'none') note('it holds no private key; copy the ca directory as well, or use --passphrase-file');
});

async function signed<Result>(
  data: string,
  { signingKey, config }: BackupOptions,
  take: (protection: { readonly signer: Awaited<ReturnType<typeof operatorSigner>> }) => Promise<Result>,
): Promise<Result> {
  const signer =
    signingKey === undefined
      ? await authoritySigner(
          data,
          loadConfig({ file: config, environment: process.env, flags: [] }),
          process.env.CREDENTIALS_DIRECTORY,
        )
      : await operatorSigner(signingKey);
  try {
    return await take({ signer });
  } finally {
    signer.close();
  }
}
