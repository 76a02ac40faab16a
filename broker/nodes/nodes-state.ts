/** What the keeper has in common for all nodes that are attached to it. */

import type { PolicyResolver } from '../access/policy-resolver.ts';
import type { BrokerDirectory } from '../broker.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { Keeper } from '../keeper/open-keeper.ts';
import type { DeliveredKeysByDevice } from '../routing/delivered-keys.ts';
import type { SessionReporter } from '../sessions/session-reporter.ts';
import type { TakeoverLimit } from '../sessions/takeover-limit.ts';
import type { NodeClients } from './node-client.ts';
import type { NodesBus } from './nodes-bus.ts';
import type { RouteTable } from './route-table.ts';

export interface NodesState {
  readonly directory: BrokerDirectory;
  readonly policies: PolicyResolver;
  readonly reporter: SessionReporter;
  readonly keeper: Keeper;
  readonly clients: NodeClients;
  readonly routes: RouteTable;
  readonly bus: NodesBus;
  readonly takeovers: TakeoverLimit;
  readonly counters: BrokerCounters;
  readonly deliveredKeys: DeliveredKeysByDevice;
  /** Those that a device has. */
  readonly streamsOf: (device: string) => readonly string[];
  readonly limits: Pick<BrokerLimits, 'sessionsPerIdentity'>;
  /** A number for a message, greater than all before. */
  readonly nextNumber: () => number;
  /** How long a node may take to end a session whose client id was claimed on another node, in ms. */
  readonly takeoverWithin: number;
  readonly now: () => number;
}
