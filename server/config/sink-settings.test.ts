import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { loadConfig } from './config-sources.ts';
import { sinkSettings } from './sink-settings.ts';

const SECRET = 'hunter2-and-some-more-characters';

function secretFile(mode = 0o600): string {
  const file = join(temporaryDirectory(), 'secret');
  writeFileSync(file, `${SECRET}\n`);
  chmodSync(file, mode);
  return file;
}

function settingsOf(yaml: string, environment: Readonly<Record<string, string>> = {}) {
  const file = join(temporaryDirectory(), 'rollcall.yaml');
  writeFileSync(file, yaml);
  return sinkSettings(loadConfig({ file, environment: {}, flags: [] }).sinks, { environment, now: Date.now });
}

const sink = (fields: string) => `sinks:\n  - name: out\n    ${fields.split('\n').join('\n    ')}\n`;

function refusalOf(yaml: string, environment: Readonly<Record<string, string>> = {}): string {
  try {
    settingsOf(yaml, environment);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

const MAIL = 'kind: email\nurl: smtp://mail.example:587\nfrom: a@example.com\n';
const CHOSEN = 'to: [ops@example.com]\nfilter: { streams: [cert] }\n';

describe('a sink in the configuration', () => {
  it('has defaults for all options except name, kind and target', () => {
    expect(settingsOf(sink('kind: file\npath: /tmp/out.ndjson'))).toEqual([
      {
        name: 'out',
        source: 'telemetry',
        filter: { devices: [], groups: [], streams: [] },
        batch: { messages: 500, bytes: 1_048_576, linger: 50 },
        retry: { first: 500, most: 60_000 },
        deadLetterBytes: 16 * 1_048_576,
        destination: '/tmp/out.ndjson',
        target: { kind: 'file', path: '/tmp/out.ndjson', rotateBytes: 256 * 1_048_576, keep: 16 },
      },
    ]);
  });

  it('reads its credentials from a file or a variable at each use', () => {
    const file = secretFile();
    const nats = 'kind: nats\nurl: tls://bus.example:4222\nuser: u\n';
    const [byFile] = settingsOf(sink(`${nats}passwordFile: ${file}`));
    const [byVariable] = settingsOf(sink(`${nats}passwordVariable: BUS`), { BUS: 'from there' });
    if (byFile?.target.kind !== 'nats' || byVariable?.target.kind !== 'nats') throw new Error('expected two of NATS');
    expect(byFile.target).toMatchObject({ server: 'bus.example:4222', tls: expect.any(Function), user: 'u' });
    expect(byFile.target.password?.()).toBe(SECRET);
    writeFileSync(file, 'exchanged');
    expect(byFile.target.password?.()).toBe('exchanged');
    expect(byVariable.target.password?.()).toBe('from there');
    expect(JSON.stringify(byFile)).not.toContain('exchanged');
  });

  it.each([
    [`nats://user:${SECRET}@127.0.0.1:4222`, 'nats'],
    [`postgres://user:${SECRET}@127.0.0.1/fleet`, 'postgres'],
    [`https://user:${SECRET}@hooks.example/`, 'webhook'],
    [`https://:${SECRET}@hooks.example/`, 'webhook'],
  ])('is refused with credentials in its URL, which are not repeated', (url, kind) => {
    const said = refusalOf(sink(`kind: ${kind}\nurl: "${url}"`));
    expect(said).toMatch(/rollcall\.yaml:4: sinks\.0\.url: expected a URL without credentials; .*passwordFile/);
    expect(said).not.toContain(SECRET);
  });

  it.each([
    [
      'a secret in the query',
      `kind: webhook\nurl: "https://hooks.example/?key=${SECRET}"`,
      'without query and fragment',
    ],
    ['another scheme', 'kind: webhook\nurl: ftp://hooks.example/', 'begins with https:// or http://'],
    ['no URL', 'kind: nats\nurl: bus', 'begins with tls:// or nats://'],
    ['a webhook in the clear to elsewhere', 'kind: webhook\nurl: http://hooks.example/', 'expected TLS'],
    ['NATS in the clear to elsewhere', 'kind: nats\nurl: nats://10.0.0.7:4222', 'expected TLS'],
    ['no database', 'kind: postgres\nurl: postgres://127.0.0.1:5432', 'names a database'],
    [
      'a table that is a statement',
      'kind: postgres\nurl: postgres://127.0.0.1/f\ntable: "a; DROP"',
      'expected a table',
    ],
    ['a mail about every event', `${MAIL}to: [ops@example.com]`, 'filter.streams: expected the types of events'],
    ['a mail about telemetry', `${MAIL}${CHOSEN}source: telemetry`, 'source: expected events'],
    [
      'a recipient with a header',
      `${MAIL}filter: { streams: [cert] }\nto: ["a@b.c\\nBcc: d@e.f"]`,
      'expected an address',
    ],
    ['a login without a password', `${MAIL}${CHOSEN}user: u`, 'expected user with passwordFile'],
    ['an unknown kind', 'kind: kafka\nurl: x', 'sinks.0.kind'],
    ['an unknown option', 'kind: file\npath: x\nrotat: 1MiB', 'sinks.0.rotat is not an option'],
    ['a name that is a path', 'kind: file\npath: x\nname: ../x', ''],
    [
      'an interval for telemetry',
      'kind: webhook\nurl: https://hooks.example/\nevery: 5m',
      'expected source: events with an interval',
    ],
    ['a wait that shrinks', 'kind: file\npath: x\nretry: { first: 2s, most: 1s }', 'expected first of 1ms to most'],
  ])('is refused with %s', (_, fields, complaint) => {
    const said = refusalOf(sink(fields));
    expect(said).not.toBe('accepted');
    expect(said).toContain(complaint);
    expect(said).not.toContain(SECRET);
  });

  it('uses TLS for mail, except in the clear to this machine', () => {
    const targetOf = (url: string) => {
      const [found] = settingsOf(sink(`${MAIL}${CHOSEN}`.replace('smtp://mail.example:587', url)));
      return found?.target;
    };
    const tls = expect.any(Function);
    const chosen = { kind: 'email', to: ['ops@example.com'] };
    expect(targetOf('smtp://mail.example')).toMatchObject({ ...chosen, port: 587, mode: 'starttls', tls });
    expect(targetOf('smtps://mail.example')).toMatchObject({ ...chosen, port: 465, mode: 'implicit', tls });
    expect(targetOf('smtp://127.0.0.1:25')).toMatchObject({ ...chosen, port: 25, tls: 'none' });
  });

  it('has an interval of five minutes for mail, and for a webhook that asks for one', () => {
    const secret = `secretFile: ${secretFile(0o600)}`;
    const hook = `kind: webhook\nurl: https://hooks.example/\n${secret}\n`;
    const everyOf = (text: string) => settingsOf(text)[0]?.every;
    expect(everyOf(sink(`${MAIL}${CHOSEN}`))).toBe(300_000);
    expect(everyOf(sink(`${hook}source: events\nevery: 1m`))).toBe(60_000);
    expect(everyOf(sink(hook))).toBeUndefined();
  });

  it('is refused when another sink has its name', () => {
    const one = 'kind: file, path: x, name: out';
    expect(refusalOf(`sinks: [{ ${one} }, { ${one} }]`)).toContain('sinks.1.name: expected a name that no other sink');
  });

  it('is refused when its credentials can be read by others, are missing, or are named twice', () => {
    const hook = 'kind: webhook\nurl: https://hooks.example/\n';
    const file = secretFile(0o640);
    expect(refusalOf(sink(`${hook}secretFile: ${file}`))).toMatch(/readable by its owner alone, found mode 640/);
    expect(refusalOf(sink(`${hook}secretFile: /nowhere/secret`))).toContain('expected a file at /nowhere/secret');
    expect(refusalOf(sink(`${hook}secretVariable: HOOK`))).toContain('expected the variable HOOK to be set');
    expect(refusalOf(sink(hook))).toContain('expected secretFile or secretVariable, found neither');
    expect(refusalOf(sink(`${hook}secretVariable: HOOK`), { HOOK: 'short' })).toContain('at least 24 characters');
    const both = `${hook}secretVariable: HOOK\nsecretFile: ${secretFile()}`;
    expect(refusalOf(sink(both), { HOOK: SECRET })).toContain('expected a file or a variable, found both');
  });
});
