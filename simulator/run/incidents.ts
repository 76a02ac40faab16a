/** Plays the timeline of a scenario: applies each incident at its time to the devices that it chooses, and marks it for the charts. */

import { setTimeout as delay } from 'node:timers/promises';
import type { HostileAction } from '../devices/shard-messages.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import { actionOf } from '../scenario/checks.ts';
import type { Incident, Scenario } from '../scenario/schema.ts';
import type { DeviceList } from './device-list.ts';
import type { Observer } from './observer.ts';
import type { RunRecord } from './record.ts';
import type { Mark } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { Shards } from './shards.ts';

export interface IncidentContext {
  readonly scenario: Scenario;
  readonly shards: Shards;
  readonly devices: DeviceList;
  readonly record: RunRecord;
  readonly service: Observer | undefined;
  readonly options: RunOptions;
}

/** Of an incident that names no time of its own. */
const CUT_MS = 5_000;
const DOWN_MS = 500;
const ALL_DEVICES = { percent: 100 } as const;

export class Incidents {
  readonly marks: Mark[] = [];
  /** Incidents that failed: the run then has no valid result. */
  readonly problems: string[] = [];
  readonly #context: IncidentContext;

  constructor(context: IncidentContext) {
    this.#context = context;
  }

  /** Resolves when the duration is over, or when the signal aborts. */
  async play(): Promise<void> {
    const { scenario, record, options } = this.#context;
    const { signal } = options;
    const inProgress: Promise<void>[] = [];
    const until = async (at: number) => {
      const wait = at - record.elapsedMs;
      if (wait > 0) await this.#wait(wait);
    };
    for (const incident of [...scenario.timeline].sort((a, b) => a.at - b.at)) {
      await until(incident.at);
      if (signal?.aborted === true) break;
      inProgress.push(
        this.#apply(incident).catch((error: Error) => {
          this.problems.push(`${actionOf(incident)} at ${incident.at / 1_000} s could not happen: ${error.message}`);
        }),
      );
    }
    await until(scenario.duration);
    await Promise.all(inProgress);
  }

  async #apply(incident: Incident): Promise<void> {
    const { shards } = this.#context;
    const action = actionOf(incident);
    switch (action) {
      case 'revoke':
        return this.#revoke(incident);
      case 'cut':
      case 'power': {
        const length = incident.for ?? CUT_MS;
        const devices = this.#chooseFor({ ...incident, for: length }, action);
        return shards.apply({ kind: action, devices, for: length });
      }
      case 'renew':
        return shards.apply({ kind: 'renew', devices: this.#chooseFor(incident, action) });
      case 'clone':
      case 'steal':
      case 'outlive': {
        const devices = this.#chooseFor(incident, action);
        return shards.apply({ kind: 'hostile', action, devices, count: 0, until: this.#end });
      }
      case 'attack':
        return this.#attack(incident);
      case 'command':
        return this.#sendCommand(incident);
      case 'network':
        return this.#changeNetwork(incident);
      case 'server':
        return this.#restartServer(incident);
      case 'disk':
        return this.#fillDisk(incident);
      case 'rotate':
        return this.#rotateIssuingCa(incident);
    }
  }

  /** Marks the incident, and returns the indices of the devices that it chooses. */
  #chooseFor(incident: Incident, action: 'cut' | 'power' | 'renew' | 'clone' | 'steal' | 'outlive'): readonly number[] {
    const chosen = this.#context.devices.choose(incident.of, incident[action] ?? ALL_DEVICES);
    this.#mark(incident, `${action} ${chosen.length}${groupIn(incident)}`);
    return chosen.map(({ index }) => index);
  }

  async #revoke(incident: Incident): Promise<void> {
    const { shards, devices, options } = this.#context;
    if (options.operator === undefined) throw new Error('expected an operator');
    const chosen = devices.choose(incident.of, incident.revoke ?? ALL_DEVICES);
    this.#mark(incident, `revoke ${chosen.length}${groupIn(incident)}`);
    devices.remove(chosen);
    await shards.apply({ kind: 'revoking', devices: chosen.map(({ index }) => index), at: preciseNow() });
    await options.operator.revoke(chosen.map(({ id }) => id));
  }

  async #attack(incident: Incident): Promise<void> {
    const { shards, devices } = this.#context;
    const { attack, count = 1 } = incident;
    this.#mark(incident, `${attack} x ${count}`);
    const indices = devices.devices.map(({ index }) => index);
    const action = attack as HostileAction;
    await shards.apply({ kind: 'hostile', action, devices: indices, count, until: this.#end });
  }

  #sendCommand(incident: Incident): void {
    const { service, devices } = this.#context;
    if (service === undefined) throw new Error('expected a service');
    const receivers = devices.choose(incident.of, incident.to ?? ALL_DEVICES);
    this.#mark(incident, `${incident.command} to ${receivers.length}${groupIn(incident)}`);
    service.command(
      incident.command as string,
      receivers.map(({ id }) => id),
    );
  }

  async #changeNetwork(incident: Incident): Promise<void> {
    const { shards } = this.#context;
    const { of: group, for: length, network: conditions } = incident;
    this.#mark(incident, `network changed${groupIn(incident)}`);
    await shards.apply({ kind: 'network', group, conditions });
    if (length === undefined) return;
    await this.#wait(length);
    await shards.apply({ kind: 'network', group, conditions: undefined });
  }

  async #restartServer(incident: Incident): Promise<void> {
    const { shards, options, record } = this.#context;
    if (options.server === undefined) throw new Error('expected a server of its own');
    this.#mark(incident, `server ${incident.server}`);
    await options.server.restart(incident.server as 'restart' | 'kill', incident.for ?? DOWN_MS);
    this.#mark({ at: record.elapsedMs }, 'server is back');
    await shards.apply({ kind: 'server-returned', at: preciseNow() });
  }

  async #fillDisk(incident: Incident): Promise<void> {
    const { server } = this.#context.options;
    if (server === undefined) throw new Error('expected a server of its own');
    this.#mark(incident, 'disk full');
    await server.fillDisk(incident.for ?? CUT_MS);
  }

  async #rotateIssuingCa(incident: Incident): Promise<void> {
    const { operator } = this.#context.options;
    if (operator?.rotateIssuing === undefined) throw new Error('expected a server that can replace its issuing CA');
    this.#mark(incident, 'issuing CA replaced');
    await operator.rotateIssuing();
  }

  /** End of the run, milliseconds since 1970. */
  get #end(): number {
    const { scenario, record } = this.#context;
    return preciseNow() + scenario.duration - record.elapsedMs;
  }

  /** Resolves early when the run is ended. */
  async #wait(milliseconds: number): Promise<void> {
    const { signal } = this.#context.options;
    await delay(milliseconds, undefined, { ...(signal !== undefined && { signal }) }).catch(() => {});
  }

  #mark({ at, for: length }: Pick<Incident, 'at' | 'for'>, text: string): void {
    this.marks.push({ at: at / 1_000, ...(length !== undefined && { for: length / 1_000 }), text });
  }
}

function groupIn({ of }: Incident): string {
  return of === undefined ? '' : ` of ${of}`;
}
