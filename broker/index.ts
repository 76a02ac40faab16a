/** MQTT over mutual TLS: listener, access, sessions, routing. */

export type { DenialReason, Subject } from './access/acl.ts';
export type { CloneSuspicion } from './access/clone-detector.ts';
export { checkPolicy, type PolicyFault, policyFaults } from './access/policy-faults.ts';
export type { FleetPolicyPreview } from './access/policy-preview.ts';
export { type Broker, createBroker, type NodeBroker } from './broker.ts';
export { type BrokerKeeper, type BrokerKeeperOptions, type NodeReport, openBrokerKeeper } from './broker-keeper.ts';
export { type BrokerNode, type BrokerNodeOptions, createBrokerNode } from './broker-node.ts';
export {
  countSharedSessions,
  hasSharedSessions,
  readSharedSessions,
  writeSharedSessions,
} from './cluster/copied-sessions.ts';
export type { FoundReports, NodeReports } from './cluster/node-reports.ts';
export { type ClusterOptions, type OpenCluster, openCluster } from './cluster/open-cluster.ts';
export { SESSION_TABLES } from './cluster/tables.ts';
export { type ClusterBroker, type ClusterBrokerOptions, createClusterBroker } from './cluster-broker.ts';
export type { BrokerEvent, ConnectFailure, DisconnectReason } from './events.ts';
export type { ChannelToKeeper, ChannelToNode, KeeperCalls, NodeCalls } from './nodes/node-calls.ts';
export { peekSessionFile, readSessionFile, writeSessionFile } from './session-store/copied-session-file.ts';
export { countRows, digestOfRows, type SessionsDigest } from './session-store/copied-sessions.ts';
export { type OpenSessionStore, openSessionStore } from './session-store/open-session-store.ts';
export { inspectSessionFile } from './session-store/session-file.ts';
export type { SessionRows } from './session-store/session-rows.ts';
export { type FleetSession, MAIN_NODE, type SessionPage, type SessionQuery } from './sessions/session-page.ts';
