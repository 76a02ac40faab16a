/**
 * The bench of the device SDK: what a message costs the device beside bare mqtt, which keeps nothing on disk, what the SDK
 * weighs, and how fast a backlog drains. Not a test: nothing fails because a figure is bad.
 *
 *     node bin/pinned.js test/bench/device/main.ts [--quick] [path of a Node to run devices with, default: this one]
 */

import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { enrollOnce, fileIdentityStore } from '@rollcall/device-sdk';
import { buildSingleFile } from '@rollcall/device-sdk/build';
import { makeScriptedAuthority } from '../../fixtures/scripted-authority.ts';
import { startScriptedEstServer } from '../../fixtures/scripted-est-server.ts';

const isQuick = process.argv.includes('--quick');
const node = process.argv.slice(2).find((word) => !word.startsWith('--')) ?? process.execPath;
const ROUNDS = isQuick ? 3 : 7;
const MESSAGES = isQuick ? 10_000 : 20_000;
const BACKLOG = isQuick ? 20_000 : 100_000;

const directory = mkdtempSync(join(tmpdir(), 'rollcall-bench-'));
const at = (name: string) => join(directory, name);
const client = fileURLToPath(new URL('client.cjs', import.meta.url));

interface Report {
  readonly cpu: number;
  readonly perSecond: number;
  readonly waiting: number;
  readonly start: number;
  readonly resident: number;
}

async function run(kind: string, order: object): Promise<Report> {
  const text = JSON.stringify({
    kind,
    bundle: at('device-sdk.cjs'),
    messages: MESSAGES,
    warmUp: MESSAGES / 2,
    ...order,
  });
  const { stdout } = await promisify(execFile)(node, [client, text], { timeout: 120_000 });
  return JSON.parse(stdout) as Report;
}

async function ask(
  broker: ChildProcess,
  order: string,
): Promise<{ readonly counted: number; readonly misplaced: number }> {
  const answer = once(broker, 'message');
  broker.send(order);
  return (await answer)[0];
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

async function bench(broker: ChildProcess, url: string): Promise<readonly string[]> {
  const dataDir = at('device');
  const [sdk, keyless, mqtt]: [Report[], Report[], Report[]] = [[], [], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    sdk.push(await run('sdk', { dataDir, url }));
    keyless.push(await run('sdk', { dataDir, url, messageKeys: 'none' }));
    mqtt.push(await run('mqtt', { dataDir, url }));
  }
  const idle: Report[] = [];
  for (let round = 0; round < ROUNDS; round += 1) idle.push(await run('idle', { dataDir, url }));
  cpSync(dataDir, at('backlog'), { recursive: true });
  await run('fill', { dataDir: at('backlog'), url, messages: BACKLOG });
  broker.send('forget');
  const drain = await run('drain', { dataDir: at('backlog'), url });
  const { counted, misplaced } = await ask(broker, 'count');
  const cpu = (reports: readonly Report[]) => median(reports.map((report) => report.cpu));
  const ratios = sdk.map((report, round) => report.cpu / (mqtt[round] as Report).cpu);
  return [
    `| CPU per acknowledged message, with the queue on disk | ${cpu(sdk).toFixed(1)} µs | at most 1.3 × bare mqtt |`,
    `| the same without message keys | ${cpu(keyless).toFixed(1)} µs | |`,
    `| the same with bare mqtt, nothing on disk | ${cpu(mqtt).toFixed(1)} µs | |`,
    `| ratio, median of ${ROUNDS} pairs | ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}) | at most 1.3 |`,
    `| resident when idle and connected | ${median(idle.map(({ resident }) => resident)).toFixed(1)} MB | at most 60 MB |`,
    `| start of the process to first acknowledged message | ${median(idle.map(({ start }) => start)).toFixed(0)} ms | under 1,500 ms |`,
    `| bundle in one file | ${(statSync(at('device-sdk.cjs')).size / 1000).toFixed(0)} kB | at most 450 kB |`,
    `| drain of ${drain.waiting} queued messages | ${drain.perSecond.toFixed(0)} messages/s | |`,
    `| of them lost, out of order | ${BACKLOG - counted}, ${misplaced} | 0, 0 |`,
  ];
}

const authority = makeScriptedAuthority();
try {
  await buildSingleFile(at('device-sdk.cjs'));
  writeFileSync(at('server.key'), authority.server.keyPem);
  writeFileSync(at('server.pem'), authority.server.certificatePem);
  writeFileSync(at('ca.pem'), authority.rootPem + authority.issuingPem);
  const est = await startScriptedEstServer(authority);
  await enrollOnce(fileIdentityStore(at('device')), { token: est.token(), deviceId: 'bench-1' });
  await est.close();
  const broker = fork(fileURLToPath(new URL('broker.ts', import.meta.url)), [
    ...['server.key', 'server.pem', 'ca.pem'].map(at),
  ]);
  try {
    const [{ port }] = (await once(broker, 'message')) as [{ readonly port: number }];
    const lines = await bench(broker, `mqtts://localhost:${port}`);
    const version = (await promisify(execFile)(node, ['--version'])).stdout.trim();
    process.stdout.write(
      `Devices on Node ${version}\n\n| figure | found | to reach |\n|---|---|---|\n${lines.join('\n')}\n`,
    );
  } finally {
    broker.kill();
  }
} finally {
  authority.dispose();
  rmSync(directory, { recursive: true, force: true });
}
