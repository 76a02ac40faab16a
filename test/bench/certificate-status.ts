/**
 * The cost of a large registry: enrollment, certificate status of a connection and a page of the device list with many
 * devices over with few; and a connection to a server with many revoked certificates over one with none.
 */

import { createHash, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId, GroupName } from '@rollcall/protocol';
import { pino } from 'pino';
import type { CreatedToken, Registry } from '../../registry/index.ts';
import { openRegistry } from '../../registry/open.ts';
import type { Bench } from './bench.ts';
import { fill } from './large-registry.ts';
import { cpuOf, untilQuiet } from './process-meter.ts';
import type { Result } from './results.ts';
import type { RunningRollcall } from './servers.ts';
import { percentile } from './statistics.ts';

const FEW = 1_000;
const GROWS_AT_MOST = 1.2;
const CONNECT_AT_MOST = 1.05;

const ROUNDS = 15;
const LOOKUPS = 4_000;
const ENROLLMENTS = 60;
const PAGES = 60;
const IN_FLIGHT = 16;

export async function certificateStatus(bench: Bench): Promise<readonly Result[]> {
  return [...(await registryRows(bench)), ...(await connectRows(bench))];
}

interface Sized {
  readonly registry: Registry;
  readonly token: CreatedToken;
  readonly serials: readonly string[];
}

async function registryRows({ sizes, servers }: Bench): Promise<readonly Result[]> {
  const open = async (devices: number): Promise<Sized> => {
    const directory = join(servers.directory, `registry-${devices}`);
    mkdirSync(directory, { mode: 0o700 });
    const options = { file: join(directory, 'registry.db'), now: Date.now, log: pino({ level: 'silent' }) };
    await (await openRegistry(options)).close();
    const serials = fill({ file: options.file, devices, status: 'active' });
    const registry = await openRegistry(options);
    const order = { maxUses: 100_000, ttlSeconds: 3600, group: 'new' as GroupName, labels: {} };
    return { registry, token: await registry.createToken(order, 'operator/local'), serials };
  };
  const few = await open(FEW);
  const many = await open(sizes.registered);
  const rows: readonly [string, number, (sized: Sized) => Promise<void>][] = [
    ['status of a serial', LOOKUPS, lookUp],
    ['enrollment in the registry', ENROLLMENTS, enroll],
    ['a page of 100 devices', PAGES, listPages],
  ];
  const results: Result[] = [];
  for (const [what, count, act] of rows) {
    const over: number[] = [];
    const cost: number[] = [];
    for (let round = -3; round < ROUNDS; round += 1) {
      const inTurn = round % 2 === 0 ? [few, many] : [many, few];
      const used = new Map<Sized, number>();
      for (const sized of inTurn) used.set(sized, await cpuOfThis(() => act(sized)));
      if (round < 0) continue;
      over.push((used.get(many) as number) / (used.get(few) as number));
      cost.push((used.get(many) as number) / count);
    }
    results.push(grown(`${what}, ${sizes.registered} devices over ${FEW}`, cost, over, GROWS_AT_MOST));
  }
  await few.registry.close();
  await many.registry.close();
  return results;
}

async function lookUp({ registry, serials }: Sized): Promise<void> {
  for (let n = 0; n < LOOKUPS; n += 1) {
    const found = await registry.certificateStatus(serials[(n * 7919) % serials.length] as string);
    if (found.state !== 'good') throw new Error(`expected a good serial, found ${found.state}`);
  }
}

async function enroll({ registry, token }: Sized): Promise<void> {
  for (let n = 0; n < ENROLLMENTS; n += 1) {
    const key = randomBytes(32);
    const publicKeySha256 = createHash('sha256').update(key).digest('hex');
    const deviceId = `new-${key.toString('hex').slice(0, 16)}` as DeviceId;
    const now = Date.now();
    const certificate = {
      serial: `5${randomBytes(15).toString('hex')}`,
      der: key,
      publicKeySha256,
      notBefore: now,
      notAfter: now + 86_400_000,
    };
    const claim = { tokenId: token.record.id, secret: token.secret, deviceId, publicKeySha256 };
    await registry.admitEnrollment(claim);
    const { outcome } = await registry.commitEnrollment({ ...claim, certificate, address: '192.0.2.7' });
    if (outcome !== 'enrolled') throw new Error(`expected an enrollment, found ${outcome}`);
  }
}

async function listPages({ registry }: Sized): Promise<void> {
  for (let n = 0; n < PAGES; n += 1) {
    const after = `fill-${String((n * 7919) % (FEW - 100)).padStart(8, '0')}`;
    const page = await registry.listDevices({ after, limit: 100 });
    if (page.length !== 100) throw new Error(`expected 100 devices, found ${page.length}`);
  }
}

/** CPU time of this process in microseconds: waiting for the disk does not count. */
async function cpuOfThis(act: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await act();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

async function connectRows({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const revoking = join(servers.directory, 'data-revoked');
  cpSync(servers.data, revoking, { recursive: true });
  fill({ file: join(revoking, 'registry.db'), devices: sizes.registered, status: 'revoked' });
  const none = await servers.startRollcall();
  const many = await servers.startRollcall({ data: revoking });
  const count = sizes.connects;
  const burst = async (server: RunningRollcall): Promise<number> => {
    const before = cpuOf(server.pid);
    await load.order({ kind: 'connect', port: server.mqttPort, count, inFlight: IN_FLIGHT });
    await untilQuiet(server.pid);
    return (cpuOf(server.pid) - before) / count;
  };
  const over: number[] = [];
  const cost: number[] = [];
  const warmUps = 10;
  for (let round = -warmUps; round < sizes.connectRounds; round += 1) {
    const inTurn = round % 2 === 0 ? [none, many] : [many, none];
    const used = new Map<RunningRollcall, number>();
    for (const server of inTurn) used.set(server, await burst(server));
    if (round < 0) continue;
    over.push((used.get(many) as number) / (used.get(none) as number));
    cost.push(used.get(many) as number);
  }
  await none.stop();
  await many.stop();
  return [grown(`connect, ${sizes.registered} serials revoked over none`, cost, over, CONNECT_AT_MOST)];
}

function grown(row: string, cost: readonly number[], over: readonly number[], atMost: number): Result {
  const value = percentile(cost, 50);
  const ratio = percentile(over, 50);
  const [low, high] = [percentile(over, 25), percentile(over, 75)];
  return {
    row,
    unit: 'µs CPU',
    figures: { rollcall: { median: value, low: value, high: value } },
    ratios: {},
    goals: [{ text: `at most ${atMost} times`, reached: ratio <= atMost }],
    remarks: [`${ratio.toFixed(3)} times, half of the rounds between ${low.toFixed(3)} and ${high.toFixed(3)}`],
  };
}
