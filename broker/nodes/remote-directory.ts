/** What a node asks of the registry, by way of the keeper. */

import type { PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { BrokerDirectory } from '../broker.ts';
import type { ChannelToKeeper, StatusForNode } from './node-calls.ts';

export class RemoteDirectory implements BrokerDirectory {
  readonly #channel: ChannelToKeeper;
  readonly #listeners = new Set<(scope: PolicyScope) => void>();

  constructor(channel: ChannelToKeeper) {
    this.#channel = channel;
  }

  certificateStatus(serial: string): Promise<StatusForNode> {
    return this.#channel.call('certificateStatus', serial);
  }

  recordFirstUse(serial: string): Promise<boolean> {
    return this.#channel.call('recordFirstUse', serial);
  }

  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined> {
    return this.#channel.call('findPolicy', scope);
  }

  onPolicyChange(listener: (scope: PolicyScope) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  policyChanged(scope: PolicyScope): void {
    for (const listener of this.#listeners) listener(scope);
  }
}
