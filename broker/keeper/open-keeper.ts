/** Opens the state of sessions in this thread, over the session store, and connects its parts. */

import { parseIdentity } from '@rollcall/protocol';
import type { PolicyResolver } from '../access/policy-resolver.ts';
import type { BrokerContext } from '../broker-context.ts';
import type { ShareExceeded } from '../events.ts';
import type { Bus } from '../routing/bus.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { TelemetryIntake } from '../routing/telemetry-intake.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { SessionReporter } from '../sessions/session-reporter.ts';
import type { ConnectedClients } from './connected-clients.ts';
import { EmbeddedSessions } from './embedded-sessions.ts';
import { MessagePersistence } from './message-persistence.ts';
import { PersistentSessions } from './persistent-sessions.ts';
import { ServerMessages } from './server-messages.ts';
import type { KeeperSessions } from './sessions.ts';
import { ShareDirectory } from './share-directory.ts';
import { type SendElsewhere, SharedRedelivery } from './shared-redelivery.ts';
import { StoredStateChanges } from './stored-state-changes.ts';
import { WillPublisher } from './will-publisher.ts';
import { Wills } from './wills.ts';

/** What is loaded before messages can be routed. */
export interface StoredSessions {
  readonly store: SessionStore;
  readonly persistentSessions: PersistentSessions;
  readonly shares: ShareDirectory;
}

export interface Keeper extends StoredSessions {
  readonly sessions: KeeperSessions;
  readonly persistence: MessagePersistence;
  readonly redelivery: SharedRedelivery;
  readonly wills: Wills;
  readonly serverMessages: ServerMessages;
  readonly changes: StoredStateChanges;
  /** Removes what has expired; a limited amount per call. */
  sweep(now: number): void;
  /** Identities with stored state. */
  owners(): Iterable<string>;
  /** Publishes no will any more. */
  stop(): void;
}

export interface KeeperOptions {
  readonly policies: PolicyResolver;
  readonly reporter: Pick<SessionReporter, 'shareExceeded'>;
  readonly telemetry: TelemetryIntake;
  readonly deliveredKeys: DeliveredKeys;
  readonly routing: { hasSubscriber(topic: string): boolean; nextNumber(): number };
  readonly bus: Bus;
  /** Numbers for connections, each greater than the one before. */
  readonly nextSequence: () => number;
  /** Adds what several nodes over one database need. */
  readonly wrap?: (embedded: EmbeddedSessions) => KeeperSessions;
  /** Members of shared subscriptions on other nodes. */
  readonly elsewhere?: SendElsewhere;
}

/** How long after a start clients may reconnect before the wills of an earlier run are published, in ms. */
const WILL_GRACE_MS = 10_000;

/** Resolves when the sessions of an earlier run are loaded. */
export async function loadStoredSessions(
  { limits, now }: BrokerContext,
  store: SessionStore,
  policies: PolicyResolver,
  connected: ConnectedClients,
): Promise<StoredSessions> {
  const persistentSessions = new PersistentSessions({ store, longestExpiry: limits.sessionExpiry, now });
  await persistentSessions.load((subject) => policies.rightsOf(subject));
  const { queuedMessages } = limits;
  const shares = new ShareDirectory({ store, persistentSessions, connected, queuedMessages });
  shares.addStored();
  return { store, persistentSessions, shares };
}

export function openKeeper(context: BrokerContext, stored: StoredSessions, options: KeeperOptions): Keeper {
  const { limits, log, now } = context;
  const { store, persistentSessions, shares } = stored;
  const { policies, reporter, routing, bus, nextSequence } = options;
  const reportShare = (owner: string, share: ShareExceeded) => {
    const identity = parseIdentity(owner);
    if (identity !== undefined) reporter.shareExceeded(identity, share);
  };
  const stopRefusals = store.onRefused(({ kind, owner, bytes, heldBytes }) =>
    reportShare(owner, { kept: kind, bound: 'shared', bytes, heldBytes }),
  );
  const persistence = new MessagePersistence({
    store,
    sessions: persistentSessions,
    limits,
    limitExceeded: (owner, bytes) => reportShare(owner, { kept: 'retained', bound: 'own', bytes }),
  });
  const redelivery = new SharedRedelivery({ store, shares, persistence, bus, elsewhere: options.elsewhere });
  const wills: Wills = new Wills({
    store,
    now,
    log,
    gracePeriod: WILL_GRACE_MS,
    sessionExpiryOf: (clientId) => persistentSessions.expiryOf(clientId),
    publish: (will) => publisher.publish(will),
  });
  const nextNumber = () => routing.nextNumber();
  const parts = { store, persistentSessions, persistence, shares, redelivery, wills, nextNumber, nextSequence };
  const embedded = new EmbeddedSessions(parts);
  const sessions = options.wrap?.(embedded) ?? embedded;
  const publisher = new WillPublisher({
    ...context,
    ...options,
    router: routing,
    sessions,
    shareExceeded: (identity, share) => reporter.shareExceeded(identity, share),
  });
  persistentSessions.onEnding = (clientId) => {
    shares.removeClient(clientId);
    redelivery.left(clientId);
  };
  persistentSessions.onEnded = (clientId) => wills.sessionEnded(clientId);
  const retained = (topic: string) => [...store.retainedMatching(topic)][0]?.payload;
  return {
    ...stored,
    sessions,
    persistence,
    redelivery,
    wills,
    serverMessages: new ServerMessages({ router: routing, sessions, bus, retained, log }),
    changes: new StoredStateChanges({ store, persistentSessions, persistence, wills, policies }),
    sweep(time) {
      persistentSessions.sweep();
      persistence.sweep(time);
    },
    owners: () => new Set([...persistentSessions.owners(), ...persistence.owners(), ...wills.owners()]),
    stop() {
      stopRefusals();
      wills.stop();
    },
  };
}
