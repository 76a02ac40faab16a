/** The bus of a node over one database: its own sessions get a message at once, those of other nodes through the messages between nodes. */

import type { TerminationReport } from '../../registry/index.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import type { Bus, SessionChange } from '../routing/bus.ts';
import type { LocalBus } from '../routing/local-bus.ts';
import { NodeOfMembers } from './cluster-shares.ts';

export interface ClusterBusOptions {
  readonly local: LocalBus;
  /** Sends a message of QoS 0 to the other nodes that have receivers, or retain it. */
  readonly send: (message: Message, shares: readonly ShareChoice[] | undefined) => void;
}

export class ClusterBus implements Bus {
  readonly #options: ClusterBusOptions;

  constructor(options: ClusterBusOptions) {
    this.#options = options;
  }

  tell(message: Message, shares: readonly ShareChoice[] | undefined, done?: () => void): void {
    const { local, send } = this.#options;
    // Messages of QoS 1 and 2 were sent when they were stored.
    if (message.qos === 0) send(message, shares);
    local.tell(message, ownShares(shares), done);
  }

  tellMember(message: Message, share: string, member: ShareMember): void {
    this.#options.local.tellMember(message, share, member);
  }

  /** Each node applies the changes of the registry to its own sessions. */
  confirm(change: SessionChange): Promise<readonly TerminationReport[]> {
    return this.#options.local.confirm(change);
  }
}

/** Members on this node. */
export function ownShares(shares: readonly ShareChoice[] | undefined): readonly ShareChoice[] | undefined {
  return shares?.some(({ member }) => member instanceof NodeOfMembers)
    ? shares.filter(({ member }) => !(member instanceof NodeOfMembers))
    : shares;
}
