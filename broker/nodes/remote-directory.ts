/**
 * What a node asks of the registry. It reads certificates by itself: a change is committed before the keeper tells the nodes of it, and before
 * it is confirmed. What changes, and policies, it asks the keeper.
 */

import type { PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { CertificateStatus } from '../../registry/index.ts';
import type { BrokerDirectory } from '../broker.ts';
import type { ChannelToKeeper } from './node-calls.ts';

/** Answers with everything that was committed before it was asked. */
export type CertificateReader = Pick<BrokerDirectory, 'certificateStatus'>;

export class RemoteDirectory implements BrokerDirectory {
  readonly #channel: ChannelToKeeper;
  readonly #certificates: CertificateReader;
  readonly #listeners = new Set<(scope: PolicyScope) => void>();

  constructor(channel: ChannelToKeeper, certificates: CertificateReader) {
    this.#channel = channel;
    this.#certificates = certificates;
  }

  certificateStatus(serial: string): Promise<CertificateStatus> {
    return this.#certificates.certificateStatus(serial);
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
