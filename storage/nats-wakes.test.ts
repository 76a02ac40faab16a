/** Wakes over Debian's NATS server: the same as over PostgreSQL, and what holds while it is gone. */

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { describeWakes, startNode, type WakesFixture } from '../test/behaviour/wakes.ts';
import { makeDatedAuthority } from '../test/fixtures/dated-authority.ts';
import { type NatsServer, natsServer } from '../test/fixtures/nats-server.ts';
import { describeWithClients } from '../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { NatsWakes, type NatsWakesSettings } from './nats-wakes.ts';

const [LONG_AGO, FAR_OFF] = [Date.UTC(2020, 0), Date.UTC(2090, 0)] as const;

function wakesOn(server: NatsServer, settings: Partial<NatsWakesSettings> = {}): WakesFixture {
  return {
    open: (fleet, options) =>
      new NatsWakes({ servers: [`127.0.0.1:${server.port}`], tls: undefined, subject: fleet, ...settings, ...options }),
    cut: async () => {
      await server.kill();
      await server.start();
    },
  };
}

describeWithClients('wakes over NATS', ['nats-server'], () => {
  describeWakes(async () => wakesOn(await natsServer(temporaryDirectory())));

  it('come at short intervals while NATS is gone, and from other nodes when it is back', async () => {
    const server = await natsServer(temporaryDirectory());
    const fixture = wakesOn(server);
    const waking = await startNode(fixture, 'fleet');
    const listening = await startNode(fixture, 'fleet', ['audit'], { whileLost: 10 });
    const lost = [waking, listening].map(({ events }) => once(events, 'lost'));
    await server.kill();
    await Promise.all(lost);
    for (let wakes = 0; wakes < 3; wakes += 1) await once(listening.events, 'audit');

    const connected = [waking, listening].map(({ events }) => once(events, 'connected'));
    await server.start();
    await Promise.all(connected);
    // The connect woke everyone in these turns, and the interval is over: what comes now comes from the other node.
    await nextTurn();
    await nextTurn();
    const again = once(listening.events, 'audit');
    waking.wakes.wake('audit');
    await again;
  });

  it('go over another server of the cluster when one is gone', async () => {
    const [gone, there] = [await natsServer(temporaryDirectory()), await natsServer(temporaryDirectory())];
    await gone.kill();
    const servers = [gone, there].map(({ port }) => `127.0.0.1:${port}`);
    await startNode(wakesOn(there, { servers }), 'fleet', ['audit']);
  });

  it('go over TLS to a server of the right name with the right password alone', async () => {
    const ours = await makeDatedAuthority('CN=ours');
    const { certificatePem, keyPem } = await ours.server(LONG_AGO, FAR_OFF, [{ type: 'ip', value: '127.0.0.1' }]);
    const directory = temporaryDirectory();
    const file = (name: string, text: string) => {
      writeFileSync(join(directory, name), text, { mode: 0o600 });
      return join(directory, name);
    };
    const server = await natsServer(directory, [
      ...['--user', 'rollcall', '--pass', 'wakes password', '--tls'],
      ...['--tlscert', file('server.crt', certificatePem), '--tlskey', file('server.key', keyPem)],
    ]);
    const good = { tls: () => ({ ca: ours.rootPem }), user: 'rollcall', password: () => 'wakes password' };
    await startNode(wakesOn(server, good), 'fleet', ['audit']);
    const refusal = async (settings: Partial<NatsWakesSettings>) => {
      const failed = Promise.withResolvers<unknown>();
      const wakes = await wakesOn(server, { ...good, ...settings }).open('fleet', { onLost: failed.resolve });
      const error = await failed.promise;
      await wakes.close();
      return String(error);
    };
    const another = await makeDatedAuthority('CN=another');
    expect(await refusal({ tls: () => ({ ca: another.rootPem }) })).toMatch(/certificate|signature/i);
    expect(await refusal({ servers: [`localhost:${server.port}`] })).toMatch(/altname|localhost/i);
    expect(await refusal({ password: () => 'another' })).toMatch(/authoriz/i);
  });

  it('are reported as lost where the account may not read or send them', async () => {
    const directory = temporaryDirectory();
    writeFileSync(
      join(directory, 'nats.conf'),
      `authorization { users: [
        { user: mute, password: x, permissions: { publish: { deny: "fleet.>" } } }
        { user: deaf, password: x, permissions: { subscribe: { deny: "fleet.>" } } }
      ] }`,
    );
    const server = await natsServer(directory, ['-c', join(directory, 'nats.conf')]);
    const password = () => 'x';
    const mute = await startNode(wakesOn(server, { user: 'mute', password }), 'fleet');
    const lost = once(mute.events, 'lost');
    mute.wakes.wake('audit');
    await lost;
    const failed = Promise.withResolvers<unknown>();
    const deaf = await wakesOn(server, { user: 'deaf', password }).open('fleet', { onLost: failed.resolve });
    expect(String(await failed.promise)).toMatch(/permission/i);
    await deaf.close();
  });
});
