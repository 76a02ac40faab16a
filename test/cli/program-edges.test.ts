/** bin/rollcall under unusual conditions: signals, a killed parent, a path that is too long, no file descriptor left. */

import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addressOptions } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { deviceNode } from '../fixtures/device-node.ts';
import { childOf, isGone } from '../fixtures/processes.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const HARMLESS = ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const;

async function expectAlive(data: string, server: RunningServer): Promise<void> {
  expect(await rollcall(['token', 'list', '--data', data])).toMatchObject({ code: 0 });
  expect(server.log()).not.toContain('Debugger');
}

/** Under another Node, which starts the Node of Rollcall, and under that one directly. */
const elsewhere = mkdtempSync(join(tmpdir(), 'rollcall-node-'));
const copiedNode = join(elsewhere, 'node');
afterAll(() => rmSync(elsewhere, { recursive: true }));
beforeAll(() => copyFileSync(process.execPath, copiedNode));

const NODES: readonly (readonly [string, string])[] = [
  ['a Node that can replace itself', copiedNode],
  ["the machine's own Node", deviceNode()],
  ['the Node of Rollcall', process.execPath],
];

describe.each(NODES)('rollcall serve under %s', (_, node) => {
  it('continues after SIGUSR1, SIGUSR2 and SIGHUP, and opens no inspector', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { node });
    const pids = [server.pid, childOf(server.pid)].filter((pid) => pid !== undefined);
    for (const pid of pids) {
      for (const signal of HARMLESS) process.kill(pid, signal);
      await expectAlive(data, server);
    }
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends cleanly at one %s to each of its processes', async (signal) => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { node });
    const child = childOf(server.pid);
    if (child !== undefined) process.kill(child, signal);
    expect((await server.end(signal)).code).toBe(0);
    expect(existsSync(server.ready.socket)).toBe(false);
  });
});

describe('rollcall serve as the child of bin/rollcall', () => {
  it.skipIf(deviceNode() === process.execPath)('ends when its parent is killed', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { node: deviceNode() });
    const child = childOf(server.pid) as number;
    onTestFinished(() => {
      if (!isGone(child)) process.kill(child, 'SIGKILL');
    });
    process.kill(server.pid, 'SIGKILL');
    await expect.poll(() => isGone(child)).toBe(true);
    expect(existsSync(server.ready.socket)).toBe(false);
  });
});

describe('rollcall serve', () => {
  it('refuses a path that is too long for a unix socket, before it creates anything', async () => {
    const parent = temporaryDirectory();
    const data = join(parent, 'd'.repeat(107 - parent.length - '/console.sock'.length));
    const { code, stderr } = await rollcall(['serve', '--data', data]);
    expect([code, stderr]).toEqual([
      1,
      `rollcall: error: the data directory cannot be used: expected at most 107 bytes as path of the operator socket, found 108: ${data}/console.sock\n` +
        'rollcall: hint: choose a data directory with a shorter path\n',
    ]);
    expect(readdirSync(parent)).toEqual([]);
  });

  it('logs once that no file descriptor is left, and the command line reports that the server runs', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { below: ['prlimit', '--nofile=100:100'] });
    const { hostname, port } = new URL(server.ready.mqttUrl);
    const sockets: Socket[] = [];
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
    });
    for (let n = 0; n < 150; n += 1) {
      const to = { host: hostname, port: Number(port), ...addressOptions(hostname) };
      sockets.push(connect(to).on('error', () => {}));
    }
    await expect.poll(() => server.log()).toContain('no file descriptor is left');
    const { code, stderr } = await rollcall(['token', 'list', '--data', data]);
    expect(code).toBe(4);
    expect(stderr).toMatch(/^rollcall: error: the server is there, and closed the connection before it answered: /);
    expect(stderr).toContain('file descriptor');
    for (const socket of sockets) socket.destroy();
    await expect.poll(() => server.log()).toContain('file descriptors are free again');
    expect(server.log().match(/no file descriptor is left/g)).toHaveLength(1);
    expect(await rollcall(['token', 'list', '--data', data])).toMatchObject({ code: 0 });
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it('warns at the start that its limit of file descriptors is too low', async () => {
    const args = ['serve', '--data', temporaryDirectory(), '--enroll-port', '0', '--mqtt-port', '0'];
    const { code, stderr } = await rollcall([...args, '--console-port', '0'], { below: ['prlimit', '--nofile=50:50'] });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^rollcall: error: no file descriptor is left: /m);
  });
});
