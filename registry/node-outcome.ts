/** What each node that may have had sessions did about a committed change. */

/** Times are milliseconds since the epoch, by the database's clock where several nodes share one. */
export interface NodeOutcome {
  /** Of the node; of a thread where a server has several. */
  readonly name: string;
  /**
   * `confirmed`: it has done what follows from the change. `late`: it is there, and has not confirmed yet. `deaf`: no heartbeat of it was
   * confirmed since `deafSince`, so it delivers nothing, and it reads the change before it goes on. `closed`: it has no connections any more.
   */
  readonly state: 'confirmed' | 'late' | 'deaf' | 'closed';
  /** Of a node that has confirmed. */
  readonly confirmedAt?: number;
  /** Of a node that is deaf. */
  readonly deafSince?: number;
  /** Its sockets are closed by then; of a node that is deaf or closed. */
  readonly closedBy?: number;
}

/** The state that is furthest from a confirmation is the last. */
const ORDER = ['confirmed', 'closed', 'late', 'deaf'] as const satisfies readonly NodeOutcome['state'][];

/** What each node did about several changes: the state that is furthest from a confirmation, and the last time. In the order of their names. */
export function mergeOutcomes(changes: readonly (readonly NodeOutcome[])[]): readonly NodeOutcome[] {
  const byName = new Map<string, NodeOutcome>();
  for (const outcomes of changes) {
    for (const outcome of outcomes) {
      const known = byName.get(outcome.name);
      if (known === undefined || isFurther(outcome, known)) byName.set(outcome.name, outcome);
    }
  }
  return [...byName.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
}

export function countConfirmed(outcomes: readonly NodeOutcome[]): number {
  return outcomes.filter(({ state }) => state === 'confirmed').length;
}

function isFurther(one: NodeOutcome, other: NodeOutcome): boolean {
  if (one.state !== other.state) return ORDER.indexOf(one.state) > ORDER.indexOf(other.state);
  return timeOf(one) > timeOf(other);
}

function timeOf({ confirmedAt, closedBy }: NodeOutcome): number {
  return confirmedAt ?? closedBy ?? 0;
}
