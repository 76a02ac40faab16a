import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../../test/fixtures/scripted-authority.ts';
import { startScriptedBroker } from '../../test/fixtures/scripted-broker.ts';
import { startScriptedEstServer } from '../../test/fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { SILENT_LOG } from '../device-state.ts';
import { realTimers } from '../schedule.ts';
import { AgentDevice } from './agent-device.ts';
import { CommandQueue } from './command-queue.ts';
import { parseSettings } from './settings.ts';

const { describe, it } = testsWithClients('device-sdk/agent/agent-device.test.ts', ['openssl']);

function agentWith(lines: readonly string[]): AgentDevice {
  const text = [`state = ${join(temporaryDirectory(), 'state')}`, ...lines].join('\n');
  const common = { schedule: realTimers, log: SILENT_LOG, now: Date.now, random: Math.random, version: '0' };
  const commandQueue = new CommandQueue({ timeout: 30_000, schedule: realTimers });
  return new AgentDevice({ ...common, commandQueue, settings: parseSettings(text, 'device.conf') });
}

/** An agent with these lines of settings, enrolled with a broker that says what it was sent. */
async function start(...lines: readonly string[]) {
  const authority = makeScriptedAuthority();
  const broker = await startScriptedBroker(authority);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl });
  const agent = agentWith(lines);
  onTestFinished(async () => {
    await agent.close();
    await Promise.all([broker.close(), est.close()]);
    authority.dispose();
  });
  await agent.enroll(est.token());
  return { agent, broker };
}

describe("the agent's device", () => {
  it.each([
    ['with a key of its own, unless its application gave one', '', (own: string) => [own, 'mine']],
    ['without, where the settings say so', 'message-keys = none', () => [undefined, 'mine']],
  ])('sends telemetry %s', async (_, line, keys) => {
    const { agent, broker } = await start(line);
    const first = await agent.publish('temperature', '1', {});
    const second = await agent.publish('temperature', '2', { key: 'mine' });
    await Promise.all([first.acknowledged, second.acknowledged]);
    expect(broker.messages.map(({ key }) => key)).toEqual(keys(first.key));
  });

  it('keeps nobody waiting longer than they want to, though a server takes a new token and says nothing', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket.on('error', () => {})));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { readonly port: number };
    const authority = makeScriptedAuthority();
    const est = await startScriptedEstServer(authority, { mqttUrl: () => 'mqtts://localhost:9' });
    const tokenFile = join(temporaryDirectory(), 'token');
    const agent = agentWith([`token-file = ${tokenFile}`, `enroll = https://127.0.0.1:${port}`]);
    onTestFinished(async () => {
      const closed = agent.close();
      for (const socket of sockets) socket.destroy();
      silent.close();
      await Promise.all([closed, est.close()]);
      authority.dispose();
    });
    const timeout = new AbortController();
    agent.start();
    await expect(agent.enrolled(timeout.signal)).rejects.toThrow(/expected a bootstrap token/);
    writeFileSync(tokenFile, est.token(), { mode: 0o600 });
    const asked = once(silent, 'connection');
    const waiting = agent.enrolled(timeout.signal);
    const outcome = expect(waiting).rejects.toMatchObject({ code: 'unavailable' });
    await asked;
    timeout.abort();
    await outcome;
    expect(sockets[0]?.destroyed).toBe(false); // it is still tried
  });
});
