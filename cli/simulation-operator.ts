import type { DeviceId, GroupName, ServiceName } from '@rollcall/protocol';
import type { ConsoleClient } from '../console/client.ts';
import type { OperatorAccess } from '../simulator/index.ts';
import { everyPage } from './every-page.ts';

/** Tokens that a run mints for itself are of no use to anyone after it. */
const TOKEN_TTL_SECONDS = 4 * 3_600;

/** Devices that renew by themselves do it within this time. */
const PULLED_WITHIN_SECONDS = 5;

export function createOperatorAccess(console: ConsoleClient): OperatorAccess {
  return {
    createToken: async ({ uses, group, labels }) => {
      const { token, text } = await console.createToken({
        uses,
        ttlSeconds: TOKEN_TTL_SECONDS,
        group: group as GroupName,
        labels,
      });
      return { id: token.id, text };
    },
    tokenUses: async (ids) => {
      const tokens = await everyPage<{ readonly id: string; readonly uses: number }>((end) =>
        console.listTokens(end === undefined ? {} : { after: end.id }),
      );
      return tokens.filter(({ id }) => ids.includes(id)).reduce((sum, { uses }) => sum + uses, 0);
    },
    revoke: async (ids) => {
      await console.revokeDevices({ ids: ids as DeviceId[], reason: 'keyCompromise', confirm: 'yes' });
    },
    issueService: (name, csrPem) => console.issueService({ name: name as ServiceName, csrPem }),
    revokeService: async (name) => {
      await console.revokeService({ name: name as ServiceName });
    },
    rotateIssuing: async () => {
      const before = (await console.listCas()).find(({ role, state }) => role === 'issuing' && state === 'active');
      const { id } = await console.prepareCa({});
      await console.activateCa({ id });
      if (before !== undefined) await console.taintCa({ id: before.id, withinSeconds: PULLED_WITHIN_SECONDS });
    },
    exportTelemetry: (since) => console.exportTelemetry({ since: since.toISOString() }),
  };
}
