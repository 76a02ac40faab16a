/** `rollcall doctor` as an operator runs it: beside a server that runs, and where none does. */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { lockDirectory } from '../../storage/index.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';

const directory = mkdtempSync(join(tmpdir(), 'rollcall-doctor-'));
const data = join(directory, 'data');
const doctor = (...args: string[]) => rollcall(['doctor', '--data', data, ...args]);
let server: RunningServer;

/** A listener that accepts nothing is enough for another program on the port. */
const other = createServer();

beforeAll(async () => {
  const config = join(directory, 'rollcall.json'); // JSON is YAML.
  const sinks = [{ name: 'bus', kind: 'nats', source: 'events', url: 'nats://127.0.0.1:1', stream: 'S', subject: 's' }];
  writeFileSync(config, JSON.stringify({ sinks, publicHosts: ['127.0.0.1'] }));
  server = await serve(data, ['--config', config]);
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const { text: token } = await operator.createToken();
  await operator.close();
  await enrollOnce(memoryIdentityStore(), { token }); // An event to forward: before it the sink does not connect.
  await server.untilLogged('sink is down');
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  other.close();
  rmSync(directory, { recursive: true });
});

describe('beside a server that runs, the doctor', () => {
  it('connects to the public name as a device does, and names a sink that is down', async () => {
    const { code, stdout } = await doctor();
    const { port } = new URL(server.ready.enrollUrl);
    expect(stdout).toMatch(/^version {6}ok {7}rollcall \S+ on node \S+, process \d+$/m);
    expect(stdout).toMatch(/^data {9}ok {7}\S+\/data, mode 0700$/m);
    expect(stdout).toMatch(/^journal {6}ok {7}readable, nothing waits; 0 messages/m);
    expect(stdout).toMatch(/^listeners {4}warning .*which only this machine can call\n {22}-> .*--public-host NAME$/m);
    expect(stdout).toContain(`network      ok       EST at 127.0.0.1:${port}: a device can connect from this machine`);
    expect(stdout).toMatch(/^network {6}ok {7}MQTT at 127\.0\.0\.1:\d+: a device can connect/m);
    expect(stdout).toMatch(/^sinks {8}FAILED {3}bus is down: .*\n {22}-> rollcall sink show bus$/m);
    expect(code).toBe(1);
  });

  it('finds files that others can read, and says how to close them', async () => {
    chmodSync(data, 0o755);
    chmodSync(join(data, 'ca', 'issuing.key'), 0o644);
    const { findings } = JSON.parse((await doctor('--json')).stdout) as { findings: { check: string }[] };
    chmodSync(data, 0o700);
    chmodSync(join(data, 'ca', 'issuing.key'), 0o600);
    expect(findings.filter(({ check }) => check === 'data' || check === 'keys')).toEqual([
      {
        check: 'data',
        outcome: 'failed',
        found: `${data} has mode 0755: others may enter it`,
        fix: `chmod 700 ${data}`,
      },
      expect.objectContaining({ outcome: 'failed', fix: expect.stringMatching(/^chmod 600 \S+\/ca\/issuing\.key;/) }),
    ]);
  });
});

describe('beside a server that was killed, the doctor', () => {
  beforeAll(async () => {
    await server.end('SIGKILL');
  });

  it('says that it does not run, and finds nothing else that would keep it from starting', async () => {
    const { code, stdout } = await doctor();
    const failed = stdout.split('\n').filter((line) => line.includes(' FAILED '));
    expect(failed).toEqual([`server       FAILED   none answers at ${join(data, 'console.sock')}`]);
    expect(stdout).toMatch(/^lock {9}ok {7}no process holds the data directory$/m);
    expect(stdout).toMatch(/^authority {4}ok {7}root\.pem is valid until \d{4}-/m);
    expect(stdout).toMatch(/^stores {7}ok {7}this version can open the registry$/m);
    expect(code).toBe(1);
  });

  it('finds a port that is in use, and a data directory that another process holds', async () => {
    const config = join(directory, 'busy.json');
    const { port } = other.address() as { port: number };
    const free = { enroll: { port: 0 }, console: { port: 0 } };
    writeFileSync(config, JSON.stringify({ ...free, mqtt: { port }, health: { listen: true, port } }));
    const lock = lockDirectory(data);
    const { stdout } = await doctor('--config', config);
    lock.release();
    for (const name of ['MQTT', 'health']) {
      const found = `^ports {8}FAILED {3}${name}: another program listens on 127\\.0\\.0\\.1:${port}`;
      expect(stdout).toMatch(new RegExp(found, 'm'));
    }
    expect(stdout).toMatch(/^lock {9}FAILED {3}.*is locked by process \d+/m);
  });

  it('says that the fleet has moved away, or that a migration was interrupted, and what to do', async () => {
    const note = join(data, 'migration.json');
    const found = async (state: 'moved' | 'receiving') => {
      writeFileSync(note, JSON.stringify({ state, migration: 'm1', other: 'postgres://db/rollcall', at: 0 }));
      return (await doctor()).stdout;
    };
    expect(await found('moved')).toMatch(
      /^migration {4}FAILED {3}.* moved to another one: to postgres:\/\/db\/rollcall at 1970-01-01T.*\n {22}-> .*store\.url/m,
    );
    expect(await found('receiving')).toMatch(
      /^migration {4}FAILED {3}.* being moved .*\n {22}-> run "rollcall migrate" again/m,
    );
    rmSync(note);
    expect((await doctor()).stdout).not.toMatch(/^migration/m);
  });

  it('finds a store that cannot be opened, and leaves it as it is', async () => {
    writeFileSync(join(data, 'sessions.db'), 'not a database');
    const { code, stdout } = await doctor();
    expect(stdout).toMatch(
      /^stores {7}FAILED {3}the database cannot be read: \S+\/sessions\.db: .*\n {22}-> restore it/m,
    );
    expect(code).toBe(1);
  });

  it('refuses options that need a device', async () => {
    const { code, stderr } = await doctor('--token', '90d5711c78b56b63');
    expect(code).toBe(2);
    expect(stderr).toContain('expected --device with --token and --since');
  });
});
