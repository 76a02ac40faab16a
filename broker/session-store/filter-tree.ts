/**
 * Topic filters of live and stored subscriptions as a tree of levels. Finds out whether a topic has subscribers, and which stored
 * subscriptions match it, in time that depends on the topic's levels and not on the number of filters.
 */

import { topicLevels } from '@rollcall/protocol';

/** One level. Most have at most one child, and every device has several levels, so the map is created for the second child. */
class Level<Subscription> {
  #name: string | undefined;
  #child: Level<Subscription> | undefined;
  #children: Map<string, Level<Subscription>> | undefined;
  /** Stored subscriptions whose filter ends here: one, or several by their keys. Most filters name a device, and have one. */
  #stored: Subscription | Map<string, Subscription> | undefined;
  /** Live subscriptions whose filter ends here. */
  live = 0;

  get(name: string): Level<Subscription> | undefined {
    return this.#name === name ? this.#child : this.#children?.get(name);
  }

  getOrAdd(name: string): Level<Subscription> {
    const known = this.get(name);
    if (known !== undefined) return known;
    const child = new Level<Subscription>();
    if (this.#children !== undefined) this.#children.set(name, child);
    else if (this.#child === undefined) {
      this.#name = name;
      this.#child = child;
    } else {
      this.#children = new Map([
        [this.#name as string, this.#child as Level<Subscription>],
        [name, child],
      ]);
      this.#name = undefined;
      this.#child = undefined;
    }
    return child;
  }

  remove(name: string): void {
    if (this.#name === name) {
      this.#name = undefined;
      this.#child = undefined;
    } else {
      this.#children?.delete(name);
      if (this.#children?.size === 0) this.#children = undefined;
    }
  }

  *children(): Iterable<[string, Level<Subscription>]> {
    if (this.#child !== undefined) yield [this.#name as string, this.#child];
    else if (this.#children !== undefined) yield* this.#children;
  }

  get hasSubscription(): boolean {
    return this.live > 0 || this.#stored !== undefined;
  }

  /** Returns whether there was none of the same key here. */
  addStored(subscription: Subscription, keyOf: (subscription: Subscription) => string): boolean {
    const key = keyOf(subscription);
    const stored = this.#stored;
    if (stored instanceof Map) {
      const { size } = stored;
      return stored.set(key, subscription).size > size;
    }
    if (stored === undefined || keyOf(stored) === key) {
      this.#stored = subscription;
      return stored === undefined;
    }
    this.#stored = new Map([
      [keyOf(stored), stored],
      [key, subscription],
    ]);
    return true;
  }

  /** Returns whether there was one of this key here. */
  removeStored(key: string, keyOf: (subscription: Subscription) => string): boolean {
    const stored = this.#stored;
    if (stored instanceof Map) {
      const isRemoved = stored.delete(key);
      if (stored.size === 0) this.#stored = undefined;
      return isRemoved;
    }
    if (stored === undefined || keyOf(stored) !== key) return false;
    this.#stored = undefined;
    return true;
  }

  addStoredTo(found: Subscription[]): void {
    if (this.#stored instanceof Map) for (const subscription of this.#stored.values()) found.push(subscription);
    else if (this.#stored !== undefined) found.push(this.#stored);
  }

  get isEmpty(): boolean {
    return !this.hasSubscription && this.#child === undefined && this.#children === undefined;
  }
}

export class FilterTree<Subscription> {
  /** A filter has its first subscription, true, or has lost its last one. */
  onFilter: ((filter: string, isThere: boolean) => void) | undefined;
  readonly #root = new Level<Subscription>();
  readonly #keyOf: (subscription: Subscription) => string;
  #stored = 0;
  #generation = 0;

  /** `keyOf`: tells the stored subscriptions of one filter apart, for example by client. */
  constructor(keyOf: (subscription: Subscription) => string) {
    this.#keyOf = keyOf;
  }

  /** Stored subscriptions. */
  get storedCount(): number {
    return this.#stored;
  }

  /** Changes whenever an answer of `hasMatch` may change, so that answers can be cached. */
  get generation(): number {
    return this.#generation;
  }

  addLive(filter: string): void {
    const level = this.#reach(filter);
    if (!level.hasSubscription) this.#changed(filter, true);
    level.live += 1;
  }

  /** Once for each `addLive`. */
  removeLive(filter: string): void {
    const path = this.#find(filter);
    const level = path?.at(-1);
    if (path === undefined || level === undefined || level.live === 0) return;
    level.live -= 1;
    this.#prune(filter, path);
  }

  /** A second subscription of the same key and filter replaces the first. */
  addStored(filter: string, subscription: Subscription): void {
    const level = this.#reach(filter);
    if (!level.hasSubscription) this.#changed(filter, true);
    if (level.addStored(subscription, this.#keyOf)) this.#stored += 1;
  }

  removeStored(filter: string, key: string): void {
    const path = this.#find(filter);
    if (path === undefined || !path.at(-1)?.removeStored(key, this.#keyOf)) return;
    this.#stored -= 1;
    this.#prune(filter, path);
  }

  /** Whether any live or stored subscription matches a topic name. */
  hasMatch(topic: string): boolean {
    return hasMatchBelow(this.#root, topicLevels(topic), 0, !topic.startsWith('$'));
  }

  /** The stored subscriptions that match a topic name. */
  matching(topic: string): Subscription[] {
    const found: Subscription[] = [];
    if (this.#stored > 0) collect(this.#root, topicLevels(topic), 0, !topic.startsWith('$'), found);
    return found;
  }

  /** Every filter with a subscription. */
  filters(): Iterable<string> {
    return filtersBelow(this.#root, []);
  }

  #changed(filter: string, isThere: boolean): void {
    this.#generation += 1;
    this.onFilter?.(filter, isThere);
  }

  #reach(filter: string): Level<Subscription> {
    let level = this.#root;
    for (const name of topicLevels(filter)) level = level.getOrAdd(name);
    return level;
  }

  /** From the first level of a filter to its last. */
  #find(filter: string): Level<Subscription>[] | undefined {
    const path: Level<Subscription>[] = [];
    let level: Level<Subscription> | undefined = this.#root;
    for (const name of topicLevels(filter)) {
      level = level.get(name);
      if (level === undefined) return undefined;
      path.push(level);
    }
    return path;
  }

  #prune(filter: string, path: readonly Level<Subscription>[]): void {
    if (path.at(-1)?.hasSubscription) return;
    this.#changed(filter, false);
    const names = topicLevels(filter);
    for (let i = path.length - 1; i >= 0 && path[i]?.isEmpty; i -= 1) {
      (i === 0 ? this.#root : (path[i - 1] as Level<Subscription>)).remove(names[i] as string);
    }
  }
}

function* filtersBelow(level: Level<unknown>, names: readonly string[]): Iterable<string> {
  if (level.hasSubscription) yield names.join('/');
  for (const [name, child] of level.children()) yield* filtersBelow(child, [...names, name]);
}

/** A wildcard in the first level does not match a topic that begins with `$` [MQTT-4.7.2-1]. */
function hasMatchBelow(level: Level<unknown>, names: readonly string[], at: number, mayBeWildcard: boolean): boolean {
  // `sport/#` matches `sport` as well (MQTT 3.1.1, 4.7.1.2), so `#` is also tried after the last level.
  if (mayBeWildcard && level.get('#')?.hasSubscription) return true;
  if (at === names.length) return level.hasSubscription;
  const exact = level.get(names[at] as string);
  if (exact !== undefined && hasMatchBelow(exact, names, at + 1, true)) return true;
  const any = mayBeWildcard ? level.get('+') : undefined;
  return any !== undefined && hasMatchBelow(any, names, at + 1, true);
}

function collect<Subscription>(
  level: Level<Subscription>,
  names: readonly string[],
  at: number,
  mayBeWildcard: boolean,
  found: Subscription[],
): void {
  if (mayBeWildcard) level.get('#')?.addStoredTo(found);
  if (at === names.length) {
    level.addStoredTo(found);
    return;
  }
  const any = mayBeWildcard ? level.get('+') : undefined;
  if (any !== undefined) collect(any, names, at + 1, true, found);
  const exact = level.get(names[at] as string);
  if (exact !== undefined) collect(exact, names, at + 1, true, found);
}
