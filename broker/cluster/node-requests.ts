/**
 * Asks other nodes what only they know, and answers them. Requests and responses are messages between nodes, in one commit with what else a
 * node has to say. A node that is slow, deaf or of an older release is left out after a second: nobody waits for it. The caller bounds the
 * size of a response, and has checked that its operator may ask.
 */

import { type Identity, type PolicyDocument, type PolicyScope, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { TerminationReport } from '../../registry/index.ts';
import type { PolicyPreview } from '../access/policy-preview.ts';
import type { DisconnectReason } from '../events.ts';
import type { NodeSessions, SessionQuery } from '../sessions/session-page.ts';
import type { NodeMessage } from './node-message.ts';
import type { Outbox } from './outbox.ts';
import type { ClusterCommits } from './session-changes.ts';

interface Call<Input, Output> {
  readonly input: Input;
  readonly output: Output;
}

/** All of it is plain JSON. */
export interface NodeRequestCalls {
  readonly sessions: Call<SessionQuery, NodeSessions>;
  readonly previewPolicy: Call<{ readonly scope: PolicyScope; readonly document: PolicyDocument }, PolicyPreview>;
  /** Between the certificate authorities of two nodes, which check all of it. */
  readonly caKey: Call<unknown, unknown>;
  readonly disconnect: Call<{ readonly identity: Identity; readonly reason: DisconnectReason }, TerminationReport>;
  /** What the server of a node knows beside its sessions (`NodeReports`). */
  readonly report: Call<unknown, unknown>;
}

export type NodeAnswers = {
  readonly [Name in keyof NodeRequestCalls]: (
    input: NodeRequestCalls[Name]['input'],
  ) => NodeRequestCalls[Name]['output'] | Promise<NodeRequestCalls[Name]['output']>;
};

export interface NodeRequestsOptions {
  readonly outbox: Pick<Outbox, 'send'>;
  readonly commits: Pick<ClusterCommits, 'durable'>;
  /** Names of nodes whose release knows requests; all of them when it is left out. */
  readonly answering?: (() => Promise<ReadonlySet<string>>) | undefined;
  readonly log: Logger;
}

interface Pending {
  readonly waiting: Set<string>;
  readonly outputs: Map<string, unknown>;
  readonly done: () => void;
}

/** How long nodes may take, in ms. */
const WITHIN_MS = 1_000;
/** Requests that operators wait for, at most. */
const MOST_PENDING = 64;
const RETRY_AFTER_S = 1;

export class NodeRequests {
  readonly #options: NodeRequestsOptions;
  readonly #pending = new Map<number, Pending>();
  #answers: NodeAnswers | undefined;

  constructor(options: NodeRequestsOptions) {
    this.#options = options;
  }

  /** Before that, other nodes are told that this one cannot answer. */
  answerWith(answers: NodeAnswers): void {
    this.#answers = answers;
  }

  /** The outputs of the nodes that answered in time, by their names. Throws Problem `rate_limited`. */
  async ask<Name extends keyof NodeRequestCalls>(
    to: readonly string[],
    call: Name,
    input: NodeRequestCalls[Name]['input'],
    within: number = WITHIN_MS,
  ): Promise<ReadonlyMap<string, NodeRequestCalls[Name]['output']>> {
    const { outbox, commits, answering } = this.#options;
    const outputs = new Map<string, NodeRequestCalls[Name]['output']>();
    const known = to.length === 0 ? undefined : await answering?.();
    // A node would end with a message of a kind that its release does not know.
    const asked = to.filter((node) => known?.has(node) ?? true);
    if (asked.length === 0) return outputs;
    if (this.#pending.size >= MOST_PENDING) {
      throw new Problem('rate_limited', {
        retryAfter: RETRY_AFTER_S,
        reason: `${MOST_PENDING} requests to other nodes`,
      });
    }
    const { promise, resolve: done } = Promise.withResolvers<void>();
    const number = outbox.send(asked, { kind: 'request', call, input });
    this.#pending.set(number, { waiting: new Set(asked), outputs, done });
    commits.durable().catch(done); // It is not sent in time.
    const timer = setTimeout(done, within);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(number);
    }
    return outputs;
  }

  /** A request of another node. */
  async requested(
    from: string,
    number: number,
    { call, input }: Extract<NodeMessage, { kind: 'request' }>,
  ): Promise<void> {
    const { outbox, commits, log } = this.#options;
    const answers = this.#answers as Readonly<Record<string, (input: unknown) => unknown>> | undefined;
    let output: unknown;
    try {
      if (answers !== undefined && Object.hasOwn(answers, call)) output = await answers[call]?.(input);
    } catch (error) {
      log.warn({ err: error, call, node: from }, 'a request of another node failed');
    }
    outbox.send([from], { kind: 'response', request: number, output });
    commits.durable().catch(() => {}); // The other node has given up by then.
  }

  /** A response of another node. One that comes too late has no effect. */
  responded(from: string, { request, output }: Extract<NodeMessage, { kind: 'response' }>): void {
    const pending = this.#pending.get(request);
    if (pending?.waiting.delete(from) !== true) return;
    if (output !== undefined) pending.outputs.set(from, output);
    if (pending.waiting.size === 0) pending.done();
  }
}
