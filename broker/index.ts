/** MQTT over mutual TLS: listener, access, sessions, routing. */

export { checkPolicy, type Denial, type Subject } from './access/acl.ts';
export type { CloneSuspicion } from './access/clone-detector.ts';
export { type Broker, createBroker } from './broker.ts';
export type { BrokerEvent, DisconnectReason } from './events.ts';
export { type OpenSessions, openSessions } from './session-store/open-session-store.ts';
export { inspectSessions } from './session-store/session-file.ts';
export type { Departure } from './sessions/session-termination.ts';
