/**
 * Opens one broker node: what listens, decides, and holds the connected sessions. The state of the sessions belongs to the keeper, in this
 * thread or another. Closes its parts in the reverse order.
 */

import { X509Certificate } from 'node:crypto';
import type { PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { TerminationReport } from '../registry/index.ts';
import type { ConnectionAuthorizerOptions } from './access/connection-authorizer.ts';
import { applyPolicyChanges } from './access/policy-changes.ts';
import { type PolicyPreview, previewPolicy } from './access/policy-preview.ts';
import { SessionReauthorizer } from './access/session-reauthorizer.ts';
import type { BrokerDirectory, BrokerOptions } from './broker.ts';
import type { BrokerContext } from './broker-context.ts';
import { LIVE_LIMITS, type LiveLimits, topicLimits } from './broker-limits.ts';
import { type ConnectionAdmissionOptions, openConnectionAdmission } from './listener/connection-admission.ts';
import type { BrokerTls } from './listener/tls-listener.ts';
import { openMessagePipeline, type PipelineParts } from './message-pipeline.ts';
import type { SessionChange } from './routing/bus.ts';
import { Deafness } from './sessions/deafness.ts';
import { NodeDrain } from './sessions/node-drain.ts';
import { type DrainOptions, drainSessions, endAllSessions } from './sessions/session-shutdown.ts';
import { SessionStarter } from './sessions/session-starter.ts';
import type { SessionState } from './sessions/session-state.ts';
import { startSessionSweep } from './sessions/session-sweep.ts';
import { SessionTermination } from './sessions/session-termination.ts';

export interface NodeOptions
  extends Pick<
      BrokerOptions,
      'host' | 'port' | 'proxies' | 'webSocket' | 'tls' | 'issuers' | 'trustDomain' | 'serverReference'
    >,
    Pick<ConnectionAdmissionOptions, 'isJoining' | 'connections' | 'listens'>,
    Pick<ConnectionAuthorizerOptions, 'elsewhere'> {
  readonly directory: BrokerDirectory;
  /** Called with each sweep of the sessions. */
  readonly sweep: (now: number) => void;
  /** Applies a changed policy to what is stored, after the sessions of this node. */
  readonly applyPolicyToStored: (scope: PolicyScope) => Promise<void>;
  /** Connections are accepted no longer. Called once. */
  readonly stopping: () => void;
}

export interface OpenNode {
  readonly port: number;
  readonly webSocketPort: number | undefined;
  apply(change: SessionChange): Promise<TerminationReport>;
  replaceTls(tls: BrokerTls, issuers: string | Buffer | undefined): void;
  applyLimits(limits: LiveLimits): void;
  previewPolicy(scope: PolicyScope, document: PolicyDocument): Promise<PolicyPreview>;
  counters(): Record<string, number>;
  setDeaf(isDeaf: boolean): void;
  closeSessions(): void;
  drainNode(options: Omit<DrainOptions, 'isNodeOnly'>): Promise<void>;
  undrain(): void;
  drain(options: DrainOptions): Promise<void>;
  close(): Promise<void>;
}

/** Closes the router of `parts` when it fails, and with the node. Throws Problem `address_in_use`. */
export async function openNode(
  context: BrokerContext,
  state: SessionState,
  parts: PipelineParts,
  options: NodeOptions,
): Promise<OpenNode> {
  const { directory, serverReference } = options;
  const { policies, sessions, reporter } = state;
  const { log } = context;
  const pipeline = openMessagePipeline(context, state, parts);
  const deafness = new Deafness({ sessions, log });
  const nodeDrain = new NodeDrain(state);
  const starter = new SessionStarter({ context, state, pipeline, deafness });
  const admission = await openConnectionAdmission(context, state, {
    ...options,
    issuers: readIssuers(options.issuers),
    refusesAll: () => (deafness.isDeaf ? 'registry_failed' : nodeDrain.isDrained ? 'server_shutdown' : undefined),
    authorized: (connection) => starter.start(connection),
  }).catch(async (error: unknown) => {
    pipeline.stop();
    await parts.router.close(); // Its timers would keep the process alive.
    throw error;
  });
  const { authorizer, listener, limiter, proxied } = admission;
  const { unsubscribe } = pipeline.handlers;
  const withdrawn: ConstructorParameters<typeof SessionReauthorizer>[0]['withdrawn'] = (session, filter) =>
    reporter.subscriptionWithdrawn(session, filter);
  const reauthorizer = new SessionReauthorizer({ policies, unsubscribe, log, withdrawn });
  const termination = new SessionTermination({ sessions, authorizer, reauthorizer });
  const applyToStored = options.applyPolicyToStored;
  const stopPolicyChanges = applyPolicyChanges({ ...state, directory, applyToStored, reauthorizer, log });
  const stopSweep = startSessionSweep(context, state, pipeline, options.sweep);
  let stopped: Promise<void> | undefined;
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;

  const stopAccepting = (): Promise<void> => {
    if (stopped !== undefined) return stopped;
    options.stopping();
    stopped = listener.close();
    authorizer.close();
    return stopped;
  };
  const drain = async (drainOptions: DrainOptions): Promise<void> => {
    void stopAccepting();
    await drainSessions(state, serverReference, drainOptions);
  };
  const close = async (): Promise<void> => {
    stopPolicyChanges();
    pipeline.stop();
    stopSweep();
    const accepted = stopAccepting();
    await endAllSessions(state, serverReference);
    proxied.close();
    limiter.close();
    await parts.router.close();
    await accepted;
  };
  return {
    port: listener.port,
    webSocketPort: listener.webSocketPort,
    apply: (change) => termination.apply(change),
    replaceTls(replacement, issuers) {
      listener.replaceTls(replacement);
      if (issuers !== undefined) authorizer.setIssuers(readIssuers(issuers));
    },
    applyLimits(limits) {
      Object.assign(context.limits, Object.fromEntries(LIVE_LIMITS.map((name) => [name, limits[name]])));
      limiter.limitsChanged();
    },
    previewPolicy: (scope, document) =>
      previewPolicy(scope, document, { policies, sessions, limits: topicLimits(context.limits) }),
    counters: () => ({
      ...context.counters.snapshot(),
      sessions: sessions.size,
      ...limiter.counters(),
      event_loop_busy_seconds_total: performance.eventLoopUtilization().active / 1_000,
      sessions_not_read: pipeline.backpressure.pausedSessions,
      sessions_over_share: pipeline.storageShareLimiter.heldSessions,
    }),
    setDeaf: (isDeaf) => deafness.set(isDeaf),
    closeSessions: () => deafness.closeAll(),
    drainNode: (drainOptions) => nodeDrain.drain(drainOptions),
    undrain: () => nodeDrain.undrain(),
    drain(drainOptions) {
      draining ??= closing === undefined ? drain(drainOptions) : Promise.resolve();
      return draining;
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function readIssuers(pem: string | Buffer): readonly X509Certificate[] {
  const blocks = pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new RangeError('expected at least one issuing CA in PEM, found none');
  return blocks.map((block) => new X509Certificate(block));
}
