/** Makes a session of each authorized connection, gives it to aedes, and removes it when aedes has released it. */

import type { AuthorizedConnection } from '../access/connection-authorizer.ts';
import type { BrokerContext } from '../broker-context.ts';
import { TelemetryFastPath } from '../mqtt/telemetry-fast-path.ts';
import type { MessageRouting } from '../routing/message-routing.ts';
import { Session, type SessionListener } from './session.ts';
import type { SessionState } from './session-state.ts';

export class SessionStarter {
  readonly #context: BrokerContext;
  readonly #state: SessionState;
  readonly #routing: MessageRouting;
  readonly #nextSequence: () => number;
  readonly #listener: SessionListener;

  /** `nextSequence`: numbers for connections, each greater than the one before. */
  constructor(context: BrokerContext, state: SessionState, routing: MessageRouting, nextSequence: () => number) {
    this.#context = context;
    this.#state = state;
    this.#routing = routing;
    this.#nextSequence = nextSequence;
    this.#listener = this.#createListener();
  }

  start({ connection, subject, rights, connect, address, serial, notAfter }: AuthorizedConnection): void {
    const { limits, now } = this.#context;
    const { sessions, persistence, reporter } = this.#state;
    const { engine, fastPath, pendingWills, storageShareLimiter } = this.#routing;
    const { clientId, clean } = connect;
    const sequence = this.#nextSequence();
    const facts = { subject, sequence, clientId, address, serial, connectedAt: now(), notAfter };
    const session = new Session(facts, connection, rights, limits, now, this.#listener);
    void pendingWills.publish(clientId);
    sessions.add(session);
    persistence.persistentSessions.clientConnected(clientId, session.owner, subject, rights, clean);
    reporter.connected(session);
    connection.setOwner(session);
    const attach = () => {
      session.aedesClient = engine.attach(connection);
      return engine.inputOf(session.aedesClient);
    };
    connection.startEngine(attach, new TelemetryFastPath(session, fastPath));
    storageShareLimiter.update(session);
  }

  #createListener(): SessionListener {
    const { counters, now } = this.#context;
    const { sessions, persistence, reporter } = this.#state;
    const { backpressure, storageShareLimiter } = this.#routing;
    return {
      ending: (session, reason) => reporter.ended(session, reason),
      finished(session) {
        sessions.remove(session);
        backpressure.sessionEnded(session);
        storageShareLimiter.sessionEnded(session);
        persistence.persistentSessions.clientDisconnected(session.facts.clientId, now());
      },
      protocolViolated: (session, violation) => reporter.protocolViolated(session, violation),
      failed: (session, error) => reporter.failed(session, error),
      messageStored() {
        counters.messagesAccepted += 1;
      },
      storageFailed: (session, error) => reporter.storageFailed(session, error),
    };
  }
}
