/** `node/` in the data directory: what this host got when it joined the fleet. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_NAME, Problem, parseEnrollUrl } from '@rollcall/protocol';

export interface NodeFiles {
  readonly directory: string;
  /** Key, and chain of the certificate once there is one: 0600. */
  readonly identity: string;
  /** The trust bundle. */
  readonly ca: string;
  /** JSON: name of the node, and where it renews. */
  readonly about: string;
  readonly databasePassword: string;
  readonly databaseCa: string;
}

/** Private keys and passwords in it, whether they are there or not: for their owner only. */
export function nodeSecretsIn(data: string): readonly string[] {
  const { directory, identity, databasePassword } = nodeFilesIn(data);
  return [identity, databasePassword, ...LISTENERS.map((name) => listenerFileIn(directory, name))];
}

/** Listeners whose key and certificate a node without keys of the CA stores. */
const LISTENERS = ['broker', 'console'] as const;

export function listenerFileIn(directory: string, listener: (typeof LISTENERS)[number]): string {
  return join(directory, `${listener}.pem`);
}

export interface NodeIdentity {
  readonly name: string;
  /** Of a node with the role enroll. */
  readonly enrollUrl: string;
  /** Key and chain of the certificate, leaf first. */
  readonly pem: string;
  /** The trust bundle, PEM. */
  readonly ca: string;
}

export function nodeFilesIn(data: string): NodeFiles {
  const directory = join(data, 'node');
  const file = (name: string) => join(directory, name);
  return {
    directory,
    identity: file('identity.pem'),
    ca: file('ca.pem'),
    about: file('node.json'),
    databasePassword: file('database-password'),
    databaseCa: file('database-ca.pem'),
  };
}

/** Undefined when this host has joined no fleet. Problem `private_key_exposed` or `authority_unusable` for files that cannot be used. */
export function readNodeIdentity(data: string): NodeIdentity | undefined {
  const files = nodeFilesIn(data);
  const unusable = (reason: string) =>
    new Problem('authority_unusable', {
      reason: `${files.directory}: ${reason}`,
      hint: 'join the fleet again: "rollcall node join"',
    });
  let texts: readonly string[];
  try {
    if ((statSync(files.identity).mode & 0o077) !== 0) {
      throw new Problem('private_key_exposed', { reason: files.identity, hint: `chmod 600 ${files.identity}` });
    }
    texts = [files.about, files.identity, files.ca].map((path) => readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof Problem) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(`could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  const [about = '', pem = '', ca = ''] = texts;
  const { name, enrollUrl } = readAbout(about);
  if (typeof name !== 'string' || !NODE_NAME.test(name)) throw unusable('expected the name of a node in node.json');
  const url = typeof enrollUrl === 'string' ? parseEnrollUrl(enrollUrl) : undefined;
  if (url === undefined) throw unusable('expected an enroll URL in node.json');
  return { name, enrollUrl: url, pem, ca };
}

function readAbout(text: string): { readonly name?: unknown; readonly enrollUrl?: unknown } {
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === 'object' && found !== null) return found;
  } catch {}
  return {};
}
