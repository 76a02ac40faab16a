import { DEFAULT_DEVICE_POLICY, type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import type { ConsoleClient } from '../console/client.ts';
import { DRILL_GROUP, type DrillOperator } from '../simulator/index.ts';

const TOKEN_TTL_SECONDS = 24 * 3_600;

/** Devices of the drill get the default policy, whatever the policies of the fleet allow. */
export async function createDrillOperator(
  console: ConsoleClient,
  readIssuingCa: DrillOperator['readIssuingCa'],
): Promise<DrillOperator> {
  const rules = Object.entries(DEFAULT_DEVICE_POLICY).map(([verb, filters]) => [verb, [...filters]]);
  await console.setPolicy({ kind: 'group', name: DRILL_GROUP, ...Object.fromEntries(rules) });
  const order = { ttlSeconds: TOKEN_TTL_SECONDS, group: DRILL_GROUP as GroupName };
  return {
    createToken: async (uses) => (await console.createToken({ ...order, uses })).text,
    createTokenFor: async (device) =>
      (await console.createToken({ ...order, uses: 1, device: device as DeviceId })).text,
    cas: () => console.listCas(),
    prepare: async (role) => (await console.prepareCa({ role })).id,
    activate: async (id) => {
      await console.activateCa({ id });
    },
    taint: (id, withinMs) => console.taintCa({ id, withinSeconds: Math.round(withinMs / 1_000) }),
    requestRenewals: () => console.pullRenewals({ group: DRILL_GROUP as GroupName, withinSeconds: 0 }),
    retire: async (id, strand) => {
      try {
        await console.retireCa({ id, strand });
        return 'retired';
      } catch (error) {
        if (error instanceof Problem && error.code === 'ca_would_strand') return 'would strand';
        throw error;
      }
    },
    readIssuingCa,
    messages: () => console.exportTelemetry({}),
  };
}
