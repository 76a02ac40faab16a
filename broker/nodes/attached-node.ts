/**
 * One broker node, as the keeper of the sessions sees it: answers its calls, and applies what it posts about the sessions that it has
 * claimed. What it posts about a claim that it has lost has no effect. When the node ends, its sessions are released.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Identity, isShared, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { AnswerSoon } from '../../storage/index.ts';
import { waitAtMost } from '../deadline.ts';
import { type ClaimRefusal, NoRoomError } from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';
import { retainedBytes } from '../session-store/stored-message.ts';
import type { ChannelToNode, ClaimedState, EnqueueCall, EnqueueResult, KeeperCalls, NodeClaim } from './node-calls.ts';
import { NodeClient } from './node-client.ts';
import type { NodesState } from './nodes-state.ts';
import { PendingDeliveries, type PendingDelivery } from './pending-deliveries.ts';
import { QueueAnnouncements, QueueCopy } from './queue-copy.ts';
import { RetainedPages } from './retained-pages.ts';

const CONNECTION_ENDED = { reason: 'the connection has ended while its claim waited' };
const NODE_ENDED = { reason: 'the node of the connection has ended' };

type Input<Name extends keyof KeeperCalls> = KeeperCalls[Name]['input'];

export class AttachedNode {
  readonly name: string;
  readonly channel: ChannelToNode;
  counters: Readonly<Record<string, number>> = {};
  readonly #state: NodesState;
  readonly #log: Logger;
  readonly #claims = new Map<number, NodeClient>();
  /** Numbers of claims that wait for their turn. */
  readonly #waiting = new Set<number>();
  readonly #pending: PendingDeliveries;
  readonly #announcements: QueueAnnouncements;
  readonly #retained: RetainedPages;
  #hasEnded = false;

  constructor(name: string, channel: ChannelToNode, state: NodesState, log: Logger) {
    this.name = name;
    this.channel = channel;
    this.#state = state;
    this.#log = log;
    this.#pending = new PendingDeliveries({ deliver: (early) => void this.#deliverPending(early) });
    this.#announcements = new QueueAnnouncements(channel);
    this.#retained = new RetainedPages((filter, room) => state.keeper.sessions.retained(filter, room));
    this.#answerAboutIdentities();
    this.#answerAboutSessions();
    this.#answerAboutMessages();
    this.#hearAboutQueues();
    state.routes.addNode(name, (changes) => channel.call('routes', changes).catch(() => undefined));
  }

  get sessions(): number {
    return this.#claims.size;
  }

  sweep(): void {
    this.#pending.sweep();
  }

  /** The node is gone, with its connections. Resolves when its sessions are released. */
  async ended(): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { routes, reporter, now } = this.#state;
    routes.removeNode(this.name);
    const lost = [...this.#claims.values()];
    const at = now();
    const releasing = lost.map((client) => {
      const { notAfter: _, ...facts } = client.describe();
      const end = { at, lastReceivedAt: at, reason: 'connection_lost', sequence: client.claim } as const;
      reporter.event({ type: 'disconnected', ...facts, ...end });
      return this.#releaseLost(client).catch((error: unknown) => {
        this.#log.error(
          { err: error, clientId: client.clientId },
          'a session of a node that has ended was not released',
        );
      });
    });
    await Promise.all(releasing);
  }

  /** Ends a session of this node, because another node claims its client id. */
  async endSession(client: NodeClient): Promise<void> {
    const { clientId, claim } = client;
    const ended = this.channel.call('takeOver', { clientId, claim }).catch(() => undefined);
    await waitAtMost(this.#state.takeoverWithin, ended);
    // A node that does not answer has lost the claim all the same.
    if (this.#claims.get(claim) !== client) return;
    this.#log.warn({ clientId, node: this.name }, 'a session was not released by its node in time');
    await this.#releaseLost(client);
  }

  #answerAboutIdentities(): void {
    const { channel } = this;
    const { directory } = this.#state;
    channel.handle('recordFirstUse', (serial) => directory.recordFirstUse(serial));
    channel.handle('findPolicy', (scope) => directory.findPolicy(scope));
    channel.handle('event', (event) => void this.#state.reporter.event(event));
    channel.handle('tookOver', (takeover) => void this.#state.reporter.tookOver(takeover));
    channel.handle('counters', (counters) => {
      this.counters = counters;
      return undefined;
    });
  }

  #answerAboutSessions(): void {
    const { channel } = this;
    channel.handle('takeOver', (input) =>
      // A claim that is under way is completed first: its node does not know it by its number before.
      this.#state.clients.inTurn(input.takeover.clientId, () => this.#takeOver(input)),
    );
    channel.handle('claim', (claim) => {
      this.#waiting.add(claim.number);
      return this.#state.clients.inTurn(claim.clientId, () => this.#claim(claim));
    });
    channel.handle('giveUpClaim', (number) => void this.#waiting.delete(number));
    channel.handle('storeWill', async ({ claim, will, subject }) => {
      await this.#recordOf(claim).storeWill(will, subject);
      return undefined;
    });
    channel.handle('subjectChanged', async ({ claim, subject }) => {
      if (this.#claims.has(claim)) await this.#state.bus.subjectChanged(subject);
      return undefined;
    });
    channel.handle('subscribe', (input) => this.#subscribe(input));
    channel.handle('unsubscribe', (input) => this.#unsubscribe(input));
    channel.handle('durable', async ({ claim }) => {
      await this.#recordOf(claim).durable();
      return undefined;
    });
    channel.handle('release', async (input) => {
      await this.#release(input);
      return input.isAwaited === false ? new AnswerSoon(undefined) : undefined;
    });
    channel.handle('behind', ({ claim, isBehind }) => {
      const client = this.#claims.get(claim);
      if (client !== undefined) client.isBehind = isBehind;
      return undefined;
    });
  }

  #answerAboutMessages(): void {
    const { channel } = this;
    channel.handle('enqueue', (input) => this.#enqueue(input));
    channel.handle('retained', (input) => this.#retained.read(input));
    channel.handle('retainedEnded', (cursor) => this.#retained.end(cursor));
    channel.handle('deliver', (input) => this.#deliver(input));
    channel.handle('memberGone', ({ message, share, clientId }) => {
      this.#state.keeper.redelivery.memberGone(this.#numbered(message), share, { clientId });
      return undefined;
    });
  }

  #hearAboutQueues(): void {
    const { channel } = this;
    channel.handle('packetIdAssigned', async ({ claim, ref, packetId }) => {
      await this.#claims.get(claim)?.queue?.assignPacketId(ref, packetId);
      return undefined;
    });
    channel.handle('entryReleased', async ({ claim, ref }) => {
      await this.#claims.get(claim)?.queue?.release(ref);
      return undefined;
    });
    channel.handle('entryRemoved', ({ claim, ref }) => {
      this.#claims.get(claim)?.queue?.remove(ref);
      return undefined;
    });
    channel.handle('enqueueOwn', ({ claim, message, delivery }) => {
      this.#claims.get(claim)?.record?.enqueue(this.#numbered(message), delivery);
      return undefined;
    });
    channel.handle('incomingPut', ({ claim, packetId, key }) => {
      this.#claims.get(claim)?.record?.incoming.put(packetId, key);
      return undefined;
    });
    channel.handle('incomingRemoved', ({ claim, packetId }) => {
      this.#claims.get(claim)?.record?.incoming.remove(packetId);
      return undefined;
    });
  }

  async #takeOver({ takeover, isCounted }: Input<'takeOver'>): Promise<number | undefined> {
    const { clients } = this.#state;
    if (!(await this.#takeOverElsewhere(takeover, isCounted))) return undefined;
    return clients.countElsewhere(takeover.identity, this.name);
  }

  /** Ends the session of a client id on another node. False: the limit of takeovers is reached. */
  async #takeOverElsewhere(takeover: Input<'takeOver'>['takeover'], isCounted: boolean): Promise<boolean> {
    const { bus, clients, counters, reporter, takeovers, now } = this.#state;
    const known = clients.find(takeover.clientId);
    if (known === undefined) return true;
    if (isCounted && known.node !== this.name) {
      const { address, serial } = known.about.connection;
      reporter.tookOver({ ...takeover, from: address, fromSerial: serial });
      if (!takeovers.admits(takeover.clientId, now())) return false;
    }
    counters.takeovers += 1;
    await bus.node(known.node)?.endSession(known);
    await nextTurn(); // What that node posted before about the streams of the device comes over another port.
    return true;
  }

  async #claim({ rules, number, ...about }: NodeClaim): Promise<ClaimedState | ClaimRefusal> {
    if (!this.#waiting.delete(number)) throw new Problem('unavailable', CONNECTION_ENDED);
    const { clients, policies, keeper, routes, deliveredKeys, streamsOf } = this.#state;
    const { clientId, connection, subject } = about;
    const { identity } = subject;
    const takeover = { identity, clientId, to: connection.address, toSerial: connection.serial };
    if (!(await this.#takeOverElsewhere(takeover, rules.countsTakeover))) return { refusal: 'takeover_limited' };
    const rights = await policies.currentRightsOf(subject);
    if (this.#hasEnded) throw new Problem('unavailable', NODE_ENDED);
    if (rules.isLimited && !this.#mayHaveAnother(identity)) return { refusal: 'too_many_sessions' };
    const client = new NodeClient(this.name, about, rights);
    // Before the claim: it joins shared subscriptions as a connected client.
    clients.add(client);
    try {
      const { record, sequence, ...claimed } = await keeper.sessions.claim({ ...about, rights });
      client.record = record;
      client.claim = sequence;
      client.isStored = claimed.isStored;
      this.#claims.set(sequence, client);
      for (const { filter, qos } of claimed.subscriptions) this.#addRoute(client, filter, qos);
      if (this.#hasEnded) await this.#releaseLost(client);
      else if (claimed.subscriptions.length > 0) await routes.confirmed();
      if (this.#claims.get(sequence) !== client) throw new Problem('unavailable', NODE_ENDED);
      const recentKeys = deliveredKeys.of(clientId);
      const streams = identity.kind === 'device' ? streamsOf(identity.id) : [];
      const state = { ...claimed, sequence, claim: sequence, recentKeys, streams };
      if (!claimed.isStored) return { ...state, queue: [], incoming: [] };
      const queue = keeper.store.queueOf(clientId, claimed);
      client.queue = new QueueCopy(sequence, queue, this.channel, this.#announcements);
      const incoming = keeper.store.incomingOf(clientId);
      this.#announcements.flush();
      return { ...state, queue: client.queue.begin(), incoming };
    } catch (error) {
      clients.remove(client);
      throw error;
    }
  }

  #mayHaveAnother(identity: Identity): boolean {
    const { clients, limits } = this.#state;
    return limits.sessionsPerIdentity === 0 || clients.ofIdentity(identity).length < limits.sessionsPerIdentity;
  }

  async #subscribe({ claim, granted }: Input<'subscribe'>): Promise<undefined> {
    const client = this.#clientOf(claim);
    const stored = client.record?.subscribe(granted);
    for (const { filter, qos } of granted) {
      this.#removeRoute(client, filter);
      this.#addRoute(client, filter, qos);
    }
    await Promise.all([stored, this.#state.routes.confirmed()]);
    return undefined;
  }

  async #unsubscribe({ claim, filters }: Input<'unsubscribe'>): Promise<undefined> {
    const client = this.#clientOf(claim);
    for (const filter of filters) this.#removeRoute(client, filter);
    await client.record?.unsubscribe(filters);
    return undefined;
  }

  async #release({ claim, undelivered, ...end }: Input<'release'>): Promise<void> {
    const client = this.#claims.get(claim);
    if (client === undefined) return;
    this.#forget(client);
    const { clientId } = client;
    for (const key of end.recentKeys ?? []) this.#state.deliveredKeys.add(key);
    for (const { message, share } of undelivered) {
      this.#state.keeper.redelivery.memberGone(this.#numbered(message), share, { clientId });
    }
    await client.record?.release(end);
  }

  /** The connection of a session is lost with its node, or may not be used any more. */
  async #releaseLost(client: NodeClient): Promise<void> {
    this.#forget(client);
    const { sessionExpiryInterval } = client.about;
    await client.record?.release({ sessionExpiryInterval, publishesWill: true });
  }

  #forget(client: NodeClient): void {
    client.isEnded = true;
    client.queue?.end();
    this.#claims.delete(client.claim);
    for (const { filter } of [...client.filters]) this.#removeRoute(client, filter);
    this.#state.clients.remove(client);
  }

  async #enqueue({ message, owner, isInJournal, received }: EnqueueCall): Promise<EnqueueResult> {
    const { sessions } = this.#state.keeper;
    const record = received === undefined ? undefined : this.#recordOf(received.claim);
    if (message.retain && !sessions.mayRetain(message.topic, retainedBytes(message), owner)) return 'retain refused';
    const own = this.#numbered(message);
    const shares = sessions.choose(own);
    const mark = record && received && { record, packetId: received.packetId };
    try {
      await sessions.enqueue(own, { owner, shares, isInJournal, received: mark });
    } catch (error) {
      if (error instanceof NoRoomError) return 'no room';
      throw error;
    }
    this.#pending.put(message.number, { message: own, shares });
    return 'stored';
  }

  #deliver(input: Input<'deliver'>): Promise<undefined> {
    if ('enqueued' in input) {
      const pending = this.#pending.take(input.enqueued);
      return pending === undefined ? Promise.resolve(undefined) : this.#deliverPending(pending);
    }
    const message = this.#numbered(input.message);
    return this.#deliverPending({ message, shares: this.#state.keeper.sessions.choose(message) });
  }

  #deliverPending({ message, shares }: PendingDelivery): Promise<undefined> {
    return this.#state.bus.deliverFrom(this.name, message, shares);
  }

  /** Members of shared subscriptions are chosen one by one, and need no route. */
  #addRoute(client: NodeClient, filter: string, qos: 0 | 1 | 2): void {
    const isQueued = client.isStored && qos > 0;
    client.subscriptions.set(filter, { filter, qos, isQueued });
    if (!isShared(filter)) this.#state.routes.add(this.name, filter, { isQueued });
  }

  #removeRoute(client: NodeClient, filter: string): void {
    const known = client.subscriptions.get(filter);
    if (known === undefined) return;
    client.subscriptions.delete(filter);
    if (!isShared(filter)) this.#state.routes.remove(this.name, filter, known);
  }

  /** Numbers of messages are those of the node that they are on. */
  #numbered(message: Message): Message {
    return { ...message, number: this.#state.nextNumber() };
  }

  #clientOf(claim: number): NodeClient {
    const client = this.#claims.get(claim);
    if (client === undefined)
      throw new Problem('unavailable', { reason: 'another connection has claimed the session' });
    return client;
  }

  #recordOf(claim: number) {
    const { record } = this.#clientOf(claim);
    if (record === undefined) throw new Problem('unavailable', { reason: 'the session is not claimed yet' });
    return record;
  }
}
