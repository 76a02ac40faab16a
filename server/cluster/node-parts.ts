/** Parts of a server that depend on which node of several it is. */

import { serverUrl } from '@rollcall/protocol';
import type { EnrollServer } from '../../enroll/index.ts';
import type { ServerContext } from '../context.ts';
import type { OpenParts } from '../open-parts.ts';
import { readNodeIdentity } from './node-directory.ts';

/** In place of the EST server of a node without that role: its devices enroll at another one, on the same port. */
export function noEnrollServer(context: ServerContext): EnrollServer {
  const { port } = context.config.enroll;
  const url = enrollUrlOf(context, port);
  return { url, port, counters: () => ({}), applyRates: () => {}, close: async () => {} };
}

/** Where devices enroll that get a token here: at the node by which this one joined, where it does not itself. */
export function enrollUrlOf({ config, data, publicHost }: ServerContext, port: number): string {
  const joined = config.node.roles.includes('enroll') ? undefined : readNodeIdentity(data.path);
  return joined?.enrollUrl ?? serverUrl('https', publicHost, port);
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
