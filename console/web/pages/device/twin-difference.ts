/** The desired and the reported state of a twin, member by member. */

export interface TwinRow {
  /** Names of the members that lead to it. */
  readonly path: readonly string[];
  /** As JSON; undefined where the state does not have it. */
  readonly desired: string | undefined;
  readonly reported: string | undefined;
  /** `applied`: both are equal. `pending`: desired, and not reported so. `reported`: nobody asked for it. */
  readonly state: 'applied' | 'pending' | 'reported';
}

const MOST_ROWS = 500;

type State = Readonly<Record<string, unknown>>;

/** Objects are compared member by member, as the device does it; anything else as a whole. */
export function twinDifference(desired: State, reported: State): readonly TwinRow[] {
  const rows: TwinRow[] = [];
  const visit = (wanted: State, found: State, path: readonly string[]) => {
    for (const name of [...new Set([...Object.keys(wanted), ...Object.keys(found)])]) {
      if (rows.length >= MOST_ROWS) return;
      const here = [...path, name];
      const one = own(wanted, name);
      const other = own(found, name);
      if (isState(one) && (other === undefined || isState(other))) visit(one, other ?? {}, here);
      else if (one === undefined && isState(other)) visit({}, other, here);
      else rows.push(rowOf(here, one, other));
    }
  };
  visit(desired, reported, []);
  return rows;
}

function rowOf(path: readonly string[], one: unknown, other: unknown): TwinRow {
  const desired = one === undefined ? undefined : JSON.stringify(one);
  const reported = other === undefined ? undefined : JSON.stringify(other);
  const state = desired === undefined ? 'reported' : desired === reported ? 'applied' : 'pending';
  return { path, desired, reported, state };
}

function own(state: State, name: string): unknown {
  return Object.hasOwn(state, name) ? state[name] : undefined;
}

function isState(value: unknown): value is State {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
}
