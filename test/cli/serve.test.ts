/** The server as a process: start, refused starts, shutdown, and the data that survives a kill. */

import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describe('rollcall serve', () => {
  it('prints one line when it is ready, and ends cleanly at SIGTERM: clients disconnected, socket gone, exit 0', async () => {
    const data = temporaryDirectory();
    const server = await serve(data);
    expect(Object.keys(server.ready)).toEqual(['event', 'enrollUrl', 'mqttUrl', 'consoleUrl', 'trustBundle', 'socket']);
    expect(readFileSync(server.ready.trustBundle, 'utf8')).toContain('BEGIN CERTIFICATE');
    const { stdout: token } = await rollcall(['token', 'create', '--data', data]);
    const client = await connectMqtt(await enrollOnce(memoryIdentityStore(), { token: token.trim() }));
    const gone = closed(client);
    const { code, signal } = await server.end('SIGTERM');
    await gone;
    expect([code, signal]).toEqual([0, null]);
    expect(existsSync(server.ready.socket)).toBe(false);
  });

  it('starts after a kill with its devices, tokens and acknowledged messages', async () => {
    const data = temporaryDirectory();
    const first = await serve(data);
    const { stdout: token } = await rollcall(['token', 'create', '--data', data, '--uses', '2']);
    const identity = await enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId: 'dev-1' });
    const client = await connectMqtt(identity);
    for (let n = 1; n <= 20; n += 1) await client.publishAsync('devices/dev-1/telemetry/count', String(n), { qos: 1 });
    await first.end('SIGKILL');

    const second = await serve(data);
    const { stdout } = await rollcall(['telemetry', 'query', '--device', 'dev-1', '--data', data, '--json']);
    const counted = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { payload: number }).payload);
    expect(counted).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    await connectMqtt({ ...identity, mqttUrl: second.ready.mqttUrl });
    const tokens = JSON.parse((await rollcall(['token', 'list', '--data', data, '--json'])).stdout) as object[];
    expect(tokens).toMatchObject([{ uses: 1, maxUses: 2, state: 'usable' }]);
    expect((await second.end('SIGINT')).code).toBe(0);
  });

  it('reports which port is in use', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as { port: number };
    const args = [
      'serve',
      '--data',
      temporaryDirectory(),
      '--enroll-port',
      '0',
      '--console-port',
      '0',
      '--mqtt-port',
      String(port),
    ];
    const { code, stderr } = await rollcall(args);
    blocker.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^rollcall: error: the address is in use: .*${port}`, 'm'));
  });

  it('refuses a data directory that another server uses', async () => {
    const data = temporaryDirectory();
    const server = await serve(data);
    const { code, stderr } = await rollcall([
      'serve',
      '--data',
      data,
      '--enroll-port',
      '0',
      '--mqtt-port',
      '0',
      '--console-port',
      '0',
    ]);
    expect(stderr).toContain('rollcall: error: another process of Rollcall uses this data directory');
    expect(code).toBe(1);
    expect((await rollcall(['token', 'list', '--data', data])).code).toBe(0);
    await server.end('SIGTERM');
  });

  it('refuses a path that cannot be a data directory', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    const { code, stderr } = await rollcall(['serve', '--data', join(file, 'data')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^rollcall: error: the data directory cannot be used: .*ENOTDIR\nrollcall: hint: /m);
  });

  it('refuses a database of a newer version, and leaves it unchanged', async () => {
    const data = temporaryDirectory();
    await (await serve(data)).end('SIGTERM');
    const database = new Database(join(data, 'registry.db'));
    const version = database.pragma('user_version', { simple: true }) as number;
    expect(version).toBeGreaterThan(0);
    database.pragma(`user_version = ${version + 1}`);
    database.close();
    const { code, stderr } = await rollcall(['serve', '--data', data]);
    expect(code).toBe(1);
    expect(stderr).toContain('rollcall: error: the database was written by a newer version of Rollcall');
  });

  it('refuses a file that is not a database instead of creating an empty one', async () => {
    const data = temporaryDirectory();
    writeFileSync(
      join(data, 'registry.db'),
      'this is not a database, and it is long enough to be looked at twice'.repeat(20),
    );
    const { code, stderr } = await rollcall(['serve', '--data', data]);
    expect([code, stderr.includes('rollcall: error: the database cannot be read')]).toEqual([1, true]);
  });

  it('refuses CA keys that other users can read, and names the remedy', async () => {
    const data = temporaryDirectory();
    await (await serve(data)).end('SIGTERM');
    chmodSync(join(data, 'ca', 'issuing.key'), 0o640);
    const { code, stderr } = await rollcall(['serve', '--data', data]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/rollcall: error: a private key can be read by others than its owner/);
    expect(stderr).toMatch(/rollcall: hint: .*chmod/);
  });

  it('creates files with secrets that only their owner can read', async () => {
    const data = join(temporaryDirectory(), 'new');
    await (await serve(data)).end('SIGTERM');
    const mode = (path: string) => statSync(join(data, path)).mode & 0o777;
    expect(mode('.')).toBe(0o700);
    expect(mode('ca')).toBe(0o700);
    for (const file of ['ca/root.key', 'ca/issuing.key', 'operator.key', 'metrics.key', 'registry.db'])
      expect(mode(file), file).toBe(0o600);
  });

  it('reads its settings from a file, and names an invalid line', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'data'), { mode: 0o700 });
    const config = join(directory, 'rollcall.yaml');
    writeFileSync(config, 'trustDomain: acme.example\nmqtt:\n  prot: 1\n');
    const { code, stderr } = await rollcall(['serve', '--config', config, '--data', join(directory, 'data')]);
    expect(code).toBe(2);
    expect(stderr).toContain(`${config}:3: mqtt.prot is not an option`);
  });
});
