/** `rollcall top` on a pseudo-terminal and into a pipe, with real devices. */

import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { expect, onTestFinished } from 'vitest';
import type { ServerSnapshot } from '../../cli/top/server-snapshot.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { PROGRAM, type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { inTerminal } from '../fixtures/pseudo-terminal.ts';
import { testsWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const { it } = testsWithClients('top', ['python3']);
/** ESC [ 31 m, and RIGHT-TO-LEFT OVERRIDE. */
const HOSTILE = '\u001b[31mevil\u202e';
const ESCAPE = '\u001b';

async function startServer(data: string, args: readonly string[] = []): Promise<RunningServer> {
  const server = await serve(data, args);
  onTestFinished(async () => void (await server.end('SIGKILL')));
  return server;
}

/** One device that is connected, and one that was revoked and refused. */
async function withDevices(
  data: string,
): Promise<{ readonly connected: StoredIdentity; readonly revoked: StoredIdentity }> {
  const { stdout: token } = await rollcall(['token', 'create', '--data', data, '--uses', '2']);
  const enroll = (deviceId: string) => enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId });
  const [connected, revoked] = [await enroll('pump-1'), await enroll('thief-1')];
  expect((await rollcall(['device', 'revoke', 'thief-1', '--reason', 'keyCompromise', '--data', data])).code).toBe(0);
  const client = await openMqtt(connected, { protocolVersion: 5 });
  onTestFinished(() => client.endAsync(true));
  await client.publishAsync('devices/pump-1/telemetry/flow', '1', { qos: 1 });
  await client.publishAsync(`devices/other/telemetry/${HOSTILE}`, '1', { qos: 1 }).catch(() => {});
  return { connected, revoked };
}

const top = (data: string, ...args: string[]) => [process.execPath, PROGRAM, 'top', '--data', data, ...args];

it('shows devices as they connect and are refused, follows the size of the terminal, and q leaves it as it was', async () => {
  const data = temporaryDirectory();
  await startServer(data);
  const terminal = inTerminal(top(data));
  expect(await terminal.untilShown('connected 0', 'q quits')).toHaveLength(24);

  const { revoked } = await withDevices(data);
  await openMqtt(revoked).catch(() => {});
  const lines = await terminal.untilShown('connected 1', 'pump-1', 'thief-1', 'REFUSED');
  expect(lines.find((line) => line.includes('thief-1'))).toMatch(/^\d\d:\d\d:\d\d {2}thief-1 +revoked +127\.0\.0\.1/);
  expect(lines.some((line) => /^revoked +mqtt +1 /.test(line))).toBe(true);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);

  terminal.resize(10, 40);
  const small = await terminal.untilShown('persistent');
  expect(small.length).toBe(10);
  expect(Math.max(...small.map((line) => line.length))).toBeLessThanOrEqual(40);

  terminal.type('q');
  const { code, stdout, stderr } = await terminal.ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: 'lines' });
  expect(stdout.endsWith(`${ESCAPE}[?7h${ESCAPE}[?25h${ESCAPE}[?1049l`)).toBe(true);
});

it('names the time since when the server is away, shows the next server, and ends with an error when it is away at the end', async () => {
  const data = temporaryDirectory();
  const first = await startServer(data);
  const terminal = inTerminal(top(data));
  await terminal.untilShown('q quits');
  await first.end('SIGTERM');
  const away = await terminal.untilShown('away since');
  expect(away.at(-1)).toMatch(/^away since \d\d:\d\d:\d\d: no running Rollcall server was found/);
  const second = await startServer(data);
  await terminal.untilShown('server    ok', 'q quits');
  await second.end('SIGTERM');
  await terminal.untilShown('away since');
  terminal.type('\u0003');
  const { code, stdout, stderr } = await terminal.ended;
  expect({ code, stderr }).toEqual({ code: 4, stderr: 'lines' });
  expect(stdout.split('[?1049l')[1]).toContain('rollcall: error: no running Rollcall server was found');
});

it('prints a snapshot without control sequences when standard output is no terminal, whatever devices call things', async () => {
  const data = temporaryDirectory();
  await startServer(data);
  await withDevices(data);
  const { code, stdout, stderr } = await rollcall(['top', '--once', '--data', data]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^sessions +connected 1 /m);
  expect(stdout).toContain('\\x1b[31mevil\\u202e');
  for (const control of [ESCAPE, '\u202e', '\r']) expect(stdout).not.toContain(control);

  const json = await rollcall(['top', '--once', '--json', '--data', data]);
  expect(json.stdout).not.toContain('\u202e');
  const snapshot = JSON.parse(json.stdout) as ServerSnapshot;
  expect(snapshot).toMatchObject({ status: 'ok', messages: { stored: { total: 1, perSecond: 0 } } });
  expect(snapshot.newestRefusals.map(({ name, cause }) => [name, cause])).toEqual([['pump-1', 'publish_denied']]);
  expect(snapshot.newestRefusals[0]?.detail).toContain(HOSTILE);
  expect(snapshot.busiest.map(({ device }) => device)).toEqual(['pump-1']);
});

it('explains where no server is, and an interval that it does not accept', async () => {
  const nowhere = await rollcall(['top', '--data', temporaryDirectory()]);
  expect(nowhere).toMatchObject({
    code: 4,
    stdout: '',
    stderr: expect.stringContaining('there is no operator socket'),
  });
  const often = await rollcall(['top', '--interval', '10ms']);
  expect(often).toMatchObject({ code: 2, stderr: expect.stringContaining('expected 1s to 1h') });
});
