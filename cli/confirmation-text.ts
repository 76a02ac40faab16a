/** What nodes did about a change, as sentences for operators. */

/** As the API has it. */
export interface NodeOutcomeView {
  readonly name: string;
  readonly state: 'confirmed' | 'late' | 'deaf' | 'closed';
  readonly deafSince?: string | undefined;
  readonly closedBy?: string | undefined;
}

/** `2 of 3 brokers`. `confirmed`: for an answer that names none. */
export function confirmedText(nodes: readonly NodeOutcomeView[], confirmed: number): string {
  const all = Math.max(nodes.length, confirmed);
  const count = confirmed === all ? String(confirmed) : `${confirmed} of ${all}`;
  return `${count} ${all === 1 ? 'broker' : 'brokers'}`;
}

/** A sentence for each node that has not confirmed. */
export function unconfirmedTexts(nodes: readonly NodeOutcomeView[]): readonly string[] {
  return nodes.filter(({ state }) => state !== 'confirmed').map(unconfirmedText);
}

function unconfirmedText({ name, state, deafSince, closedBy }: NodeOutcomeView): string {
  if (state === 'deaf') return `${name} is deaf since ${deafSince}, its sockets are closed by ${closedBy}`;
  if (state === 'closed') return `${name} has no connection of before since ${closedBy}`;
  return `${name} has not confirmed yet`;
}
