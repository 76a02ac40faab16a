/**
 * Telemetry models. A source returns the fields of a payload for a moment. Its random numbers come from the seed, so the same
 * device sends the same values in each run. It knows no payload format and no clock.
 */

import type { Recording } from './recording.ts';
import type { Model, ReplayModel } from './schema.ts';

export type Fields = Readonly<Record<string, number | string | boolean>>;

/** `elapsed`: milliseconds since the device began; it never goes back. */
export type Source = (elapsed: number) => Fields;

export function makeSource(model: Exclude<Model, ReplayModel>, random: () => number): Source {
  switch (model.kind) {
    case 'constant':
      return () => ({ value: model.value });
    case 'sine': {
      const phase = random() * 2 * Math.PI;
      return (elapsed) => {
        const turn = Math.sin(phase + (elapsed / model.period) * 2 * Math.PI);
        return { value: rounded(model.middle + model.amplitude * turn + (random() - 0.5) * 2 * model.noise) };
      };
    }
    case 'walk': {
      let value = model.start;
      return () => {
        // A slight pull back keeps a walk of days in range.
        value += (random() - 0.5) * 2 * model.step + (model.start - value) * 0.02;
        value = Math.min(model.max ?? value, Math.max(model.min ?? value, value));
        return { value: rounded(value) };
      };
    }
    case 'track':
      return trackSource(model, random);
    case 'states':
      return statesSource(model, random);
  }
}

const EARTH_RADIUS_M = 6_371_000;
const RADIANS = Math.PI / 180;

function trackSource(model: Extract<Model, { kind: 'track' }>, random: () => number): Source {
  const { points, speed, atEnd } = model;
  const starts: number[] = [0];
  for (let at = 1; at < points.length; at += 1) {
    starts.push((starts[at - 1] as number) + metresBetween(points[at - 1] as Point, points[at] as Point));
  }
  const whole = starts.at(-1) as number;
  const head = random() * whole; // devices of one track are spread along it
  return (elapsed) => {
    const along = positionOn(whole, head + (elapsed / 1_000) * speed, atEnd);
    let leg = 1;
    while (leg < points.length - 1 && (starts[leg] as number) < along) leg += 1;
    const [from, to] = [points[leg - 1] as Point, points[leg] as Point];
    const length = (starts[leg] as number) - (starts[leg - 1] as number);
    const part = length === 0 ? 0 : (along - (starts[leg - 1] as number)) / length;
    return {
      lat: rounded(from[0] + (to[0] - from[0]) * part, 1e6),
      lon: rounded(from[1] + (to[1] - from[1]) * part, 1e6),
      speed: atEnd === 'stop' && along === whole ? 0 : speed,
    };
  };
}

type Point = readonly [number, number];

function positionOn(whole: number, distance: number, atEnd: 'turn' | 'stop' | 'again'): number {
  if (whole === 0 || distance <= whole) return Math.min(distance, whole);
  if (atEnd === 'stop') return whole;
  if (atEnd === 'again') return distance % whole;
  const within = distance % (2 * whole);
  return within <= whole ? within : 2 * whole - within;
}

/** Great-circle distance by the haversine formula. */
function metresBetween(from: Point, to: Point): number {
  const [dLat, dLon] = [(to[0] - from[0]) * RADIANS, (to[1] - from[1]) * RADIANS];
  const h = Math.sin(dLat / 2) ** 2 + Math.cos(from[0] * RADIANS) * Math.cos(to[0] * RADIANS) * Math.sin(dLon / 2) ** 2;
  return 2 * EARTH_RADIUS_M * Math.asin(Math.sqrt(h));
}

function statesSource(model: Extract<Model, { kind: 'states' }>, random: () => number): Source {
  let state = model.initial;
  let since = 0;
  const stay = () => (model.states[state]?.for ?? 1) * (0.5 + random()); // machines of one kind don't change in step
  let until = stay();
  return (elapsed) => {
    while (elapsed >= until) {
      since = until;
      state = weighted(model.states[state]?.next ?? {}, random) ?? state;
      until = since + stay();
    }
    return { state, since: Math.round((elapsed - since) / 1_000) };
  };
}

function weighted(choices: Readonly<Record<string, number>>, random: () => number): string | undefined {
  const entries = Object.entries(choices);
  let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries.at(-1)?.[0];
}

function rounded(value: number, precision = 100): number {
  return Math.round(value * precision) / precision;
}

/** Walks through a recording at the speed of its model. */
export class Replay {
  readonly #recording: Recording;
  readonly #speed: number;
  readonly #isEndless: boolean;
  #row: number;
  /** Milliseconds since the device began at which the current round's first row is due. */
  #base: number;

  /** `position`: of the device in its group, from 0 up to but not including 1. */
  constructor(recording: Recording, model: ReplayModel, position: number) {
    this.#recording = recording;
    this.#speed = model.speed;
    this.#isEndless = model.atEnd === 'again';
    this.#row = model.from === 'spread' ? Math.floor(position * recording.rows.length) : 0;
    this.#base = -this.#offset(this.#row);
  }

  /** The next row and when it is due, in milliseconds since the device began; undefined after the last one. */
  next(): { readonly due: number; readonly fields: Fields } | undefined {
    const { rows, times } = this.#recording;
    if (this.#row >= rows.length) {
      if (!this.#isEndless) return undefined;
      // The gap to the first row of the next round is that between the last two, and never none at all.
      const gap = rows.length > 1 ? (times[rows.length - 1] as number) - (times[rows.length - 2] as number) : 0;
      this.#base += this.#offset(rows.length - 1) + Math.max(gap / this.#speed, 1);
      this.#row = 0;
    }
    const row = this.#row;
    this.#row += 1;
    return { due: this.#base + this.#offset(row), fields: rows[row] as Fields };
  }

  #offset(row: number): number {
    return (this.#recording.times[row] as number) / this.#speed;
  }
}
