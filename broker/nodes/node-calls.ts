/**
 * What broker nodes and the keeper of their sessions say to each other. Each side has its messages in the order of posting, which the
 * state of a session relies on: what a node posts about a claim is applied in order, and nothing of it after the release.
 */

import type { Identity, PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import type { Channel } from '../../storage/index.ts';
import type { Subject } from '../access/acl.ts';
import type { Takeover } from '../access/clone-detector.ts';
import type { PolicyPreview } from '../access/policy-preview.ts';
import type { LiveLimits } from '../broker-limits.ts';
import type { BrokerEvent } from '../events.ts';
import type {
  ClaimedSession,
  ClaimRefusal,
  ClaimRules,
  OwnDelivery,
  ReleasedSession,
  SessionClaim,
} from '../keeper/sessions.ts';
import type { ShareMember } from '../keeper/shared-subscriptions.ts';
import type { BrokerTls } from '../listener/tls-listener.ts';
import type { Message } from '../mqtt/message.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { SessionChange } from '../routing/bus.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { LiveSession } from '../sessions/live-sessions.ts';
import type { DrainOptions } from '../sessions/session-shutdown.ts';
import type { RetainedPiece, RetainedRequest } from './retained-pages.ts';

export interface NodeClaim extends Omit<SessionClaim, 'rights' | 'claimant'> {
  /** Names the claim while it waits: different for each of a node. */
  readonly number: number;
  readonly connection: Pick<LiveSession, 'address' | 'serial' | 'connectedAt' | 'notAfter'>;
  readonly rules: ClaimRules;
}

/** One message in the queue of a claimed session. `ref` names it to the keeper. */
export interface QueuedEntry extends OwnDelivery {
  readonly ref: number;
  readonly packetId: number | undefined;
  readonly isReleased: boolean;
}

/** A message with the sessions of one node whose queues got it. */
export interface QueuedGroup {
  readonly message: Message;
  readonly entries: readonly (QueuedEntry & { readonly claim: number })[];
}

export interface ClaimedState extends Omit<ClaimedSession, 'record'> {
  /** Names the claim; its connection has the same number as its sequence. */
  readonly claim: number;
  readonly queue: readonly (QueuedEntry & { readonly message: Message })[];
  readonly incoming: readonly { readonly packetId: number; readonly key: string | undefined }[];
  /** Keys of the client's last messages that were delivered. */
  readonly recentKeys: readonly string[];
}

export interface EnqueueCall {
  readonly message: Message;
  readonly owner: string;
  readonly isInJournal: boolean;
  readonly received: { readonly claim: number; readonly packetId: number } | undefined;
}

/** `no room` and `retain refused`: as the errors of `Sessions.enqueue`. */
export type EnqueueResult = 'stored' | 'no room' | 'retain refused';

/** A change of the queue of a claimed session, by the node that sends it. */
export interface QueueChange {
  readonly claim: number;
  readonly ref: number;
}

export interface UndeliveredShare {
  readonly message: Message;
  readonly share: string;
}

/** `queued`: messages are stored for its subscribers before they are acknowledged. `live`: it has connected subscribers. */
export interface RouteChange {
  readonly filter: string;
  readonly kind: 'queued' | 'live';
  /** Of one filter and kind, each source counts once. */
  readonly source: string;
  readonly isThere: boolean;
}

interface Call<Input, Output = undefined> {
  readonly input: Input;
  readonly output: Output;
}

/** What the keeper answers. */
export interface KeeperCalls {
  recordFirstUse: Call<string, boolean>;
  findPolicy: Call<PolicyScope, PolicyDocument | undefined>;
  /**
   * Ends the session of a client id on another node. Answered with the sessions that the identity still has on other nodes; undefined: the
   * limit of takeovers is reached.
   */
  takeOver: Call<
    { readonly takeover: Omit<Takeover, 'from' | 'fromSerial'>; readonly isCounted: boolean },
    number | undefined
  >;
  /** Ends the session of a client id on another node, and claims it. */
  claim: Call<NodeClaim, ClaimedState | ClaimRefusal>;
  /** The connection of the claim of this number has ended: a claim that still waits for its turn is rejected then. */
  giveUpClaim: Call<number>;
  storeWill: Call<{ readonly claim: number; readonly will: WillMessage; readonly subject: Subject }>;
  /** Answered when all nodes know the routes. */
  subscribe: Call<{ readonly claim: number; readonly granted: readonly StoredSubscription[] }>;
  unsubscribe: Call<{ readonly claim: number; readonly filters: readonly string[] }>;
  /** Answered when everything that this node posted before is on disk. */
  durable: Call<{ readonly claim: number }>;
  release: Call<ReleasedSession & { readonly claim: number; readonly undelivered: readonly UndeliveredShare[] }>;
  enqueue: Call<EnqueueCall, EnqueueResult>;
  /** A piece of the retained messages: the first, or the one after. */
  retained: Call<RetainedRequest, RetainedPiece>;
  /** No further piece of this cursor is asked for. */
  retainedEnded: Call<number>;
  /** Delivers a message to other nodes, and answers when they have it. One that was enqueued is named by its number. */
  deliver: Call<{ readonly message: Message } | { readonly enqueued: number }>;
  // One-way messages about a claim.
  packetIdAssigned: Call<QueueChange & { readonly packetId: number }>;
  entryReleased: Call<QueueChange>;
  entryRemoved: Call<QueueChange>;
  enqueueOwn: Call<{ readonly claim: number; readonly message: Message; readonly delivery: OwnDelivery }>;
  incomingPut: Call<{ readonly claim: number; readonly packetId: number; readonly key: string | undefined }>;
  incomingRemoved: Call<{ readonly claim: number; readonly packetId: number }>;
  /** A member of a shared subscription does not read or acknowledge as fast as messages come, or does again. */
  behind: Call<{ readonly claim: number; readonly isBehind: boolean }>;
  memberGone: Call<UndeliveredShare & { readonly clientId: string }>;
  /** The subject has changed while the claim was under way. */
  subjectChanged: Call<{ readonly claim: number; readonly subject: Subject }>;
  // One-way messages about the node.
  event: Call<BrokerEvent>;
  tookOver: Call<Takeover>;
  counters: Call<Readonly<Record<string, number>>>;
}

/** What a node answers. */
export interface NodeCalls {
  /** Ends the session of this claim. Answered after its release. */
  takeOver: Call<{ readonly clientId: string; readonly claim: number }>;
  apply: Call<SessionChange, TerminationReport>;
  policyChanged: Call<PolicyScope>;
  routes: Call<readonly RouteChange[]>;
  /** Answered when the connected subscribers of this node have it. */
  deliver: Call<Message>;
  deliverShared: Call<{
    readonly message: Message;
    readonly share: string;
    readonly member: Pick<ShareMember, 'clientId' | 'qos' | 'retainAsPublished' | 'subscriptionIdentifier'>;
    /** The message is in the queue of the member, and not lost when it is gone. */
    readonly isQueued: boolean;
  }>;
  queued: Call<QueuedGroup>;
  unqueued: Call<QueueChange>;
  previewPolicy: Call<{ readonly scope: PolicyScope; readonly document: PolicyDocument }, PolicyPreview>;
  replaceTls: Call<{ readonly tls: BrokerTls; readonly issuers: string | undefined }>;
  applyLimits: Call<LiveLimits>;
  drain: Call<DrainOptions>;
  close: Call<undefined>;
}

/** The node's end. */
export type ChannelToKeeper = Channel<KeeperCalls, NodeCalls>;
/** The keeper's end. */
export type ChannelToNode = Channel<NodeCalls, KeeperCalls>;

export type { Identity, Subject };
