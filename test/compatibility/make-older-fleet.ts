/**
 * Writes the files of a fleet of an earlier version: a data directory, and the directory of a device whose queue is
 * not empty. `node bin/pinned.js test/compatibility/make-older-fleet.ts CHECKOUT OUT.tar.gz`, with an installed checkout of that version. Uses
 * its program and its built device SDK alone, so that it does not depend on how that version lays out its sources.
 */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [checkout, out] = process.argv.slice(2).map((path) => resolve(path)) as [string, string];
const place = mkdtempSync(join(tmpdir(), 'rollcall-made-'));
const data = join(place, 'data');
const program = join(checkout, 'bin/rollcall');

/** Long enough that the certificates are valid whenever the tests run. */
writeFileSync(
  join(place, 'rollcall.yaml'),
  'certificates:\n  device: 3650d\n  issuing: 15y\n  root: 20y\nevents:\n  retention:\n    age: 36500d\n',
);

function rollcall(...args: string[]): string {
  return execFileSync(process.execPath, [program, ...args], { encoding: 'utf8', cwd: place });
}

async function serve(): Promise<{ ready: { mqttUrl: string; enrollUrl: string }; stop(): Promise<void> }> {
  const ports = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
  const args = [program, 'serve', '--config', join(place, 'rollcall.yaml'), '--data', data, '--json', ...ports];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    ready: JSON.parse(line),
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

const server = await serve();
const on = ['--data', data];
execFileSync(process.execPath, [join(checkout, 'bin/pinned.js'), 'device-sdk/build.ts', join(place, 'sdk')], {
  cwd: checkout,
  stdio: 'inherit',
});
const { Device } = await import(pathToFileURL(join(place, 'sdk/index.js')).href);
const { connectAsync } = createRequire(join(checkout, 'package.json'))('mqtt');

// Devices of two groups, one of them revoked, one suspended.
const token = rollcall('token', 'mint', ...on, '--group', 'press', '--uses', '10').trim();
const devices = new Map<string, typeof Device>();
for (const id of ['press-1', 'press-2', 'press-3', 'press-4']) {
  const device = await Device.open({
    dataDir: join(place, id),
    deviceId: id,
    token,
    commands: { restart: () => 'done' },
  });
  await device.connected();
  for (let n = 1; n <= 5; n += 1) await (await device.publish('temperature', { n })).acknowledged;
  devices.set(id, device);
}
await (await devices.get('press-1').twin.report({ interval: 10 })).acknowledged;
rollcall('device', 'revoke', 'press-3', ...on, '--reason', 'keyCompromise');
rollcall('device', 'suspend', 'press-4', ...on);

// A service with a persistent session that is offline while a device publishes, and an offline device with a queued command.
rollcall('service', 'issue', 'dashboard', ...on, '--out', join(place, 'dashboard'));
const pem = (name: string) => readFileSync(join(place, 'dashboard', name));
const options = {
  ca: pem('ca.pem'),
  cert: pem('cert.pem'),
  key: pem('key.pem'),
  clientId: 'dashboard',
  clean: false,
  protocolVersion: 4,
  reconnectPeriod: 0,
};
const service = await connectAsync(server.ready.mqttUrl, options);
await service.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
await service.endAsync();
await (await devices.get('press-2').publish('temperature', { n: 6 })).acknowledged;
await devices.get('press-1').close();
const again = await connectAsync(server.ready.mqttUrl, { ...options, clientId: 'dashboard-2', clean: true });
await again.publishAsync('devices/press-1/commands/restart/r-1', '"now"', { qos: 1 });
await again.endAsync();
await server.stop();

// The messages of press-2 now stay in its queue.
await devices.get('press-2').publish('temperature', { n: 7 });
for (const id of ['press-2', 'press-3', 'press-4']) await devices.get(id).close();
execFileSync('tar', ['-C', place, '-czf', out, 'data', 'press-1', 'press-2', 'dashboard']);
rmSync(place, { recursive: true });
