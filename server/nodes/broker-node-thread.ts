/** The program of a node's thread: a broker node with an intake of telemetry of its own. */

import { type BrokerNodeOptions, type ChannelToKeeper, createBrokerNode } from '../../broker/index.ts';
import { openCertificateReader } from '../../registry/index.ts';
import { Channel } from '../../storage/index.ts';
import type { NodeConnection } from '../../telemetry/index.ts';
import { openNodeTelemetry } from '../../telemetry/index.ts';
import { serveNode } from './serve-node.ts';

/** Plain data, and the ports of telemetry. */
export interface BrokerNodeSettings
  extends Pick<
    BrokerNodeOptions,
    'host' | 'port' | 'proxies' | 'webSocket' | 'tls' | 'issuers' | 'trustDomain' | 'serverReference' | 'limits'
  > {
  readonly isJoining: boolean;
  /** The node reads it. */
  readonly registryFile: string;
  readonly telemetry: NodeConnection;
}

serveNode<BrokerNodeSettings>(async ({ options, keeper, log, refusalLog, loadTests, connections }) => {
  const now = Date.now;
  const certificates = await openCertificateReader({ file: options.registryFile, now });
  // Messages of the ports wait until here: their handlers are set in one turn.
  const failed = (error: unknown, call: string) => log.error({ err: error, call }, 'a message of the keeper failed');
  const channel: ChannelToKeeper = new Channel(keeper, { name: 'the keeper', failed });
  const telemetryLog = log.child({ component: 'telemetry' });
  const telemetry = openNodeTelemetry({ connection: options.telemetry, now, log: telemetryLog });
  const node = await createBrokerNode({
    ...options,
    certificates,
    channel,
    connections,
    telemetry,
    refusalLog,
    loadTests,
    now,
    log: log.child({ component: 'broker' }),
  });
  return {
    port: node.port,
    webSocketPort: node.webSocketPort,
    counters: () => node.counters(),
    async close() {
      await node.close();
      await telemetry.close();
      certificates.close();
      channel.close();
    },
  };
});
