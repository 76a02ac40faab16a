/** Records that an identity seems to be used in two places, and quarantines the device if `clones.response` is `quarantine`. */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { CloneSuspicion } from '../broker/index.ts';
import type { Registry } from '../registry/index.ts';

export interface CloneResponseOptions {
  readonly registry: Pick<Registry, 'recordAction' | 'applyDeviceOperation' | 'findDevice'>;
  readonly response: 'report' | 'quarantine';
  /** Called after the suspicion is in the audit. */
  readonly onRecorded: () => void;
  readonly log: Logger;
}

/** A superseded certificate asked for another renewal. The registry has recorded that. */
export async function respondToFork(
  identity: Identity,
  { registry, response, onRecorded, log }: CloneResponseOptions,
): Promise<void> {
  onRecorded();
  if (response === 'report' || identity.kind === 'service') return;
  try {
    if ((await registry.findDevice(identity.id))?.status !== 'active') return;
    await registry.applyDeviceOperation([identity.id], { kind: 'quarantine' }, 'server/enroll');
  } catch (error) {
    log.error({ err: error, identity: formatIdentity(identity) }, 'device was not quarantined after a renewal fork');
  }
}

/** Records the suspicion in the audit, from which it becomes an event. A service is never quarantined. */
export async function respondToClone(
  { identity, evidence, addresses, serials, takeovers }: CloneSuspicion,
  { registry, response, onRecorded, log }: CloneResponseOptions,
): Promise<void> {
  const actor = 'server/broker';
  const subject = formatIdentity(identity);
  try {
    const details = { evidence, addresses: addresses.join(' '), serials: serials.join(' '), takeovers, response };
    await registry.recordAction({
      actor,
      action: `${identity.kind}.clone_suspected`,
      subject,
      outcome: 'done',
      details,
    });
    onRecorded();
    if (response === 'report' || identity.kind === 'service') return;
    // A suspended or revoked device keeps its status.
    if ((await registry.findDevice(identity.id))?.status !== 'active') return;
    await registry.applyDeviceOperation([identity.id], { kind: 'quarantine' }, actor);
  } catch (error) {
    log.error({ err: error, identity: subject }, 'suspected clone was not recorded or quarantined');
  }
}
