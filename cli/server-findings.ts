/** What the doctor finds out about the server: what that says of itself, and what happens when this machine connects to its public names. */

import { checkServers, type ServerCheck } from '@rollcall/device-sdk/building-blocks';
import type { ConsoleClient } from '../console/client.ts';
import type { Finding } from '../console/index.ts';

export async function examineRunningServer(server: ConsoleClient): Promise<readonly Finding[]> {
  const { findings, enrollUrls, rootSha256 } = await server.examineServer();
  const checks = await Promise.all(enrollUrls.map((enrollUrl) => checkServers({ enrollUrl, rootSha256 })));
  // Every EST server announces the same broker.
  const byServer = new Map(
    checks.flat().map((check) => [`${check.server} ${check.address}`, connectionFinding(check)]),
  );
  return [...findings, ...byServer.values()];
}

/** As a device would connect: name, TCP, TLS, chain to the root. */
function connectionFinding({ server, address, fault }: ServerCheck): Finding {
  if (fault === undefined) {
    return {
      check: 'network',
      outcome: 'ok',
      found: `${server} at ${address}: a device can connect from this machine`,
    };
  }
  return { check: 'network', outcome: 'failed', found: `${server} at ${address}: ${fault}`, fix: NETWORK_FIX };
}

const NETWORK_FIX =
  'check DNS, firewall and --public-host; a name that only devices can reach fails here and may still be right';
