/** The clients that are connected to the nodes: one claim for each client id. */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Rights, Subject } from '../access/acl.ts';
import type { ConnectedClient, ConnectedClients } from '../keeper/connected-clients.ts';
import type { SessionRecord } from '../keeper/sessions.ts';
import type { Qos } from '../mqtt/packets.ts';
import type { LiveSession } from '../sessions/live-sessions.ts';
import type { NodeClaim } from './node-calls.ts';
import type { QueueCopy } from './queue-copy.ts';

/** What its claim says of it. */
type NodeClientFacts = Omit<NodeClaim, 'rules' | 'number'>;

export class NodeClient implements ConnectedClient {
  readonly node: string;
  readonly about: NodeClientFacts;
  subject: Subject;
  rights: Rights;
  isEnded = false;
  isBehind = false;
  /** 0 until the claim is made. */
  claim = 0;
  isStored = false;
  record: SessionRecord | undefined;
  queue: QueueCopy | undefined;
  readonly subscriptions = new Map<
    string,
    { readonly filter: string; readonly qos: Qos; readonly isQueued: boolean }
  >();

  constructor(node: string, about: NodeClientFacts, rights: Rights) {
    this.node = node;
    this.about = about;
    this.subject = about.subject;
    this.rights = rights;
  }

  get clientId(): string {
    return this.about.clientId;
  }

  get owner(): string {
    return this.about.owner;
  }

  get filters(): Iterable<{ readonly filter: string; readonly qos: Qos }> {
    return this.subscriptions.values();
  }

  describe(): LiveSession {
    return { ...this.about.connection, identity: this.subject.identity, clientId: this.clientId };
  }
}

export class NodeClients implements ConnectedClients {
  readonly #byClientId = new Map<string, NodeClient>();
  readonly #byOwner = new Map<string, Set<NodeClient>>();
  /** The claim of a client id that is under way. */
  readonly #claiming = new Map<string, Promise<unknown>>();

  get size(): number {
    return this.#byClientId.size;
  }

  find(clientId: string): NodeClient | undefined {
    return this.#byClientId.get(clientId);
  }

  all(): Iterable<NodeClient> {
    return this.#byClientId.values();
  }

  ofIdentity(identity: Identity): readonly NodeClient[] {
    return [...(this.#byOwner.get(formatIdentity(identity)) ?? [])];
  }

  countElsewhere(identity: Identity, node: string): number {
    let count = 0;
    for (const client of this.#byOwner.get(formatIdentity(identity)) ?? []) if (client.node !== node) count += 1;
    return count;
  }

  add(client: NodeClient): void {
    this.#byClientId.set(client.clientId, client);
    const own = this.#byOwner.get(client.owner);
    if (own === undefined) this.#byOwner.set(client.owner, new Set([client]));
    else own.add(client);
  }

  remove(client: NodeClient): void {
    if (this.#byClientId.get(client.clientId) === client) this.#byClientId.delete(client.clientId);
    const own = this.#byOwner.get(client.owner);
    own?.delete(client);
    if (own?.size === 0) this.#byOwner.delete(client.owner);
  }

  /** Claims of one client id are made one after the other. */
  async inTurn<Value>(clientId: string, claim: () => Promise<Value>): Promise<Value> {
    const earlier = this.#claiming.get(clientId);
    const claiming = earlier === undefined ? claim() : earlier.then(claim, claim);
    this.#claiming.set(clientId, claiming);
    try {
      return await claiming;
    } finally {
      if (this.#claiming.get(clientId) === claiming) this.#claiming.delete(clientId);
    }
  }
}
