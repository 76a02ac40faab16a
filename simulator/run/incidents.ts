/** Plays the timeline of a scenario: applies each incident at its time to the devices that it chooses, and marks it for the charts. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Counters } from '../devices/counters.ts';
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
  readonly counters: Counters;
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
      if (wait > 0) await delay(wait, undefined, { ...(signal !== undefined && { signal }) }).catch(() => {});
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
    const { shards, devices, options, service } = this.#context;
    const action = actionOf(incident);
    const wanted = incident[action];
    const chosen = typeof wanted === 'object' && !('latency' in wanted) ? devices.choose(incident.of, wanted) : [];
    const indices = chosen.map((device) => device.index);
    const until = preciseNow() + this.#context.scenario.duration - this.#context.record.elapsedMs;
    const of = incident.of === undefined ? '' : ` of ${incident.of}`;
    switch (action) {
      case 'revoke': {
        const { operator } = options;
        if (operator === undefined) throw new Error('expected an operator');
        this.#mark(incident, `revoke ${indices.length}${of}`);
        const ids = chosen.map((device) => device.id);
        devices.remove(chosen);
        await shards.apply({ kind: 'revoking', devices: indices, at: preciseNow() });
        return operator.revoke(ids);
      }
      case 'cut':
      case 'power':
        this.#mark({ ...incident, for: incident.for ?? CUT_MS }, `${action} ${indices.length}${of}`);
        return shards.apply({ kind: action, devices: indices, for: incident.for ?? CUT_MS });
      case 'renew':
        this.#mark(incident, `renew ${indices.length}${of}`);
        return shards.apply({ kind: 'renew', devices: indices });
      case 'clone':
      case 'steal':
      case 'outlive':
        this.#mark(incident, `${action} ${indices.length}${of}`);
        return shards.apply({ kind: 'hostile', action: action, devices: indices, count: 0, until });
      case 'attack': {
        const count = incident.count ?? 1;
        this.#mark(incident, `${incident.attack} x ${count}`);
        const hostile = incident.attack as HostileAction;
        return shards.apply({
          kind: 'hostile',
          action: hostile,
          devices: devices.devices.map(({ index }) => index),
          count,
          until,
        });
      }
      case 'command': {
        if (service === undefined) throw new Error('expected a service');
        const to = devices.choose(incident.of, incident.to ?? ALL_DEVICES);
        this.#mark(incident, `${incident.command} to ${to.length}${of}`);
        return service.command(
          incident.command as string,
          to.map((device) => device.id),
        );
      }
      case 'network':
        this.#mark(incident, `another line${of}`);
        await shards.apply({ kind: 'network', group: incident.of, conditions: incident.network });
        if (incident.for === undefined) return;
        await delay(incident.for, undefined, { ...(options.signal !== undefined && { signal: options.signal }) }).catch(
          () => {},
        );
        return shards.apply({ kind: 'network', group: incident.of, conditions: undefined });
      case 'server': {
        const { server } = options;
        if (server === undefined) throw new Error('expected a server of its own');
        this.#mark(incident, `server ${incident.server}`);
        await server.restart(incident.server as 'restart' | 'kill', incident.for ?? DOWN_MS);
        this.#mark({ at: this.#context.record.elapsedMs }, 'server is back');
        return shards.apply({ kind: 'server-returned', at: preciseNow() });
      }
      case 'disk':
        if (options.server === undefined) throw new Error('expected a server of its own');
        this.#mark(incident, 'disk full');
        return options.server.fillDisk(incident.for ?? CUT_MS);
      case 'rotate':
        if (options.operator?.rotateIssuing === undefined)
          throw new Error('expected a server that can replace its issuing CA');
        this.#mark(incident, 'issuing CA replaced');
        return options.operator.rotateIssuing();
    }
  }

  #mark({ at, for: length }: Pick<Incident, 'at' | 'for'>, text: string): void {
    this.marks.push({ at: at / 1_000, ...(length !== undefined && { for: length / 1_000 }), text });
  }
}
