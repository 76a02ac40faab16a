/** What the state of sessions needs to know of a connected client, on whichever node its connection is. */

import type { Rights } from '../access/acl.ts';
import type { Qos } from '../mqtt/packets.ts';

export interface ConnectedClient {
  /** Its connection has a reason to end. */
  readonly isEnded: boolean;
  readonly rights: Rights;
  /** It does not read or acknowledge as fast as messages come. */
  readonly isBehind: boolean;
  readonly filters: Iterable<{ readonly filter: string; readonly qos: Qos }>;
}

export interface ConnectedClients {
  find(clientId: string): ConnectedClient | undefined;
}
