/** Server certificates are renewed while devices stay connected. */

import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { addressOptions } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';

/** Short enough to see a renewal, which is due at two thirds of it. */
const LIFE = '6s';

describe('the server certificates', () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet({
      settings: [
        [['certificates', 'server'], LIFE],
        [['certificates', 'backdate'], '1s'],
      ],
    });
  });
  afterAll(() => fleet.stop());

  it('are replaced on every server before they expire, without dropping a connection', async () => {
    const client = await connectMqtt(await fleet.enroll('dev-1'));
    let isGone = false;
    void closed(client).then(() => {
      isGone = true;
    });
    const first = await serials(fleet);
    const replaced = async () => {
      const now = await serials(fleet);
      return Object.keys(now).filter((server) => now[server] !== first[server]);
    };
    await expect.poll(replaced, { interval: 200 }).toEqual(Object.keys(first));
    await client.publishAsync('devices/dev-1/telemetry/t', 'still here', { qos: 1 });
    expect(isGone).toBe(false);
  });
});

async function serials(fleet: TestFleet): Promise<Readonly<Record<string, string>>> {
  const urls = { enroll: fleet.enrollUrl, broker: fleet.mqttUrl, console: fleet.consoleUrl };
  const entries = Object.entries(urls).map(async ([server, url]) => [server, await serialAt(url)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

function serialAt(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: hostname, port: Number(port), rejectUnauthorized: false, ...addressOptions(hostname) },
      () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw).serialNumber);
        socket.destroy();
      },
    );
    socket.on('error', reject);
  });
}
