import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceId, GroupName, ServiceName } from '@rollcall/protocol';
import type { ConsoleClient } from '../console/client.ts';
import type { OperatorAccess } from '../simulator/index.ts';
import { everyPage } from './every-page.ts';

/** A run revokes its tokens at its end; this is for one that is killed. */
const TOKEN_TTL_SECONDS = 4 * 3_600;

/** Devices that renew by themselves do it within this time. */
const PULLED_WITHIN_SECONDS = 5;

/** The label of simulated devices; its value is the name of the run. */
export const SIMULATED_LABEL = 'simulated';

/** The name of a run: before the names of its devices, and the value of their label. */
export function runName(): string {
  return `sim${Date.now().toString(36)}`;
}

/** A server reads exemptions once a second. */
const EXEMPTION_MS = 1_200;

export interface SimulationTokenOptions {
  /** Name of the run, which is a valid value of a label. */
  readonly run: string;
  /** Addresses and networks to exempt from the limits per address. */
  readonly loadTest?: readonly string[] | undefined;
}

export interface SimulationTokens {
  create(order: {
    readonly uses: number;
    readonly group?: string;
    readonly labels?: Readonly<Record<string, string>>;
  }): Promise<{ readonly id: string; readonly text: string }>;
  /** Ends its exemption, too. A server that is gone is no error: then the token ends by itself. */
  revoke(id: string): Promise<void>;
  revokeAll(): Promise<void>;
}

export function simulationTokens(console: ConsoleClient, { run, loadTest }: SimulationTokenOptions): SimulationTokens {
  const created: string[] = [];
  const revoke = async (id: string) => {
    await console.revokeToken({ id }).catch(() => {});
  };
  return {
    create: async ({ uses, group, labels = {} }) => {
      const { token, text } = await console.createToken({
        uses,
        ttlSeconds: TOKEN_TTL_SECONDS,
        ...(group !== undefined && { group: group as GroupName }),
        labels: { ...labels, [SIMULATED_LABEL]: run },
        ...(loadTest !== undefined && { loadTest: { from: [...loadTest] } }),
      });
      if (loadTest !== undefined && created.length === 0) await delay(EXEMPTION_MS);
      created.push(token.id);
      return { id: token.id, text };
    },
    revoke,
    revokeAll: async () => {
      await Promise.all(created.map(revoke));
    },
  };
}

export function createOperatorAccess(console: ConsoleClient, tokens: SimulationTokens): OperatorAccess {
  return {
    createToken: (order) => tokens.create(order),
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
