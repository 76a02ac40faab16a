/**
 * Values by topic filter, as a tree of levels. Finds the values whose filter matches a topic name in time that depends on the topic's
 * levels and on the values found, not on the number of filters.
 */

import { topicLevels } from '@rollcall/protocol';

interface Level<T> {
  value: T | undefined;
  readonly children: Map<string, Level<T>>;
}

export class FilterMap<T> {
  readonly #root: Level<T> = { value: undefined, children: new Map() };
  #size = 0;

  /** Filters with a value. */
  get size(): number {
    return this.#size;
  }

  get(filter: string): T | undefined {
    let level: Level<T> | undefined = this.#root;
    for (const name of topicLevels(filter)) {
      level = level.children.get(name);
      if (level === undefined) return undefined;
    }
    return level.value;
  }

  set(filter: string, value: T & {}): void {
    let level = this.#root;
    for (const name of topicLevels(filter)) {
      let child = level.children.get(name);
      if (child === undefined) {
        child = { value: undefined, children: new Map() };
        level.children.set(name, child);
      }
      level = child;
    }
    if (level.value === undefined) this.#size += 1;
    level.value = value;
  }

  delete(filter: string): boolean {
    const isDeleted = deleteBelow(this.#root, topicLevels(filter), 0);
    if (isDeleted) this.#size -= 1;
    return isDeleted;
  }

  /** Whether any filter matches a topic name. */
  hasMatch(topic: string): boolean {
    return this.#size > 0 && hasMatchBelow(this.#root, topicLevels(topic), 0, !topic.startsWith('$'));
  }

  /** The values of all filters that match a topic name, each once. */
  matching(topic: string): readonly T[] {
    if (this.#size === 0) return [];
    const found: T[] = [];
    collect(this.#root, topicLevels(topic), 0, !topic.startsWith('$'), found);
    return found;
  }
}

/** Also removes the levels that are empty then. */
function deleteBelow<T>(level: Level<T>, names: readonly string[], at: number): boolean {
  if (at === names.length) {
    const isDeleted = level.value !== undefined;
    level.value = undefined;
    return isDeleted;
  }
  const name = names[at] as string;
  const child = level.children.get(name);
  if (child === undefined || !deleteBelow(child, names, at + 1)) return false;
  if (child.value === undefined && child.children.size === 0) level.children.delete(name);
  return true;
}

/** A wildcard in the first level does not match a topic that begins with `$` [MQTT-4.7.2-1]. */
function hasMatchBelow<T>(level: Level<T>, names: readonly string[], at: number, mayBeWildcard: boolean): boolean {
  // `sport/#` matches `sport` as well (MQTT 3.1.1, 4.7.1.2), so `#` is also tried after the last level.
  if (mayBeWildcard && level.children.get('#')?.value !== undefined) return true;
  if (at === names.length) return level.value !== undefined;
  const exact = level.children.get(names[at] as string);
  if (exact !== undefined && hasMatchBelow(exact, names, at + 1, true)) return true;
  const any = mayBeWildcard ? level.children.get('+') : undefined;
  return any !== undefined && hasMatchBelow(any, names, at + 1, true);
}

function collect<T>(level: Level<T>, names: readonly string[], at: number, mayBeWildcard: boolean, found: T[]): void {
  const rest = mayBeWildcard ? level.children.get('#')?.value : undefined;
  if (rest !== undefined) found.push(rest);
  if (at === names.length) {
    if (level.value !== undefined) found.push(level.value);
    return;
  }
  const any = mayBeWildcard ? level.children.get('+') : undefined;
  if (any !== undefined) collect(any, names, at + 1, true, found);
  const exact = level.children.get(names[at] as string);
  if (exact !== undefined) collect(exact, names, at + 1, true, found);
}
