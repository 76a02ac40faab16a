/** Enrolls and revokes devices for ever, and reports each as soon as the registry says that it is done. */

import { pino } from 'pino';
import { openRegistry } from '../../registry/open.ts';
import { device, FleetMemory, OPERATOR } from '../behaviour/fleet-memory.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const fleet = await FleetMemory.open(async (now) => {
  const registry = await openRegistry({ file, now, log: pino({ level: 'silent' }) });
  return { registry, reopen: async () => registry };
});

for (let number = 1; ; number += 1) {
  const id = `${prefix}-${number}`;
  const serial = await fleet.enroll(id);
  process.stdout.write(`good ${serial}\n`);
  if (number % 3 !== 0) continue;
  await fleet.registry.revokeDevices([device(id)], 'keyCompromise', OPERATOR);
  process.stdout.write(`revoked ${serial}\n`);
}
