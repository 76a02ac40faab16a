/**
 * From sinks as they are configured to sinks as they are opened: finds their credentials, in files that nobody else can
 * read or in the environment, once to see that they are there and then at each connection anew.
 */

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Problem } from '../contract/problem.ts';
import { isLoopback } from '../sinks/loopback.ts';
import type { SinkSettings, TargetSettings } from '../sinks/open.ts';
import type { Secret } from '../sinks/target.ts';
import type { SinkConfig } from './sink-config.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const LONGEST_SECRET = 65_536;
const SHORTEST_SIGNING_KEY = 24;

/** Throws Problem `config_invalid` or `private_key_exposed` that names the sink and what was expected. */
export function sinkSettings(sinks: readonly SinkConfig[], environment: Environment): readonly SinkSettings[] {
  return sinks.map((config) => ({
    name: config.name,
    source: config.source,
    filter: config.filter,
    batch: config.batch,
    retry: config.retry,
    deadLetterBytes: config.deadLetters,
    destination: destinationOf(config),
    target: targetOf(config, environment),
  }));
}

function targetOf(config: SinkConfig, environment: Environment): TargetSettings {
  const { name, timeout } = config;
  const secret = (what: string, file: string | undefined, variable: string | undefined) =>
    secretOf(`sink ${name}: ${what}`, file, variable, environment);
  const ca = (file: string | undefined) => (file === undefined ? undefined : readCertificates(name, file));
  switch (config.kind) {
    case 'nats': {
      const { hostname, port, protocol } = config.url;
      return {
        kind: 'nats',
        server: `${hostname}:${port || 4222}`,
        tls: protocol === 'tls:' ? 'verify' : 'none',
        ca: ca(config.caFile),
        user: config.user,
        password: secret('password', config.passwordFile, config.passwordVariable),
        token: secret('token', config.tokenFile, config.tokenVariable),
        credentials: secret('credentials', config.credentialsFile, undefined),
        stream: config.stream,
        subject: config.subject,
        timeout,
      };
    }
    case 'postgres': {
      const { hostname, port, pathname } = config.url;
      const host = config.socketDirectory === undefined ? bare(hostname) : resolve(config.socketDirectory);
      return {
        kind: 'postgres',
        host,
        port: Number(port || 5432),
        database: decodeURIComponent(pathname.slice(1)),
        user: config.user,
        password: secret('password', config.passwordFile, config.passwordVariable),
        tls: config.socketDirectory !== undefined || isLoopback(hostname) ? 'none' : 'verify',
        ca: ca(config.caFile),
        table: config.table,
        timeout,
      };
    }
    case 'webhook': {
      const key = secret('secret', config.secretFile, config.secretVariable);
      if (key === undefined) throw invalid(`sink ${name}: expected secretFile or secretVariable, found neither`);
      if (key().length < SHORTEST_SIGNING_KEY) {
        throw invalid(`sink ${name}: expected a secret of at least ${SHORTEST_SIGNING_KEY} characters`);
      }
      return {
        kind: 'webhook',
        url: config.url.href,
        secret: key,
        bearer: secret('bearer', config.bearerFile, config.bearerVariable),
        ca: ca(config.caFile),
        timeout,
      };
    }
    case 'file':
      return { kind: 'file', path: resolve(config.path), rotateBytes: config.rotate, keep: config.keep };
  }
}

function destinationOf(config: SinkConfig): string {
  switch (config.kind) {
    case 'nats':
      return `${config.url.href} stream ${config.stream}`;
    case 'postgres':
      return `${config.url.href} table ${config.table}`;
    case 'webhook':
      return config.url.href;
    case 'file':
      return resolve(config.path);
  }
}

function secretOf(
  what: string,
  file: string | undefined,
  variable: string | undefined,
  environment: Environment,
): Secret | undefined {
  if (file !== undefined && variable !== undefined) throw invalid(`${what}: expected a file or a variable, found both`);
  if (file === undefined && variable === undefined) return undefined;
  const read = () => {
    const text = file === undefined ? environment[variable as string] : readPrivately(what, resolve(file));
    const secret = text?.replace(/\r?\n$/, '') ?? '';
    if (secret !== '') return secret;
    throw invalid(`${what}: expected ${file === undefined ? `the variable ${variable} to be set` : `text in ${file}`}`);
  };
  read();
  return read;
}

function readPrivately(what: string, file: string): string {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined || !found.isFile()) throw invalid(`${what}: expected a file at ${file}, found none`);
  if ((found.mode & 0o077) !== 0) {
    throw new Problem('private_key_exposed', {
      reason: `${what}: expected ${file} to be readable by its owner alone, found mode ${(found.mode & 0o777).toString(8)}`,
      hint: `chmod 600 ${file}`,
    });
  }
  if (found.size > LONGEST_SECRET) throw invalid(`${what}: expected at most ${LONGEST_SECRET} bytes in ${file}`);
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`${what}: ${file} could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function readCertificates(sink: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(resolve(file), 'utf8');
  } catch (error) {
    throw invalid(`sink ${sink}: caFile: ${file} could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw invalid(`sink ${sink}: caFile: expected certificates in PEM in ${file}, found none`);
}

function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1');
}

function invalid(reason: string): Problem {
  return new Problem('config_invalid', { reason, hint: 'docs/sinks.md has an example of each kind' });
}
