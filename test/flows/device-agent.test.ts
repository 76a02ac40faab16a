/** `rollcall-device` against a real fleet: its commands, its sockets for applications, enrollment, renewal and queue. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BootstrapToken, type DeviceId, formatBootstrapToken, parseBootstrapToken } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ended } from '../fixtures/child-process.ts';
import { type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt, nextMessage } from '../fixtures/mqtt.ts';
import { describeWithClients, startClient, succeed } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

/** Port 9 is the discard port; no server listens there. */
const NOBODY = 'https://localhost:9';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-agent-'));
let agentProgram: AgentProgram;
let fleet: TestFleet;

beforeAll(async () => {
  [agentProgram, fleet] = await Promise.all([buildAgentProgram(workshop), startFleet()]);
});
afterAll(async () => {
  await fleet?.stop();
  rmSync(workshop, { recursive: true, force: true });
});

/** An agent of its own, with a token where it looks for it. */
async function gateway(id: string, lines: readonly string[] = []) {
  const place = agentProgram.configure(temporaryDirectory(), [`id = ${id}`, ...lines]);
  place.giveToken(await fleet.mint());
  return place;
}

async function stored(device: string): Promise<readonly unknown[]> {
  const messages = await fleet.operator.queryTelemetry({ device });
  return messages.map(({ stream, payload }) => [stream, payload]);
}

it('the agent is one file of at most 450 kB', () => {
  expect(agentProgram.bytes).toBeLessThanOrEqual(450_000);
});

describe('the program', () => {
  it('enrolls, connects and publishes with one token and no other settings than paths', async () => {
    const place = await gateway('agent-1');
    const agent = await place.run();
    await agent.reached('connected');
    expect(await place.command(['publish', 'temperature', '{"celsius":21.5}', '--wait'])).toMatchObject({
      code: 0,
      stdout: 'acknowledged\n',
    });
    expect(await stored('agent-1')).toEqual([['temperature', { celsius: 21.5 }]]);
    const { stdout } = await place.command(['status', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      state: 'connected',
      device: 'agent-1',
      broker: fleet.mqttUrl,
      error: null,
      queue: { messages: 0, dropped: 0 },
    });
    expect((await place.command(['status'])).stdout).toMatch(/^device +agent-1\nstate +connected since /);
    expect(await agent.end('SIGTERM')).toMatchObject({ code: 0 });
  });

  it.each([
    ['on a full disk', 'exec "$@" 2>/dev/full'],
    ['whose reader went away', 'exec "$@" 2> >(exit 0)'],
  ])('works with a log %s, and ends at SIGTERM', async (where, redirected) => {
    const place = await gateway(where.includes('disk') ? 'log-1' : 'log-2');
    const child = place.start({}, ['bash', '--norc', '-c', redirected, 'bash']);
    expect(await place.command(['publish', 'temperature', '1', '--wait'])).toMatchObject({ code: 0 });
    child.kill('SIGTERM');
    expect(
      await ended(
        child,
        () => '',
        () => '',
      ),
    ).toMatchObject({ code: 0, signal: null });
  });

  it.each(['status', 'status --json', '--help', 'publish temperature 1'])(
    'ends %s silently when the reader of its output has closed it, and with an error when the disk is full',
    async (command) => {
      const args = command.split(' ');
      const place = await gateway(`output-${command.replace(/[^a-z]/g, '')}`);
      await (await place.run()).reached('connected');
      const full = await place.command(args, '', ['bash', '--norc', '-c', 'exec "$@" >/dev/full', 'bash']);
      const sentence = 'standard output could not be written: no space left on device (ENOSPC)';
      expect(full).toMatchObject({ code: 1, stderr: `rollcall-device: error: ${sentence}\n` });
      const gone = 'mkfifo p && exec 3<>p 4>p 3>&- && exec "$@" >&4';
      expect(await place.command(args, '', ['bash', '--norc', '-c', gone, 'bash'])).toMatchObject({
        code: 141,
        stderr: '',
      });
    },
  );

  it('continues when its terminal is closed, and opens no inspector at SIGUSR1', async () => {
    const place = await gateway('hang-up-1');
    const agent = await place.run();
    await agent.reached('connected');
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const) process.kill(agent.pid, signal);
    await agent.logged((line) => line.signal === 'SIGHUP');
    expect(await place.command(['publish', 'temperature', '1', '--wait'])).toMatchObject({ code: 0 });
    expect(await agent.end('SIGTERM')).toMatchObject({ code: 0, stderr: expect.not.stringContaining('Debugger') });
  });

  it('waits for a token that does not exist yet, and needs none once it is enrolled', async () => {
    const place = agentProgram.configure(temporaryDirectory(), ['id = agent-2']);
    const agent = await place.run();
    await agent.logged(({ msg }) => msg === 'waiting for another token');
    const early = await place.command(['publish', 'temperature', '1']);
    expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('not enrolled yet') });
    place.giveToken(await fleet.mint());
    await agent.reached('connected');
    await agent.end('SIGTERM');
    rmSync(place.tokenFile);
    await (await place.run()).reached('connected');
  });

  it('waits with --wait for agent, token, enrollment and broker, and reports each', async () => {
    const place = agentProgram.configure(temporaryDirectory(), ['id = wait-1']);
    const agentless = place.command(['publish', 'temperature', '1', '--wait']);
    const agent = await place.run();
    await agent.logged(({ msg }) => msg === 'waiting for another token');
    // Without a token there is nothing to wait for.
    expect(await agentless).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`not enrolled yet: expected a bootstrap token in ${place.tokenFile}`),
    });
    place.giveToken(await fleet.mint());
    // The agent checked the file a moment ago; it checks again because of the request.
    expect(await place.command(['publish', 'temperature', '2', '--wait'])).toMatchObject({
      code: 0,
      stdout: 'acknowledged\n',
    });
    expect(await stored('wait-1')).toEqual([['temperature', 2]]);
  });

  it('waits with --wait for an enroll server that is not reachable yet, up to the given time', async () => {
    const token = await fleet.mint();
    const gone = formatBootstrapToken({ ...(parseBootstrapToken(token) as BootstrapToken), enrollUrl: NOBODY });
    const place = agentProgram.configure(temporaryDirectory(), ['id = wait-2']);
    place.giveToken(gone);
    const agent = await place.run();
    await agent.logged(({ msg }) => msg === 'enrollment postponed');
    const { code, stderr } = await place.command(['publish', 'temperature', '1', '--wait', '--timeout', '1']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/not enrolled yet: .*ECONNREFUSED/);
    const waiting = place.command(['publish', 'temperature', '2', '--wait']);
    expect(await place.command(['enroll', '--token', '-'], token)).toMatchObject({ code: 0 });
    expect(await waiting).toMatchObject({ code: 0, stdout: 'acknowledged\n' });
    expect(await stored('wait-2')).toEqual([['temperature', 2]]);
  });

  it('reports after a wait that was too short that the message is on disk, and why it was not sent', async () => {
    const place = await gateway('wait-3', ['broker = mqtts://localhost:9']);
    const agent = await place.run();
    await agent.reached('recovering');
    expect(await place.command(['publish', 'temperature', '1', '--wait', '--timeout', '1'])).toMatchObject({
      code: 1,
      stdout: 'queued\n',
      stderr: expect.stringMatching(/the broker has not stored it yet; it waits on disk: .*ECONNREFUSED/),
    });
    await agent.end('SIGTERM');
    const back = agentProgram.configure(join(place.state, '..'), ['id = wait-3']);
    await (await back.run()).reached('connected');
    expect(await back.command(['publish', 'temperature', '2', '--wait'])).toMatchObject({ code: 0 });
    expect(await stored('wait-3')).toEqual([1, 2].map((count) => ['temperature', count]));
  });

  it('stops waiting when the device is revoked', async () => {
    const place = await gateway('wait-4', ['broker = mqtts://localhost:9']);
    const agent = await place.run();
    await agent.reached('recovering');
    const waiting = place.command(['publish', 'temperature', '1', '--wait', '--timeout', '600']);
    await expect
      .poll(async () => JSON.parse((await place.command(['status', '--json'])).stdout).queue.messages)
      .toBe(1);
    await fleet.operator.revokeDevices({ ids: ['wait-4'], reason: 'keyCompromise' });
    expect(await place.command(['renew'])).toMatchObject({ code: 1 });
    await agent.reached('revoked');
    expect(await waiting).toMatchObject({ code: 1, stdout: 'queued\n', stderr: expect.stringContaining('on disk: ') });
  });

  it('stores published messages over a kill, and delivers them in order after its restart', async () => {
    const place = await gateway('agent-3');
    const first = await place.run();
    await first.reached('connected');
    await first.end('SIGTERM');
    // The broker is unreachable, so published messages stay on disk.
    const away = agentProgram.configure(join(place.state, '..'), ['id = agent-3', 'broker = mqtts://localhost:9']);
    const second = await away.run();
    for (let count = 1; count <= 5; count += 1) {
      expect(await away.command(['publish', 'count', String(count)])).toMatchObject({ code: 0, stdout: 'queued\n' });
    }
    await second.end('SIGKILL');
    const back = agentProgram.configure(join(place.state, '..'), ['id = agent-3']);
    const third = await back.run();
    await third.reached('connected');
    expect(await back.command(['publish', 'count', '6', '--wait'])).toMatchObject({ code: 0 });
    expect(await stored('agent-3')).toEqual([1, 2, 3, 4, 5, 6].map((count) => ['count', count]));
  });

  it('renews when asked', async () => {
    const place = await gateway('agent-4');
    await (await place.run()).reached('connected');
    expect(await place.command(['renew'])).toMatchObject({ code: 0 });
    const { certificates } = await fleet.operator.showDevice({ id: 'agent-4' });
    expect(certificates).toHaveLength(2);
  });

  it('stops connecting when it is revoked, and enrolls again with a new token', async () => {
    const place = await gateway('agent-5');
    const agent = await place.run();
    await agent.reached('connected');
    await fleet.operator.revokeDevices({ ids: ['agent-5'], reason: 'keyCompromise' });
    await agent.reached('revoked');
    expect(await place.command(['publish', 'temperature', '1'])).toMatchObject({ code: 1 });
    const token = await fleet.mint({ device: 'agent-5' as DeviceId });
    expect(await place.command(['enroll', '--token', '-'], token)).toMatchObject({ code: 0 });
    await agent.reached('connected');
  });

  it.each([
    ['a command that is none', ['dance'], 'expected one of run, enroll'],
    ['an option that is none', ['status', '--loud'], "Unknown option '--loud'"],
    ['more than it needs', ['status', 'now'], 'expected nothing more, found "now"'],
    ['a wait that is none', ['publish', 's', '1', '--wait', '--timeout', '0'], 'expected 1 to 3600 seconds, found "0"'],
    ['how long to wait and no wait', ['publish', 's', '1', '--timeout', '5'], 'expected --wait beside it'],
    ['a token that others could see', ['enroll', '--token', 'rc1.secret'], 'expected @FILE, or -'],
  ])('refuses %s', async (_, args, complaint) => {
    const place = agentProgram.configure(temporaryDirectory());
    const { code, stderr } = await place.command(args);
    expect(code).toBe(2);
    expect(stderr).toContain(complaint);
    expect(stderr).not.toContain('secret');
  });

  it('refuses to run twice with one state directory', async () => {
    const place = await gateway('agent-6');
    await (await place.run()).reached('connected');
    expect(await place.command(['run'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('another agent answers'),
    });
    expect(await place.command(['status'])).toMatchObject({ code: 0 });
  });
});

it('the agent does not replace a file at the path of its socket', async () => {
  const place = await gateway('agent-7');
  mkdirSync(join(place.socket, '..'));
  writeFileSync(place.socket, 'precious');
  const { code, stderr } = await place.command(['run']);
  expect(code).toBe(1);
  expect(stderr).toContain('expected a socket or nothing');
  expect(readFileSync(place.socket, 'utf8')).toBe('precious');
});

describeWithClients('an application on the gateway', ['curl', 'mosquitto_pub', 'mosquitto_sub', 'paho'], () => {
  const curl = (directory: string, socket: string, ...args: readonly string[]) =>
    succeed('curl', ['--silent', '--unix-socket', socket, ...args], { directory });

  it('publishes with curl over the socket, and can query the outcome', async () => {
    const place = await gateway('app-1');
    await (await place.run()).reached('connected');
    const directory = temporaryDirectory();
    const post = (path: string, ...args: readonly string[]) =>
      curl(directory, place.socket, '--write-out', '%{http_code}', ...args, `http://device/v1/${path}`);
    expect((await post('telemetry/level?wait=1', '--data', '{"m":3}')).stdout).toMatch(/"acknowledged"\}\n200$/);
    expect((await post('events/door', '--data', 'open')).stdout).toMatch(/"queued"\}\n202$/);
    for (const _ of [1, 2]) {
      expect((await post('telemetry/level?wait=1&key=n.4', '--data', '4')).stdout).toMatch(/"key":"n\.4",.*\n200$/);
    }
    expect((await post('telemetry/level?key=a%2Fb', '--data', '1')).stdout).toMatch(/"request_invalid".*\n400$/);
    expect((await post('events/door?key=a', '--data', '1')).stdout).toMatch(/"request_invalid".*\n400$/);
    expect((await post('telemetry/a%2Fb', '--data', '1')).stdout).toMatch(/"request_invalid".*\n400$/);
    expect((await post('telemetry/level?qos=2', '--data', '1')).stdout).toMatch(/"request_invalid".*\n400$/);
    expect((await post('nothing')).stdout).toMatch(/"not_found".*\n404$/);
    expect(await stored('app-1')).toEqual([
      ['level', { m: 3 }],
      ['level', 4],
    ]);
  });

  it('is refused a payload that no broker would accept', async () => {
    const place = await gateway('app-2');
    await (await place.run()).reached('connected');
    const directory = temporaryDirectory();
    const input = Buffer.alloc(300_000, 'x');
    const args = ['--silent', '--unix-socket', place.socket, '--data-binary', '@-', 'http://device/v1/telemetry/level'];
    expect((await succeed('curl', args, { directory, input })).stdout).toContain('"body_too_large"');
  });

  it('receives commands with curl, and answers them', async () => {
    const place = await gateway('app-3');
    await (await place.run()).reached('connected');
    const service = await connectMqtt(await issueService(fleet, 'desk-3'));
    await service.subscribeAsync('devices/app-3/responses/+', { qos: 1 });
    const directory = temporaryDirectory();
    const listener = startClient(
      'curl',
      ['--silent', '--no-buffer', '--unix-socket', place.socket, 'http://device/v1/commands'],
      { directory },
    );
    const answer = nextMessage(service);
    await service.publishAsync('devices/app-3/commands/open-valve/r-1', '{"percent":40}', { qos: 1 });
    expect(JSON.parse(await listener.line(/open-valve/))).toEqual({
      name: 'open-valve',
      requestId: 'r-1',
      payload: { percent: 40 },
    });
    await curl(directory, place.socket, '--data', '{"ok":true}', 'http://device/v1/responses/r-1');
    expect(await answer).toEqual({ topic: 'devices/app-3/responses/r-1', payload: '{"ok":true}' });
  });

  it('publishes over plain MQTT on loopback to the topics of the device', async () => {
    const place = await gateway('app-4', ['listen = 127.0.0.1:0']);
    const agent = await place.run();
    await agent.reached('connected');
    const service = await connectMqtt(await issueService(fleet, 'desk-4'));
    await service.subscribeAsync('devices/app-4/responses/+', { qos: 1 });
    const directory = temporaryDirectory();
    const local = ['-h', '127.0.0.1', '-p', String(agent.mqttPort), '-q', '1'];
    await succeed('mosquitto_pub', [...local, '-t', 'telemetry/level', '-m', '{"m":1}'], { directory });
    const five = [
      '-V',
      '5',
      '-D',
      'publish',
      'content-type',
      'application/json',
      '-D',
      'publish',
      'user-property',
      'a',
      'b',
    ];
    await succeed('mosquitto_pub', [...local, ...five, '-t', 'devices/app-4/telemetry/level', '-m', '{"m":2}'], {
      directory,
    });

    for (const _ of [1, 2]) {
      await succeed('mosquitto_pub', [...local, '-t', 'telemetry/level/n-1', '-m', '{"m":2.5}'], { directory });
    }

    const listener = startClient('mosquitto_sub', [...local, '-d', '-t', 'commands/#', '-F', '%t %p'], { directory });
    await listener.line(/SUBACK/);
    const answer = nextMessage(service);
    await service.publishAsync('devices/app-4/commands/blink/r-2', 'twice', { qos: 1 });
    await listener.line(/^commands\/blink\/r-2 twice$/);
    await succeed('mosquitto_pub', [...local, '-t', 'responses/r-2', '-m', 'blinked'], { directory });
    expect(await answer).toEqual({ topic: 'devices/app-4/responses/r-2', payload: 'blinked' });

    await place.command(['publish', 'level', '{"m":3}', '--wait']);
    expect(await stored('app-4')).toEqual([1, 2, 2.5, 3].map((m) => ['level', { m }]));
  });

  it.each([
    ["another device's topic", ['-t', 'devices/other/telemetry/level', '-m', '1']],
    ['a topic of no kind', ['-t', 'level', '-m', '1']],
    ['a will', ['-t', 'telemetry/level', '-m', '1', '--will-topic', 'telemetry/level', '--will-payload', 'gone']],
  ])('is disconnected with %s', async (_, args) => {
    const place = await gateway(`app-5-${Math.random().toString(36).slice(2, 8)}`, ['listen = 127.0.0.1:0']);
    const agent = await place.run();
    await agent.reached('connected');
    const local = ['-h', '127.0.0.1', '-p', String(agent.mqttPort), '-q', '1'];
    const directory = temporaryDirectory();
    const { status } = await startClient('mosquitto_pub', [...local, ...args], { directory }).ended;
    expect(status).not.toBe(0);
    expect(await place.command(['status'])).toMatchObject({ code: 0 });
  });

  it('may not subscribe to anything but the commands of its device', async () => {
    const place = await gateway('app-6', ['listen = 127.0.0.1:0']);
    const agent = await place.run();
    await agent.reached('connected');
    const local = ['-h', '127.0.0.1', '-p', String(agent.mqttPort), '-d'];
    const directory = temporaryDirectory();
    const listener = startClient('mosquitto_sub', [...local, '-t', '#', '-t', 'devices/other/commands/#'], {
      directory,
    });
    await listener.line(/Subscribed \(mid: 1\): 128, 128/);
    const many = Array.from({ length: 51 }, (_, index) => ['-t', `commands/name-${index}/+`]).flat();
    const greedy = startClient('mosquitto_sub', [...local, ...many], { directory });
    await greedy.line(/Subscribed \(mid: 1\): (0, ){50}128/);
  });

  it('cannot stop the agent with bytes that are not MQTT', async () => {
    const place = await gateway('app-7', ['listen = 127.0.0.1:0']);
    const agent = await place.run();
    await agent.reached('connected');
    for (const bytes of [
      `GET /${'x'.repeat(80)} HTTP/1.1\r\n\r\n`,
      '\x10\xff\xff\xff\xff\x7f',
      '\x10\xff\xff\xff\x7f',
      '\x30\x03\x00\x01a',
    ]) {
      await new Promise<void>((resolve) => {
        const socket = connect(agent.mqttPort, '127.0.0.1', () => socket.write(Buffer.from(bytes, 'latin1')));
        socket.on('error', () => {});
        socket.once('close', () => resolve());
      });
    }
    expect(await place.command(['status'])).toMatchObject({ code: 0 });
  });

  it('depends on an agent that notifies systemd that it is ready and alive', async () => {
    const directory = temporaryDirectory();
    const socket = join(directory, 'notify.sock');
    const listener = startClient(
      'paho', // for its interpreter: Node has no datagram sockets of this kind
      [
        '-uc',
        `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(socket)})
print('bound')
while True: print(s.recv(4096).decode())`,
      ],
      { directory },
    );
    await listener.line(/bound/);
    const place = await gateway('app-8');
    const agent = await place.run({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: '400000' });
    await listener.line(/^READY=1/);
    await listener.line(/^STATUS=connected/);
    await listener.line(/^WATCHDOG=1/);
    await agent.end('SIGTERM');
    await listener.line(/^STOPPING=1/);
  });
});
