/** One old key in two hands: whoever comes second is refused, told of, and where that is set the device is quarantined. */

import { memoryIdentityStore } from '@rollcall/device-sdk';
import { describe, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';

describe.each(['report', 'quarantine'] as const)(
  'a certificate that is renewed by two, with clones.response: %s',
  (response) => {
    it('leads on for the first that is used', async () => {
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
