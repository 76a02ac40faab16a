import { type AddressInfo, createServer } from 'node:net';
import { afterAll, expect, it } from 'vitest';
import { makeScriptedAuthority } from '../test/testkit/scripted-authority.ts';
import { startScriptedEstServer } from '../test/testkit/scripted-est-server.ts';
import { Connection, type ConnectionEnd } from './connection.ts';
import { enrollOnce } from './enrollment.ts';
import { memoryIdentityStore } from './identity-store.ts';
import { PacketIds } from './packet-ids.ts';

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());

it('a broker that accepts and then says nothing is given up', async () => {
  const est = await startScriptedEstServer(authority);
  const identity = await enrollOnce(memoryIdentityStore(), { token: est.token() });
  await est.close();
  const silent = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const mqttUrl = `mqtts://localhost:${(silent.address() as AddressInfo).port}`;
  const end = await new Promise<ConnectionEnd>((ended) => {
    new Connection(
      { identity, mqttUrl, packetIds: new PacketIds(), clean: true, keepalive: 60, connectTimeout: 20 },
      { connected: () => expect.unreachable(), message: () => {}, ended },
    );
  });
  silent.close();
  expect(end.kind).toBe('lost');
  expect(end.error).toMatchObject({ code: 'connection_lost', message: expect.stringContaining('connack timeout') });
});
