/** Converts the configuration of sinks into the settings that open them. */

import { resolve } from 'node:path';
import { Problem, parseDecimal } from '@rollcall/protocol';
import { isLoopback, type SinkSettings, type TargetSettings, type TargetTls } from '../../telemetry/index.ts';
import { type Environment, namedSecret } from './private-files.ts';
import type { SinkConfig } from './sink-config.ts';
import { expectNoTlsFiles, loadTlsFiles } from './tls-files.ts';

const MIN_SIGNING_KEY_CHARACTERS = 24;

export interface SinkContext {
  readonly environment: Environment;
  /** Milliseconds since the epoch; checks the expiry of client certificates. */
  readonly now: () => number;
}

/** Throws Problem `config_invalid` or `private_key_exposed`, whose reason names the sink. */
export function sinkSettings(sinks: readonly SinkConfig[], { environment, now }: SinkContext): readonly SinkSettings[] {
  return sinks.map((config) => ({
    name: config.name,
    source: config.source,
    filter: config.filter,
    batch: config.batch,
    retry: config.retry,
    deadLetterBytes: config.deadLetters,
    every: 'every' in config ? config.every : undefined,
    destination: destinationOf(config),
    target: withHint(() => targetOf(config, { environment, now })),
  }));
}

function targetOf(config: SinkConfig, { environment, now }: SinkContext): TargetSettings {
  const { name, timeout } = config;
  const secret = (what: string, file: string | undefined, variable: string | undefined) =>
    namedSecret(`sink ${name}: ${what}`, file, variable, environment);
  switch (config.kind) {
    case 'nats': {
      const { hostname, port, protocol } = config.url;
      return {
        kind: 'nats',
        server: `${hostname}:${port || 4222}`,
        tls:
          protocol === 'tls:'
            ? loadTlsFiles(`sink ${config.name}`, config, now)
            : expectNoTlsFiles(`sink ${config.name}`, config, 'a URL of tls://'),
        user: config.user,
        password: secret('password', config.passwordFile, config.passwordVariable),
        token: secret('token', config.tokenFile, config.tokenVariable),
        credentials: secret('credentials', config.credentialsFile, undefined),
        nkey: secret('nkey', config.nkeyFile, undefined),
        stream: config.stream,
        subject: config.subject,
        timeout,
      };
    }
    case 'postgres': {
      const { hostname, port, pathname } = config.url;
      const host = config.socketDirectory === undefined ? withoutBrackets(hostname) : resolve(config.socketDirectory);
      return {
        kind: 'postgres',
        host,
        port: parseDecimal(port, 0, 65_535) ?? 5432,
        database: decodeURIComponent(pathname.slice(1)),
        user: config.user,
        password: secret('password', config.passwordFile, config.passwordVariable),
        tls: postgresTls(config, now),
        table: config.table,
        timeout,
      };
    }
    case 'webhook': {
      const key = secret('secret', config.secretFile, config.secretVariable);
      if (key === undefined) throw invalidSink(`sink ${name}: expected secretFile or secretVariable, found neither`);
      if (key().length < MIN_SIGNING_KEY_CHARACTERS) {
        throw invalidSink(`sink ${name}: expected a secret of at least ${MIN_SIGNING_KEY_CHARACTERS} characters`);
      }
      return {
        kind: 'webhook',
        url: config.url.href,
        secret: key,
        bearer: secret('bearer', config.bearerFile, config.bearerVariable),
        tls:
          config.url.protocol === 'https:'
            ? loadTlsFiles(`sink ${config.name}`, config, now)
            : expectNoTlsFiles(`sink ${config.name}`, config, 'a URL of https://'),
        timeout,
      };
    }
    case 'email': {
      const { hostname, port, protocol } = config.url;
      const password = secret('password', config.passwordFile, config.passwordVariable);
      if ((config.user === undefined) !== (password === undefined)) {
        throw invalidSink(`sink ${name}: expected user with passwordFile or passwordVariable, found one of them`);
      }
      const isImplicit = protocol === 'smtps:';
      return {
        kind: 'email',
        host: withoutBrackets(hostname),
        port: parseDecimal(port, 0, 65_535) ?? (isImplicit ? 465 : 587),
        mode: isImplicit ? 'implicit' : 'starttls',
        tls: isImplicit ? loadTlsFiles(`sink ${config.name}`, config, now) : tlsUnlessLoopback(config, now),
        user: config.user,
        password,
        from: config.from,
        to: config.to,
        timeout,
      };
    }
    case 'file':
      return { kind: 'file', path: resolve(config.path), rotateBytes: config.rotate, keep: config.keep };
  }
}

/** TLS as in `sslmode=verify-full`. */
function postgresTls(config: SinkConfig & { readonly kind: 'postgres' }, now: () => number): TargetTls {
  if (config.socketDirectory !== undefined)
    return expectNoTlsFiles(`sink ${config.name}`, config, 'no socketDirectory');
  return tlsUnlessLoopback(config, now);
}

/** A server on this machine is used without TLS unless TLS files are named. */
function tlsUnlessLoopback(config: SinkConfig & { readonly kind: 'postgres' | 'email' }, now: () => number): TargetTls {
  const { caFile, certificateFile, keyFile } = config;
  const isNamed = (caFile ?? certificateFile ?? keyFile) !== undefined;
  return isLoopback(config.url.hostname) && !isNamed ? 'none' : loadTlsFiles(`sink ${config.name}`, config, now);
}

function destinationOf(config: SinkConfig): string {
  switch (config.kind) {
    case 'nats':
      return `${config.url.href} stream ${config.stream}`;
    case 'postgres':
      return `${config.url.href} table ${config.table}`;
    case 'webhook':
      return config.url.href;
    case 'email':
      return `${config.url.href} to ${config.to.join(', ')}`;
    case 'file':
      return resolve(config.path);
  }
}

function withHint<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'config_invalid') throw error;
    throw invalidSink(error.reason ?? '');
  }
}

function invalidSink(reason: string): Problem {
  return new Problem('config_invalid', { reason, hint: 'docs/sinks.md has an example of each kind' });
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1');
}
