/** Publishes the CAs that devices and clients of this machine trust, when the server starts and at each change. */

import { writeFileSync } from 'node:fs';
import { TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import type { Broker } from '../broker/index.ts';
import type { Authority } from '../enroll/index.ts';

/** Resolves when the current bundle is retained. A prepared CA is published before it signs anything. */
export async function connectTrustBundle(
  { trust, serverCertificates, isKeyless }: Authority,
  broker: Pick<Broker, 'replaceTls' | 'retain'>,
  /** Path of the root certificate for clients of this machine. */
  rootFile: string,
): Promise<void> {
  let published = '';
  const publish = async (): Promise<void> => {
    writeFileSync(rootFile, trust.rootPem, { mode: 0o644 });
    broker.replaceTls(serverCertificates.current('broker'), trust.issuersPem);
    // Without the CRLs of roots, which are beside the keys, it would replace a bundle that has them.
    if (isKeyless || published === trust.devicePem) return;
    published = trust.devicePem;
    await broker.retain(TRUST_BUNDLE_TOPIC, Buffer.from(published));
  };
  await publish();
  trust.onChange(publish);
}
