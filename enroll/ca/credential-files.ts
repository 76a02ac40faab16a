/**
 * A server certificate that another CA issues and renews (cert-manager, an ACME client). The files are watched; a new pair
 * is used when certificate and key belong together, and refused otherwise, so that an incomplete or wrong pair leaves the
 * current one in use.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { SerialQueue } from './serial-queue.ts';

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

/** An error: the reason why the pair in the files is not in use. */
export interface WatchedFiles {
  error(): string | undefined;
  /** Looks at them now. Resolves when a new pair is in use or refused. */
  check(): Promise<void>;
  close(): void;
}

/** A program needs a moment to write two files, and a watcher reports each change several times. */
const SETTLE_MS = 200;
/** Some file systems report no changes. */
const CHECK_EVERY_MS = 60_000;

/**
 * Calls `onPair` with the pair now and after each change. Throws Problem `config_invalid` when the first pair cannot be
 * used. A later pair that cannot be used is logged, reported by `error`, and ignored.
 */
export async function watchCredentialFiles(
  files: CredentialFiles,
  options: {
    readonly name: string;
    readonly onPair: (pair: CredentialPair) => void;
    readonly now: () => number;
    readonly log: Logger;
  },
): Promise<WatchedFiles> {
  const { name, onPair, now, log } = options;
  const first = await readPair(files, now());
  if (typeof first === 'string') throw new Problem('config_invalid', { reason: `certificate of ${name}: ${first}` });
  onPair(first);
  let current = first.cert + first.key;
  let error: string | undefined;

  const check = async (): Promise<void> => {
    const pair = await readPair(files, now());
    if (typeof pair === 'string') {
      if (pair !== error)
        log.error({ server: name, reason: pair }, 'new server certificate refused; the old one stays');
      error = pair;
      return;
    }
    error = undefined;
    if (pair.cert + pair.key === current) return;
    current = pair.cert + pair.key;
    onPair(pair);
  };
  const checks = new SerialQueue();
  const folders = new Set([dirname(files.cert), dirname(files.key)]);
  const close = watchFolders(folders, () => checks.add(check), { name, log });
  return { error: () => error, check: () => checks.add(check), close };
}

/**
 * Runs `check` after a change in the folders, and once a minute. The folders are watched and not the files, because a
 * replaced file, or a replaced link to its folder, is another file. Returns the function that stops.
 */
function watchFolders(
  folders: ReadonlySet<string>,
  check: () => Promise<void>,
  { name, log }: { readonly name: string; readonly log: Logger },
): () => void {
  let timer: NodeJS.Timeout | undefined;
  const checkSoon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      check().catch((error: unknown) => {
        log.error({ server: name, err: error }, 'server certificate could not be read');
      });
    }, SETTLE_MS);
    timer.unref();
  };
  const watchers = [...folders].map((folder) =>
    watch(folder, { persistent: false }, checkSoon).on('error', (error) =>
      log.warn({ server: name, err: error }, 'folder of a server certificate is not watched'),
    ),
  );
  const interval = setInterval(checkSoon, CHECK_EVERY_MS).unref();
  return () => {
    for (const watcher of watchers) watcher.close();
    clearTimeout(timer);
    clearInterval(interval);
  };
}

/** The pair, or the reason why it cannot be used; the reason never quotes the files. */
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
