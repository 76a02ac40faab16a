/** Parts of a server that depend on which node of several it is. */

import { serverUrl } from '@rollcall/protocol';
import type { EnrollServer } from '../../enroll/index.ts';
import type { ServerContext } from '../context.ts';
import type { OpenParts } from '../open-parts.ts';

/** In place of the EST server of a node without that role: its devices enroll at another one, on the same port. */
export function noEnrollServer({ config, publicHost }: ServerContext): EnrollServer {
  const { port } = config.enroll;
  const url = serverUrl('https', publicHost, port);
  return { url, port, counters: () => ({}), applyRates: () => {}, close: async () => {} };
}

/** What expires is reported once a day for the fleet: by the node with the lease. Undefined where a server is alone. */
export function mayReportExpiry({ cluster }: ServerContext, opened: OpenParts): (() => boolean) | undefined {
  if (cluster === undefined) return undefined;
  let isHeld = () => false;
  const withdraw = cluster.singletons.compete('expiry', {
    onTaken: (term) => {
      isHeld = () => term.isHeld;
    },
    onLost: () => {
      isHeld = () => false;
    },
  });
  opened.add({ close: withdraw });
  return () => isHeld();
}
