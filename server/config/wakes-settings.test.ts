import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { loadConfig } from './config-sources.ts';
import { wakesSettings } from './wakes-settings.ts';

function settingsOf(wakes: Readonly<Record<string, string>>) {
  const flags = Object.entries(wakes).map(([name, value]) => [['store', 'wakes', name], value] as const);
  const { store } = loadConfig({ file: undefined, environment: {}, flags });
  return wakesSettings(store.wakes, store.schema, Date.now);
}

function secretFile(text: string, mode = 0o600): string {
  const path = join(temporaryDirectory(), 'secret');
  writeFileSync(path, text, { mode });
  return path;
}

const refusal = (wakes: Readonly<Record<string, string>>) => expect(() => settingsOf(wakes));

it('wakes are carried by the store without settings', () => {
  expect(settingsOf({})).toBeUndefined();
});

it('wakes over NATS name each server with its port, and a subject for each fleet', () => {
  const settings = settingsOf({ url: 'tls://nats-1.example,[2001:db8::1]:4333' });
  expect(settings).toMatchObject({
    servers: ['nats-1.example:4222', '[2001:db8::1]:4333'],
    subject: 'rollcall.wakes.rollcall',
    user: undefined,
    password: undefined,
  });
  expect(settings?.tls?.()).toEqual({});
  expect(settingsOf({ url: 'nats://127.0.0.1:4222,[::1]' })).toMatchObject({ tls: undefined });
});

it('wakes over NATS read secrets from files at each connection', () => {
  const passwordFile = secretFile('one\n');
  const settings = settingsOf({ url: 'tls://nats.example', user: 'rollcall', passwordFile });
  expect(settings).toMatchObject({ user: 'rollcall' });
  expect(settings?.password?.()).toBe('one');
  writeFileSync(passwordFile, 'other\n');
  expect(settings?.password?.()).toBe('other');
});

it('wakes over NATS are refused without TLS beyond this machine, with a secret in the URL, and with files that cannot be used', () => {
  refusal({ url: 'nats://127.0.0.1,nats.example' }).toThrow('store.wakes.url: expected tls://');
  refusal({ url: 'tls://rollcall:secret@nats.example' }).toThrow('without credentials');
  refusal({ url: 'tls://nats.example:70000' }).toThrow('expected hosts as host:port');
  refusal({ url: 'tls://nats.example', subject: 'rollcall.>' }).toThrow('expected a subject without wildcards');
  refusal({ url: 'nats://127.0.0.1', caFile: '/ca.pem' }).toThrow('expected a URL of tls://');
  refusal({ url: 'tls://nats.example', tokenFile: '/absent' }).toThrow('expected a file at /absent, found none');
  refusal({ url: 'tls://nats.example', nkeyFile: secretFile('x', 0o644) }).toThrow('expected');
});
