/** Two holders of one key renew. The second one is refused and reported, and the device is quarantined if so configured. */

import { memoryIdentityStore } from '@rollcall/device-sdk';
import { describe, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';

describe.each(['report', 'quarantine'] as const)(
  'a certificate that two holders of its key renew, with clones.response: %s',
  (response) => {
    it('is superseded by the renewed certificate that is used first', async () => {
      const fleet = await startFleet({ settings: [[['clones', 'response'], response]] });
      const old = await fleet.enroll('dev-1');
      const mine = await requestRenewal(memoryIdentityStore(), old);
      const client = await connectMqtt(mine);
      await expect(connectMqtt(old)).rejects.toThrow();
      await expect(requestRenewal(memoryIdentityStore(), old)).rejects.toMatchObject({
        code: 'certificate_superseded',
      });
      const expected = response === 'report' ? 'active' : 'quarantined';
      const status = async () => (await fleet.operator.showDevice({ id: 'dev-1' })).status;
      while ((await status()) !== expected) await new Promise((resolve) => setImmediate(resolve));
      const audit = await fleet.operator.listAudit({ limit: 100 });
      expect(audit.find(({ action }) => action === 'certificate.renewal_forked')).toMatchObject({
        subject: 'device/dev-1',
        outcome: 'refused',
      });
      await client.endAsync();
      await fleet.stop();
    });
  },
);
