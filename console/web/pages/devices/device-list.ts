/**
 * The devices that a page has loaded, in the order of the server: pages are loaded as one scrolls, and live events change
 * devices in place, all events of one frame together. Each device is a signal of its own, so that a change draws one row.
 */

import { batch, type Signal, signal } from '@preact/signals';
import { ApiProblem, api } from '../../api.ts';
import { changeBy, type FleetEvent, type ListedDevice, sequenceOf } from './fleet-event.ts';

export type DeviceQuery = Omit<NonNullable<Parameters<typeof api<'GET /v1/devices'>>[1]>['query'] & object, 'cursor'>;

const FIRST_PAGE = 100;
const NEXT_PAGES = 500;
/** As many as one operation can name. */
export const MOST_LOADED = 10_000;
/** Events wait for a frame, which a hidden page does not have. */
const MOST_WAITING = 2_000;

export class DeviceList {
  /** In the order of the list. */
  readonly ids: Signal<readonly string[]> = signal([]);
  readonly isLoading = signal(true);
  readonly isComplete = signal(false);
  readonly problem: Signal<ApiProblem | undefined> = signal(undefined);
  /** Devices that enrolled since the list was loaded. */
  readonly enrolled: Signal<ReadonlySet<string>> = signal(new Set<string>());
  readonly #devices = new Map<string, Signal<ListedDevice>>();
  readonly #sequences = new Map<string, number>();
  #query: DeviceQuery = {};
  #abort = new AbortController();
  #waiting: FleetEvent[] = [];
  /** Events that came while a page was on its way, which the page may not contain. */
  #meanwhile: FleetEvent[] = [];
  #frame: number | undefined;

  device(id: string): Signal<ListedDevice> | undefined {
    return this.#devices.get(id);
  }

  /** Loads the list anew, up to as many devices as it has now if the query is the same. */
  async open(query: DeviceQuery, isSame: boolean): Promise<void> {
    this.#query = query;
    const wanted = isSame ? Math.max(FIRST_PAGE, this.ids.value.length) : FIRST_PAGE;
    await this.#load(async (signal) => {
      const devices: ListedDevice[] = [];
      let isComplete = false;
      while (!isComplete && devices.length < wanted) {
        const page = await this.#page(devices.at(-1)?.cursor, Math.min(1_000, wanted - devices.length), signal);
        devices.push(...page.devices);
        isComplete = page.isLast;
      }
      return () => {
        this.#devices.clear();
        this.enrolled.value = new Set();
        this.#add([], devices, isComplete);
      };
    });
  }

  /** The next page. Does nothing while one is loaded, and at the end. */
  async loadMore(): Promise<void> {
    const { value: ids } = this.ids;
    const isStopped = this.isComplete.value || this.problem.value !== undefined || ids.length >= MOST_LOADED;
    if (this.isLoading.value || isStopped) return;
    await this.#load(async (signal) => {
      const { devices, isLast } = await this.#page(this.#cursor(), NEXT_PAGES, signal);
      return () => this.#add(ids, devices, isLast);
    });
  }

  /** Everything that matches, or the first 10,000. */
  async loadAll(): Promise<void> {
    while (!this.isComplete.value && this.ids.value.length < MOST_LOADED && this.problem.value === undefined) {
      await this.loadMore();
    }
  }

  /** Takes effect in the next frame. */
  receive(event: FleetEvent): void {
    if (event.device === undefined) return;
    if (this.isLoading.value) this.#meanwhile.push(event);
    this.#waiting.push(event);
    if (this.#waiting.length > MOST_WAITING) this.#applyWaiting();
    else this.#frame ??= requestAnimationFrame(() => this.#applyWaiting());
  }

  /** Changes devices at once, such as after an operation of this page. */
  change(ids: readonly string[], change: Partial<ListedDevice>): void {
    batch(() => {
      for (const id of ids) this.#change(id, change);
    });
  }

  remove(id: string): void {
    if (!this.#devices.delete(id)) return;
    this.ids.value = this.ids.value.filter((one) => one !== id);
  }

  close(): void {
    this.#abort.abort();
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    this.#waiting = [];
  }

  async #load(read: (signal: AbortSignal) => Promise<() => void>): Promise<void> {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.isLoading.value = true;
    this.#meanwhile = [];
    try {
      const show = await read(signal);
      batch(() => {
        show();
        this.problem.value = undefined;
      });
    } catch (error) {
      if (signal.aborted) return;
      this.problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
    }
    if (!signal.aborted) this.isLoading.value = false;
  }

  async #page(cursor: string | undefined, limit: number, signal: AbortSignal) {
    const query = { ...this.#query, limit, ...(cursor !== undefined && { cursor }) };
    const devices = await api('GET /v1/devices', { query, signal });
    return { devices, isLast: devices.length < limit };
  }

  #cursor(): string | undefined {
    const last = this.ids.value.at(-1);
    return last === undefined ? undefined : this.#devices.get(last)?.value.cursor;
  }

  #add(before: readonly string[], devices: readonly ListedDevice[], isComplete: boolean): void {
    const ids: string[] = [];
    for (const device of devices) {
      const known = this.#devices.get(device.id);
      // A device that changed its place is on two pages.
      if (known !== undefined) known.value = device;
      else {
        ids.push(device.id);
        this.#devices.set(device.id, signal(device));
      }
    }
    this.ids.value = [...before, ...ids];
    this.isComplete.value = isComplete;
    for (const event of this.#meanwhile) this.#apply(event);
  }

  #applyWaiting(): void {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    const events = this.#waiting;
    this.#waiting = [];
    batch(() => {
      for (const event of events) this.#apply(event);
    });
  }

  #apply(event: FleetEvent): void {
    const id = event.device as string;
    const sequence = Math.max(this.#sequences.get(id) ?? 0, sequenceOf(event.data));
    if (event.type === 'presence.connected') this.#sequences.set(id, sequence);
    if (event.type === 'device.deleted') this.remove(id);
    else if (event.type === 'enroll.enrolled' && !this.#devices.has(id)) {
      this.enrolled.value = new Set([...this.enrolled.value, id]);
    } else {
      const change = changeBy(event, this.#sequences.get(id) ?? 0);
      if (change !== undefined) this.#change(id, change);
    }
  }

  #change(id: string, change: Partial<ListedDevice>): void {
    const device = this.#devices.get(id);
    if (device !== undefined) device.value = { ...device.value, ...change };
  }
}
