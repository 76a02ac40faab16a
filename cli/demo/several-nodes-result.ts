import { ms, neverConnected } from './demo-screen.ts';
import type { LostDevice } from './lost-device.ts';

/** What has happened; the demo has succeeded when nothing in it is missing. */
export interface NodesDemoResult {
  readonly nodes: number;
  readonly devices: number;
  readonly connected: number;
  /** Of the devices that never connected, counted by the last error of each. */
  readonly causes: Readonly<Record<string, number>>;
  /** Messages that a node acknowledged. */
  readonly acknowledged: number;
  /** Acknowledged messages that are not stored, and messages that are stored more than once; undefined when no node answered. */
  readonly stored: { readonly missing: number; readonly twice: number } | undefined;
  /** `by` and `at`: the node that revoked it, and that of its session. */
  readonly revoked?: LostDevice & { readonly by: string; readonly at: string };
}

export function isNodesDemoComplete({ devices, connected, acknowledged, stored, revoked }: NodesDemoResult): boolean {
  const isRevocationComplete =
    revoked?.disconnected !== undefined && revoked.refused !== undefined && revoked.sessionsClosed === 1;
  const isStored = stored !== undefined && stored.missing === 0 && stored.twice === 0;
  return connected === devices && acknowledged > 0 && isStored && isRevocationComplete;
}

export function describeNodesDemo(result: NodesDemoResult): string {
  const { nodes, devices, connected, causes, acknowledged, stored, revoked } = result;
  const found =
    stored === undefined
      ? 'no node could say what is stored'
      : `${stored.missing} of them are missing, ${stored.twice} are stored twice`;
  return [
    `${connected} of ${devices} devices enrolled at ${nodes} nodes and connected over mutual TLS`,
    ...neverConnected(causes),
    `${acknowledged} messages acknowledged after a standby had confirmed them; ${found}`,
    revoked === undefined
      ? 'no device was revoked: the demo ended too early'
      : `${revoked.id} was revoked on ${revoked.by}: the command returned after ${ms(revoked.answered)}, ` +
        `its session on ${revoked.at} was closed after ${ms(revoked.disconnected)}, its next connection refused after ${ms(revoked.refused)}`,
  ].join('\n');
}
