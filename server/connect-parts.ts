/** Connects the parts of a server, once all are open: what one does after a change in another. */

import { lifecycleTopic, UNKNOWN_NAME } from '@rollcall/protocol';
import { MAIN_NODE } from '../broker/index.ts';
import type { Authority } from '../enroll/index.ts';
import type { ServerContext } from './context.ts';
import type { OpenParts } from './open-parts.ts';
import type { Servers } from './open-servers.ts';
import { applyUnconfirmedChanges, connectRegistryChangeHandlers } from './registry-change-handlers.ts';
import type { Stores } from './store-options.ts';
import { connectTrustBundle } from './trust-bundle.ts';

/** Applies changes that were committed while no server ran, then each change at its commit. */
export async function connectParts(
  { cluster, data, now, log }: ServerContext,
  { registry, events }: Stores,
  { authority, servers }: { readonly authority: Authority; readonly servers: Servers },
  opened: OpenParts,
): Promise<void> {
  const { broker, renewals, console } = servers;
  await connectTrustBundle(authority, broker, data.trustBundle);
  const failed = (message: string) => (error: unknown) => log.error({ err: error }, message);
  renewals.republishNotices().catch(failed('renewal notices were not published again'));
  await applyUnconfirmedChanges(broker, registry);

  registry.onRevocation(({ holder, serials }) => {
    if (holder.kind !== 'device') return;
    for (const serial of serials) {
      renewals.withdrawNotice(holder.id, serial).catch(failed('renewal notice was not withdrawn'));
    }
  });
  const afterChange = (affectsCrl: boolean) => {
    void events.pollAudit();
    if (affectsCrl) authority.status.refresh().catch(failed('revocation list was not rebuilt'));
  };
  connectRegistryChangeHandlers({
    node: cluster === undefined ? MAIN_NODE : undefined,
    now,
    registry,
    broker,
    onRevoked: () => afterChange(true),
    // Certificates of a suspended device are on hold (RFC 5280, certificateHold) until its status changes.
    onChanged: ({ operation }) => afterChange(['suspend', 'resume', 'quarantine'].includes(operation)),
    log,
  });
  // Events are published after their commit, and not after the broker begins to close.
  const stopPublishing = events.log.follow({}, (event) => {
    if (!events.isOwn(event)) return;
    const { type, name, json } = event;
    const topic = lifecycleTopic(type, name === UNKNOWN_NAME ? undefined : name);
    void broker.publish(topic, Buffer.from(json), type === 'presence.connect_failed' ? 0 : 1);
  });
  opened.add({ close: async () => stopPublishing() });
  authority.serverCertificates.onChange('broker', (credentials) => broker.replaceTls(credentials));
  authority.serverCertificates.onChange('console', (credentials) => console.replaceTls(credentials));
}
