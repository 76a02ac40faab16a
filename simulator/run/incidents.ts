/** Plays the timeline of a scenario: each incident at its time, on the devices that chance has chosen, with a mark for the charts. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Tally } from '../devices/counters.ts';
import type { HostileAct } from '../devices/shard-messages.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import { actionOf } from '../scenario/checks.ts';
import type { Incident, Scenario } from '../scenario/schema.ts';
import type { Roster } from './device-list.ts';
import type { Observer } from './observer.ts';
import type { RunRecord } from './record.ts';
import type { Mark } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { Shards } from './shards.ts';

export interface Stage {
  readonly scenario: Scenario;
  readonly shards: Shards;
  readonly roster: Roster;
  readonly record: RunRecord;
  readonly service: Observer | undefined;
  readonly options: RunOptions;
  readonly tally: Tally;
}

/** Of an incident that names no time of its own. */
const CUT_MS = 5_000;
const DOWN_MS = 500;
const EVERYBODY = { percent: 100 } as const;

export class Incidents {
  readonly marks: Mark[] = [];
  /** Incidents that could not happen: the run then says nothing. */
  readonly problems: string[] = [];
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Resolves when the duration is over, or the signal says so. */
  async play(): Promise<void> {
    const { scenario, record, options } = this.#stage;
    const { signal } = options;
    const underway: Promise<void>[] = [];
    const until = async (at: number) => {
      const wait = at - record.elapsedMs;
      if (wait > 0) await delay(wait, undefined, { ...(signal !== undefined && { signal }) }).catch(() => {});
    };
    for (const incident of [...scenario.timeline].sort((a, b) => a.at - b.at)) {
      await until(incident.at);
      if (signal?.aborted === true) break;
      underway.push(
        this.#happen(incident).catch((error: Error) => {
          this.problems.push(`${actionOf(incident)} at ${incident.at / 1_000} s could not happen: ${error.message}`);
        }),
      );
    }
    await until(scenario.duration);
    await Promise.all(underway);
  }

  async #happen(incident: Incident): Promise<void> {
    const { shards, roster, options, service } = this.#stage;
    const action = actionOf(incident);
    const wanted = incident[action];
    const chosen = typeof wanted === 'object' && !('latency' in wanted) ? roster.choose(incident.of, wanted) : [];
    const devices = chosen.map((device) => device.index);
    const until = preciseNow() + this.#stage.scenario.duration - this.#stage.record.elapsedMs;
    const of = incident.of === undefined ? '' : ` of ${incident.of}`;
    switch (action) {
      case 'revoke': {
        const { operator } = options;
        if (operator === undefined) throw new Error('expected an operator');
        this.#mark(incident, `revoke ${devices.length}${of}`);
        const ids = chosen.map((device) => device.id);
        roster.remove(chosen);
        await shards.act({ kind: 'revoking', devices, at: preciseNow() });
        return operator.revoke(ids);
      }
      case 'cut':
      case 'power':
        this.#mark({ ...incident, for: incident.for ?? CUT_MS }, `${action} ${devices.length}${of}`);
        return shards.act({ kind: action, devices, for: incident.for ?? CUT_MS });
      case 'renew':
        this.#mark(incident, `renew ${devices.length}${of}`);
        return shards.act({ kind: 'renew', devices });
      case 'clone':
      case 'steal':
      case 'outlive':
        this.#mark(incident, `${action} ${devices.length}${of}`);
        return shards.act({ kind: 'hostile', act: action, devices, count: 0, until });
      case 'attack': {
        const count = incident.count ?? 1;
        this.#mark(incident, `${incident.attack} x ${count}`);
        const act = incident.attack as HostileAct;
        return shards.act({ kind: 'hostile', act, devices: roster.devices.map(({ index }) => index), count, until });
      }
      case 'command': {
        if (service === undefined) throw new Error('expected a service');
        const to = roster.choose(incident.of, incident.to ?? EVERYBODY);
        this.#mark(incident, `${incident.command} to ${to.length}${of}`);
        return service.command(
          incident.command as string,
          to.map((device) => device.id),
        );
      }
      case 'network':
        this.#mark(incident, `another line${of}`);
        await shards.act({ kind: 'network', group: incident.of, line: incident.network });
        if (incident.for === undefined) return;
        await delay(incident.for, undefined, { ...(options.signal !== undefined && { signal: options.signal }) }).catch(
          () => {},
        );
        return shards.act({ kind: 'network', group: incident.of, line: undefined });
      case 'server': {
        const { server } = options;
        if (server === undefined) throw new Error('expected a server of its own');
        this.#mark(incident, `server ${incident.server}`);
        await server.restart(incident.server as 'restart' | 'kill', incident.for ?? DOWN_MS);
        this.#mark({ at: this.#stage.record.elapsedMs }, 'server is back');
        return shards.act({ kind: 'returned', at: preciseNow() });
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
