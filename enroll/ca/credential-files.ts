/**
 * A server certificate that somebody else issues and renews (cert-manager, an ACME client): read from its files, watched,
 * taken when both files are new and fit, and refused otherwise, so that a half-written or wrong pair takes nothing down.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

export interface CredentialFiles {
  /** Chain, leaf first, PEM. */
  readonly cert: string;
  /** Private key, PEM, without a passphrase. */
  readonly key: string;
}

export interface CredentialPair {
  readonly cert: string;
  readonly key: string;
  readonly notAfter: number;
}

/** Writers of two files need a moment between them; watchers tell of each change several times. */
const SETTLE_MS = 200;
/** Not every file system tells of changes. */
const LOOK_EVERY_MS = 60_000;

/**
 * Hands the pair to `adopt` now and after each change. Throws Problem `config_invalid` when the first pair can't be used;
 * later ones that can't are logged, told by `fault`, and otherwise ignored.
 */
export async function watchCredentialFiles(
  files: CredentialFiles,
  options: {
    readonly name: string;
    readonly adopt: (pair: CredentialPair) => void;
    readonly now: () => number;
    readonly log: Logger;
  },
): Promise<{ fault(): string | undefined; close(): void }> {
  const { name, adopt, now, log } = options;
  const first = await readPair(files, now());
  if (typeof first === 'string') throw new Problem('config_invalid', { reason: `certificate of ${name}: ${first}` });
  adopt(first);
  let current = first.cert + first.key;
  let fault: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  const look = async (): Promise<void> => {
    const pair = await readPair(files, now());
    if (typeof pair === 'string') {
      if (pair !== fault)
        log.error({ server: name, reason: pair }, 'new server certificate refused; the old one stays');
      fault = pair;
      return;
    }
    fault = undefined;
    if (pair.cert + pair.key === current) return;
    current = pair.cert + pair.key;
    adopt(pair);
  };
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      looking = (looking ?? Promise.resolve()).then(look).catch((error: unknown) => {
        log.error({ server: name, err: error }, 'server certificate could not be read');
      });
    }, SETTLE_MS);
    timer.unref();
  };

  // The folders, not the files: whoever replaces a file, or the link to its folder, leaves a watched file behind.
  const watchers: FSWatcher[] = [];
  for (const folder of new Set([dirname(files.cert), dirname(files.key)])) {
    const watcher = watch(folder, { persistent: false }, soon);
    watcher.on('error', (error) =>
      log.warn({ server: name, err: error }, 'folder of a server certificate is not watched'),
    );
    watchers.push(watcher);
  }
  const interval = setInterval(soon, LOOK_EVERY_MS);
  interval.unref();

  return {
    fault: () => fault,
    close: () => {
      for (const watcher of watchers) watcher.close();
      clearTimeout(timer);
      clearInterval(interval);
    },
  };
}

/** A text that says what is wrong otherwise; it never quotes the files. */
async function readPair(files: CredentialFiles, now: number): Promise<CredentialPair | string> {
  let cert: string;
  let key: string;
  try {
    [cert, key] = await Promise.all([readFile(files.cert, 'utf8'), readFile(files.key, 'utf8')]);
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    return `expected a file that can be read, found ${code} at ${path}`;
  }
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(cert);
  } catch {
    return `expected a certificate in PEM in ${files.cert}`;
  }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(key)))
      return `expected the key of the certificate in ${files.key}, found another`;
  } catch {
    return `expected a private key in PEM without a passphrase in ${files.key}`;
  }
  if (leaf.ca) return `expected a server's certificate first in ${files.cert}, found a CA's`;
  const notAfter = leaf.validToDate.getTime();
  if (now >= notAfter)
    return `expected a certificate that is valid now in ${files.cert}, found one that ended ${leaf.validToDate.toISOString()}`;
  if (now < leaf.validFromDate.getTime())
    return `expected a certificate that is valid now in ${files.cert}, found one that is not yet`;
  return { cert, key, notAfter };
}
