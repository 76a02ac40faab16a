import { describe, expect, it } from 'vitest';
import { readScenario } from '../scenario/read.ts';
import { Tally } from './counters.ts';
import { PacketReader, PUBLISH, readPublish } from './mqtt-packets.ts';
import { Speech } from './publisher-state.ts';
import { publishersOf } from './publishers.ts';
import type { Crew, GroupOfDevices } from './shard-context.ts';
import type { Agenda } from './timer-wheel.ts';
import { TlsLines } from './tls-connections.ts';

/** An agenda whose time is moved by hand. */
class HandAgenda implements Pick<Agenda, 'at' | 'now'> {
  time = 1_000_000;
  #entries: { readonly due: number; readonly run: () => void }[] = [];

  now(): number {
    return this.time;
  }

  at(due: number, run: () => void): number {
    this.#entries.push({ due, run });
    return due;
  }

  moveBy(milliseconds: number): void {
    const end = this.time + milliseconds;
    for (;;) {
      const next = this.#entries.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0];
      if (next === undefined) break;
      this.#entries.splice(this.#entries.indexOf(next), 1);
      this.time = Math.max(this.time, next.due);
      next.run();
    }
    this.time = end;
  }
}

function device(publish: string, seed = 1) {
  const read = readScenario(`name: a\nduration: 1h\ndevices: { d: { count: 1, publish: [${publish}] } }`, {
    fileExists: () => false,
  });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const agenda = new HandAgenda();
  const now = () => agenda.time;
  const crew: Crew = {
    ...{ agenda: agenda as unknown as Agenda, tally: new Tally(), lines: new TlsLines(''), now },
    ...{ returnedAt: 0, isOver: false },
  };
  const group: GroupOfDevices = {
    ...{
      name: 'd',
      settings: read.scenario.devices.d as GroupOfDevices['settings'],
      token: undefined,
      door: undefined,
    },
    ...{ target: () => ({ host: '', port: 0 }), recordings: new Map(), hazards: [] },
  };
  const said: { readonly id: number; readonly seq: number; readonly stream: string; readonly value: number }[] = [];
  const reader = new PacketReader();
  const mouth = { isOpen: true };
  const speech = new Speech(crew, publishersOf(group, { id: 'a-1', position: 0, seed }, now), {
    isOpen: () => mouth.isOpen,
    isWanted: () => true,
    write: (packet) =>
      reader.push(packet, (first, body) => {
        if (first >> 4 !== PUBLISH) return;
        const { topic, packetId, payload } = readPublish(first, body);
        const { seq, value } = JSON.parse(payload.toString()) as { readonly seq: number; readonly value: number };
        said.push({ id: packetId, seq, stream: topic.slice(topic.lastIndexOf('/') + 1), value });
      }),
  });
  return { speech, agenda, crew, said, mouth };
}

const EVERY_SECOND = '{ stream: heat, every: 1s, model: { kind: walk } }';

describe('what a device says', () => {
  it('comes once in each period, also after a silence that was shorter than one', () => {
    const { speech, agenda, said } = device('{ stream: heat, every: 10s }');
    speech.resume(agenda.time);
    agenda.moveBy(15_000);
    const last = () => Math.max(...said.map(({ seq }) => seq)); // what waits is sent again at each return
    expect(last()).toBe(2);
    for (let time = 0; time < 3; time += 1) {
      speech.fallSilent();
      agenda.moveBy(100);
      speech.resume(agenda.time);
    }
    agenda.moveBy(100_000);
    expect(last()).toBe(12);
  });

  it('with QoS 1 is kept while nobody hears it, and sent in its order', () => {
    const { speech, agenda, said, mouth } = device(EVERY_SECOND);
    speech.resume(agenda.time);
    mouth.isOpen = false;
    agenda.moveBy(5_000);
    expect(said).toEqual([]);
    expect(speech.waiting).toBe(5);
    mouth.isOpen = true;
    speech.resume(agenda.time);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    for (const { id } of said) speech.acknowledge(id);
    expect(speech.waiting).toBe(0);
    expect(speech.acknowledged()).toEqual({ heat: [1, 5] });
  });

  it('is gone with the power when nobody has acknowledged it', () => {
    const { speech, agenda, crew, mouth } = device(EVERY_SECOND);
    speech.resume(agenda.time);
    mouth.isOpen = false;
    agenda.moveBy(3_000);
    speech.forget();
    agenda.moveBy(3_000);
    expect(speech.waiting).toBe(0);
    expect(crew.tally.take().counters).toEqual({ sent: 3, dropped: 3 });
  });

  it('on one stream does not depend on what it says on another', () => {
    const values = (publish: string) => {
      const { speech, agenda, said } = device(publish, 7);
      speech.resume(agenda.time);
      agenda.moveBy(10_000);
      return said.filter(({ stream }) => stream === 'heat').map(({ value }) => value);
    };
    const alone = values(EVERY_SECOND);
    expect(alone.length).toBe(10);
    expect(values(`${EVERY_SECOND}, { stream: load, every: 300ms, spacing: poisson, qos: 0 }`)).toEqual(alone);
  });
});
