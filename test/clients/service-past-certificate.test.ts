/**
 * Two services run past the end of their first certificates against the real program: the example in TypeScript, which renews by itself, and the
 * one in Python with paho beside `rollcall service renew --daemon`. Certificates live for seconds.
 */

import type { ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Device, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { collect } from '../fixtures/child-process.ts';
import { clientCommand } from '../fixtures/client-programs.ts';
import { rollcall, serve, start } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { startProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const LIFE_S = 16;
const [pythonProgram = '', ...pythonArguments] = clientCommand('paho');

/** A program that writes lines of JSON. */
function reader(child: ChildProcess) {
  const stderr = collect(child.stderr);
  const texts = new Set<string>();
  const waiting = new Set<() => void>();
  let isReady = false;
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const { ready, text } = JSON.parse(line) as { readonly ready?: true; readonly text?: string };
    if (ready === true) isReady = true;
    if (text !== undefined) texts.add(text);
    for (const check of [...waiting]) check();
  });
  const until = (isDone: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`ended with ${code}: ${stderr()}`)));
      const check = () => {
        if (!isDone()) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  return {
    stderr,
    ready: () => until(() => isReady),
    hasAll: (all: readonly string[]) => until(() => all.every((text) => texts.has(text))),
  };
}

describeWithClients('a service that runs past the end of its first certificate', ['paho'], () => {
  it('loses no acknowledged message and is never refused', async () => {
    const directory = temporaryDirectory();
    const [data, config] = [join(directory, 'data'), join(directory, 'rollcall.json')];
    writeFileSync(config, JSON.stringify({ certificates: { device: `${LIFE_S}s`, backdate: '0s' } }));
    const server = await serve(data, ['--config', config]);
    onTestFinished(async () => void (await server.end('SIGTERM')));
    const operator = openConsoleClient({ socketPath: server.ready.socket });
    onTestFinished(() => operator.close());

    const issue = async (name: string) => {
      const out = join(directory, name);
      const { code, stderr } = await rollcall(['service', 'issue', name, '--out', out, '--data', data]);
      expect(code, stderr).toBe(0);
      return out;
    };
    const endOf = (out: string) => new X509Certificate(readFileSync(join(out, 'cert.pem'))).validToDate.getTime();

    const typescript = await issue('board');
    const first = reader(startProcess(process.execPath, [file('service-sdk/examples/dashboard.ts'), typescript]));
    await first.ready();
    const python = await issue('panel');
    const ends = [typescript, python].map(endOf);
    const daemon = start(['service', 'renew', python, '--daemon'], {});
    const second = reader(
      startProcess(pythonProgram, [...pythonArguments, file('service-sdk/examples/dashboard.py'), python]),
    );
    await second.ready();

    const { text: token } = await operator.createToken({});
    const device = await Device.open({ store: memoryIdentityStore(), token, deviceId: 'machine-1' });
    onTestFinished(() => device.close());
    await device.connected();
    const acknowledged: string[] = [];
    // Time passes for programs that cannot be given a clock; the broker ends sessions of ended certificates within 5 s.
    while (Date.now() < Math.max(...ends) + 1_000) {
      const text = String(acknowledged.length);
      await (await device.publish('level', text)).acknowledged;
      acknowledged.push(text);
      await wait(50);
    }
    await Promise.all([first.hasAll(acknowledged), second.hasAll(acknowledged)]);

    expect(acknowledged.length).toBeGreaterThan(50);
    expect([first.stderr(), second.stderr()]).toEqual(['', '']);
    const refused = await operator.listEvents({ type: 'presence.connect_failed' });
    expect(refused).toEqual([]);
    const { sessions } = await operator.listSessions();
    for (const name of ['board', 'panel'])
      expect(Date.parse(sessions.find(({ clientId }) => clientId === name)?.notAfter as string)).toBeGreaterThan(
        Date.now(),
      );
    daemon.kill('SIGTERM');
    expect(await once(daemon, 'exit')).toEqual([0, null]);
  });
});
