/** Runs the shell of docs/stolen-gateway.md, while the gateway and its child are connected. */

import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { DOCUMENTED_SHELL_TIMEOUT_MS, runDocumentedShell } from '../fixtures/documented-shell.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = new URL('../../docs/stolen-gateway.md', import.meta.url);
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

describeWithClients('docs/stolen-gateway.md', ['bash'], () => {
  it(
    'leads from a word of the id to a device that is out, with proof, and to its replacement',
    async () => {
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      const shared = { uses: 5, group: 'gateways', labels: { site: 'hall-3' } } as const;
      const gateway = await fleet.enroll('gw-0042', shared);
      const child = await fleet.enroll('inlet-7', { labels: { gateway: 'gw-0042' } });
      const clients = [await connectMqtt(gateway), await connectMqtt(child)];
      await clients[0]?.publishAsync('devices/gw-0042/telemetry/temperature', '21.5', { qos: 1 });
      const directory = temporaryDirectory();
      const follow = (heading: string) =>
        runDocumentedShell({
          page,
          heading,
          directory,
          environment: { ROLLCALL_DATA: fleet.data, PATH: [programs, process.env.PATH].join(delimiter) },
        });

      expect(await follow('Lock it out')).toBe(5);
      expect(clients.map(({ connected }) => connected)).toEqual([false, false]);
      await expect(connectMqtt(gateway)).rejects.toThrow();
      const tokens = await fleet.operator.listTokens({});
      expect(tokens.map(({ labels, state }) => [labels.site, state])).toContainEqual(['hall-3', 'void']);

      expect(await follow('Prove it')).toBe(1);
      const read = (name: string) => readFileSync(join(directory, name), 'utf8');
      expect(read('proof.json').match(/"act": *"revoke"/g)).toHaveLength(2);
      expect(read('last-telemetry.ndjson')).toContain('21.5');

      expect(await follow('Replace it')).toBe(3);
      const device = await fleet.operator.showDevice({ id: 'gw-0042' as never });
      expect(device).toMatchObject({ status: 'active', labels: { site: 'hall-3' }, online: false });
      expect(device.certificates.map(({ status }) => status)).toEqual(['revoked', 'good']);
      expect(device.audit.map(({ action }) => action)).toEqual(
        expect.arrayContaining(['device.revoked', 'device.enrolled']),
      );
    },
    DOCUMENTED_SHELL_TIMEOUT_MS,
  );
});
