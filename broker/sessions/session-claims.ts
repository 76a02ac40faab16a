/**
 * The claim of a connection on the state of its session. A client id has one owner at a time; whoever claims it gets what is stored, and
 * releases it when the connection has ended. Asynchronous, so that the state may belong to another thread or host.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';

export interface SessionClaim {
  readonly clientId: string;
  readonly owner: string;
  readonly subject: Subject;
  readonly rights: Rights;
  /** What is stored is discarded [MQTT-3.1.2-4]. */
  readonly cleanStart: boolean;
  /** Seconds; 0: the session ends with the connection. */
  readonly sessionExpiryInterval: number;
}

export interface ClaimedSession {
  /** Session Present: there was a session, and it goes on. */
  readonly isPresent: boolean;
  /** The session is on disk; otherwise it exists only while its client is connected. */
  readonly isStored: boolean;
  readonly subscriptions: readonly StoredSubscription[];
  /** Different for each session of a client id; the same as long as the session goes on. Fences writes of a connection that lost it. */
  readonly epoch: number;
}

export interface SessionClaims {
  claim(claim: SessionClaim): Promise<ClaimedSession>;
  /** The connection has ended; the session ends `sessionExpiryInterval` seconds later. */
  release(clientId: string, sessionExpiryInterval: number): Promise<void>;
}
