/** MQTT over mutual TLS: listener, access, sessions, routing. */

export { checkPolicy, type DenialReason, type Subject } from './access/acl.ts';
export type { CloneSuspicion } from './access/clone-detector.ts';
export { type Broker, createBroker } from './broker.ts';
export type { BrokerEvent, ConnectFailure, DisconnectReason } from './events.ts';
export { type OpenSessionStore, openSessionStore } from './session-store/open-session-store.ts';
export { inspectSessionFile } from './session-store/session-file.ts';
