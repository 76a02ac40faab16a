/** The server as a systemd service: notifications to a real socket, and a log for the journal. */

import { fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { serve } from '../fixtures/program.ts';
import { describeWithClients, startClient } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

/** Node has no datagram sockets of this kind. Prints each datagram on one line. */
async function notifySocket(directory: string) {
  const path = join(directory, 'notify.sock');
  const receiver = startClient(
    'python3',
    [
      '-uc',
      `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(path)})
print('bound')
while True: print(s.recv(4096).decode().replace('\\n', ' '))`,
    ],
    { directory },
  );
  await receiver.line(/bound/);
  return { path, receiver };
}

describeWithClients('a server that systemd supervises', ['python3', 'systemd-notify'], () => {
  it('notifies systemd when it is ready, alive, reloading and stopping, with the time that the stop may take', async () => {
    const directory = temporaryDirectory();
    const { path, receiver } = await notifySocket(directory);
    const environment = { NOTIFY_SOCKET: path, WATCHDOG_USEC: '400000', ROLLCALL_DRAIN_WITHIN: '20s' };
    const server = await serve(join(directory, 'data'), [], { environment });
    onTestFinished(async () => {
      await server.end('SIGKILL');
    });
    await receiver.line(/^READY=1 STATUS=EST https:\/\/localhost:\d+, MQTT mqtts:\/\/localhost:\d+$/);
    await receiver.line(/^WATCHDOG=1$/);
    process.kill(server.pid, 'SIGHUP');
    await receiver.line(/^RELOADING=1 MONOTONIC_USEC=\d+$/);
    await server.untilLogged('configuration reloaded');
    const ended = server.end('SIGTERM');
    await receiver.line(/^STOPPING=1 STATUS=ending sessions EXTEND_TIMEOUT_USEC=50000000$/);
    expect((await ended).code).toBe(0);
  });

  it('runs without a watchdog that is another process’s, and without a program that notifies', async () => {
    const directory = temporaryDirectory();
    const environment = { NOTIFY_SOCKET: join(directory, 'nobody.sock'), WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const server = await serve(join(directory, 'data'), [], { environment });
    await server.untilLogged('systemd notification failed');
    const { code, stderr } = await server.end('SIGTERM');
    expect(code).toBe(0);
    expect(stderr.match(/systemd notification failed/g)).toHaveLength(1);
  });
});

describe('the log of a server', () => {
  /** What the server logs when JOURNAL_STREAM names its standard error, or another stream. */
  async function logged(streamOf: (fd: number) => string, format = 'auto'): Promise<readonly string[]> {
    const directory = temporaryDirectory();
    const file = join(directory, 'journal');
    const fd = openSync(file, 'w');
    const environment = { JOURNAL_STREAM: streamOf(fd), ROLLCALL_LOG_FORMAT: format };
    const server = await serve(join(directory, 'data'), [], { environment, stderr: fd });
    await server.end('SIGTERM');
    return readFileSync(file, 'utf8').trim().split('\n');
  }

  const ofStream = (fd: number): string => {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return `${dev}:${ino}`;
  };

  it('has priorities and no times where standard error goes to journald', async () => {
    for (const line of await logged(ofStream)) {
      const [, priority, json = ''] = /^<(\d)>(\{.*\})$/.exec(line) ?? [];
      const { level, time } = JSON.parse(json) as { level: string; time?: string };
      expect([priority, time]).toEqual([level === 'warn' ? '4' : '6', undefined]);
    }
  });

  it('has times and no priorities where standard error was redirected elsewhere, and where the configuration says so', async () => {
    for (const lines of [await logged(() => '1:2'), await logged(ofStream, 'json')]) {
      for (const line of lines) expect(JSON.parse(line)).toMatchObject({ time: expect.stringMatching(/^2\d{3}-/) });
    }
  });
});
