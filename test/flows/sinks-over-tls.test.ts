/** Sinks with TLS targets, set up by the configuration file: which CAs they trust, which certificate they present, what they send. */

import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { loadConfig } from '../../server/config/load.ts';
import { sinkSettings } from '../../server/config/sink-settings.ts';
import { openSinks } from '../../telemetry/index.ts';
import type { SinkStatus } from '../../telemetry/sinks/open.ts';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { openTestJournal } from '../fixtures/journal.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import type { ServerCredential } from '../fixtures/scripted-authority.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { startTlsTarget, type TlsTargetKind } from '../fixtures/tls-targets.ts';

const DAY_MS = 86_400_000;
const HERE = [{ type: 'ip', value: '127.0.0.1' }] as const;

/** A long validity, so that no test depends on the date. */
const [LONG_AGO, FAR_OFF] = [Date.UTC(2020, 0), Date.UTC(2090, 0)] as const;
const ENDED = Date.UTC(2021, 0);

const ours = await makeDatedAuthority('CN=ours');
const another = await makeDatedAuthority('CN=another');
const good = await ours.server(LONG_AGO, FAR_OFF, [...HERE]);
const ended = await ours.server(LONG_AGO, ENDED, [...HERE]);
const elsewhere = await ours.server(LONG_AGO, FAR_OFF);

/** TLS files as an administrator writes and replaces them: each under another name first, then renamed. */
class TlsFolder {
  readonly #directory = temporaryDirectory();

  put(name: 'ca' | 'certificate' | 'key', text: string): string {
    const path = join(this.#directory, `${name}.pem`);
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    return path;
  }

  putPair({ certificatePem, keyPem }: ServerCredential): readonly string[] {
    return [`certificateFile: ${this.put('certificate', certificatePem)}`, `keyFile: ${this.put('key', keyPem)}`];
  }
}

interface RunningSink {
  readonly log: string[];
  status(): SinkStatus;
  counters(): Readonly<Record<string, number>>;
  send(count: number): Promise<void>;
  until(condition: (status: SinkStatus) => boolean): Promise<SinkStatus>;
}

async function run(lines: readonly string[], now: () => number = Date.now): Promise<RunningSink> {
  const directory = temporaryDirectory();
  const file = join(directory, 'rollcall.yaml');
  const settings = ['name: out', 'retry: { first: 5ms, most: 20ms }', ...lines];
  writeFileSync(file, `sinks:\n  - ${settings.join('\n    ')}\n`);
  const { sinks: configured } = loadConfig({ file, environment: {}, flags: [] });
  const telemetry = await openTestJournal();
  const events = await openTestJournal();
  const log: string[] = [];
  const sinks = await openSinks({
    settings: sinkSettings(configured, { environment: {}, now }),
    journals: { telemetry, events },
    directory: join(directory, 'sinks'),
    trustDomain: 'rollcall.internal',
    groupOf: async () => undefined,
    now,
    random: () => 0.5,
    log: pino({ level: 'info' }, { write: (line) => void log.push(line) }),
  });
  onTestFinished(() => sinks.close());
  const status = () => sinks.list()[0] as SinkStatus;
  let sent = 0;
  return {
    log,
    status,
    counters: () => sinks.counters(),
    async send(count) {
      await telemetry.fill(['press-1'], count, sent);
      sent += count;
    },
    async until(condition) {
      for (;;) {
        const found = status();
        if (condition(found)) return found;
        await new Promise((resolve) => setTimeout(resolve, 2)); // the target is another process, without an event
      }
    },
  };
}

const hasAll = (count: number) => (status: SinkStatus) => status.state === 'idle' && status.forwarded === count;
const isUntrusted = (status: SinkStatus) => status.isUntrusted;

const KINDS: readonly (readonly [
  kind: TlsTargetKind,
  what: string,
  programs: readonly ('nats-server' | 'postgres')[],
])[] = [
  ['nats', 'a sink to NATS over TLS', ['nats-server']],
  ['postgres', 'a sink to PostgreSQL over TLS', ['postgres']],
  ['webhook', 'a sink to HTTPS', []],
];

for (const [kind, what, programs] of KINDS) {
  const start = startTlsTarget[kind];
  describeWithClients(what, programs, () => {
    it('forwards to a target whose certificate was issued by a CA in its caFile', async () => {
      const target = await start({ server: good });
      const sink = await run([...target.settings, `caFile: ${new TlsFolder().put('ca', ours.rootPem)}`]);
      await sink.send(20);
      await sink.until(hasAll(20));
      expect(await target.count()).toBe(20);
      expect(sink.counters()).toMatchObject({ 'sink_up/sink=out': 1, 'sink_untrusted/sink=out': 0 });
    });

    it.each([
      ['comes from another authority', another.rootPem, good, /from an authority that we trust \(\w+\)$/],
      ['has ended', ours.rootPem, ended, /that is valid now \(CERT_HAS_EXPIRED\)$/],
      ['names another host', ours.rootPem, elsewhere, /for the target's name \(.*127\.0\.0\.1/],
    ])('sends nothing to a target whose certificate %s, and says why', async (_, ca, server, reason) => {
      const target = await start({ server });
      const sink = await run([...target.settings, `caFile: ${new TlsFolder().put('ca', ca)}`]);
      await sink.send(5);
      const found = await sink.until(({ retries }) => retries >= 2);
      expect(found).toMatchObject({ state: 'down', isUntrusted: true, forwarded: 0, deadLettered: 0 });
      expect(found.reason).toMatch(reason);
      expect(await target.count()).toBe(0);
      expect(sink.counters()).toMatchObject({ 'sink_up/sink=out': 0, 'sink_untrusted/sink=out': 1 });
      const said = sink.log.filter((line) => line.includes('a certificate is not accepted'));
      expect(said.map((line) => JSON.parse(line))).toMatchObject([{ level: 50, reason: found.reason }]);
    });

    it('sends nothing to an untrusted target when the environment disables verification in Node', async () => {
      const target = await start({ server: good });
      vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
      onTestFinished(() => {
        vi.unstubAllEnvs();
      });
      const sink = await run([...target.settings, `caFile: ${new TlsFolder().put('ca', another.rootPem)}`]);
      await sink.send(5);
      await sink.until(isUntrusted);
      expect(await target.count()).toBe(0);
    });

    it('presents its certificate to a target that requires one, and logs when it has none', async () => {
      const clients = await makeDatedAuthority('CN=clients');
      const target = await start({ server: good, clientCa: clients.rootPem });
      const folder = new TlsFolder();
      const caFile = `caFile: ${folder.put('ca', ours.rootPem)}`;
      const client = await clients.device(LONG_AGO, FAR_OFF);

      const bare = await run([...target.settings, caFile]);
      await bare.send(3);
      const { reason } = await bare.until(isUntrusted);
      expect(reason).toMatch(/^expected the target to take our certificate, found/);
      expect(bare.status().forwarded).toBe(0);
      expect(await target.count(client)).toBe(0);

      const sink = await run([...target.settings, caFile, ...folder.putPair(client)]);
      await sink.send(10);
      await sink.until(hasAll(10));
      expect(await target.count(client)).toBe(10);
    });

    it('reads its files again when they change, and applies them to open connections too', async () => {
      const clients = await makeDatedAuthority('CN=clients');
      const target = await start({ server: good, clientCa: clients.rootPem });
      const client = await clients.device(LONG_AGO, FAR_OFF);
      const folder = new TlsFolder();
      const caFile = `caFile: ${folder.put('ca', another.rootPem)}`;
      const sink = await run([...target.settings, caFile, ...folder.putPair(client)]);
      await sink.send(5);
      await sink.until(isUntrusted);

      folder.put('ca', another.rootPem + ours.rootPem);
      await sink.until(hasAll(5));
      expect(sink.status().isUntrusted).toBe(false);

      folder.put('ca', another.rootPem);
      await sink.send(5);
      await sink.until(isUntrusted);
      expect(await target.count(client)).toBe(5);

      folder.put('ca', 'half a file');
      await sink.until(({ reason }) => reason?.includes('expected certificates in PEM') === true);
      folder.put('ca', ours.rootPem);
      await sink.until(hasAll(10));
      expect(await target.count(client)).toBe(10);
    });

    it('sends nothing once its own certificate has expired, even over an open connection', async () => {
      const clients = await makeDatedAuthority('CN=clients');
      const target = await start({ server: good, clientCa: clients.rootPem });
      const client = await clients.device(LONG_AGO, FAR_OFF);
      const folder = new TlsFolder();
      const files = [`caFile: ${folder.put('ca', ours.rootPem)}`, ...folder.putPair(client)];
      let now = FAR_OFF - DAY_MS;
      const sink = await run([...target.settings, ...files], () => now);
      await sink.send(5);
      await sink.until(hasAll(5));
      now = FAR_OFF;
      await sink.send(5);
      const { reason } = await sink.until(isUntrusted);
      expect(reason).toMatch(/valid now in certificateFile, found one that ended 2090-01-01/);
      expect(await target.count(client)).toBe(5);
      folder.putPair(await clients.device(LONG_AGO, FAR_OFF + DAY_MS));
      await sink.until(hasAll(10));
      expect(await target.count(client)).toBe(10);
    });
  });
}

describe('the TLS files in the settings of a sink', () => {
  const folder = () => new TlsFolder();
  const hook = 'kind: webhook';
  const secret = () => {
    const path = join(temporaryDirectory(), 'secret');
    writeFileSync(path, 'a secret of enough characters', { mode: 0o600 });
    return `secretFile: ${path}`;
  };

  it.each([
    [
      'a certificate without its key',
      () => [`certificateFile: ${folder().put('certificate', good.certificatePem)}`],
      'found one of them',
    ],
    [
      'the key of another certificate',
      async () => folder().putPair({ ...good, keyPem: elsewhere.keyPem }),
      'the key of the certificate in certificateFile',
    ],
    [
      'authorities that are none',
      () => [`caFile: ${folder().put('ca', ours.rootPem.replace(/\n.{20}/, '\n'))}`],
      'expected certificates in PEM',
    ],
    ['authorities that are not there', () => ['caFile: /nowhere/ca.pem'], 'ENOENT'],
  ])('are refused with %s', async (_, lines, complaint) => {
    await expect(run([hook, 'url: https://127.0.0.1:1/', secret(), ...(await lines())])).rejects.toThrow(complaint);
  });

  it.each([
    [['kind: webhook', 'url: http://127.0.0.1:1/'], 'a URL of https://'],
    [['kind: nats', 'url: nats://127.0.0.1:1'], 'a URL of tls://'],
    [['kind: postgres', 'url: postgres://127.0.0.1/f', 'socketDirectory: /tmp'], 'no socketDirectory'],
  ])('are refused where nothing would read them: %s', async (lines, complaint) => {
    const more = lines[0] === hook ? [secret()] : [];
    const caFile = `caFile: ${folder().put('ca', ours.rootPem)}`;
    await expect(run([...lines, ...more, caFile])).rejects.toThrow(`expected ${complaint} with caFile`);
  });
});
