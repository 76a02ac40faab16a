/** A timeline as inline SVG: lines over the seconds of a run, with a mark and a shade where something happened. It measures nothing. */

import type { Mark } from '../run/result.ts';
import { escapeXml } from './junit.ts';

export interface Series {
  readonly name: string;
  /** CSS class of its colour: `c1` to `c4`. */
  readonly colour: string;
  readonly values: readonly (number | undefined)[];
}

export interface Chart {
  readonly title: string;
  readonly unit: string;
  /** Seconds since the start, one for each value. */
  readonly at: readonly number[];
  readonly series: readonly Series[];
  readonly marks: readonly Mark[];
}

const WIDTH = 860;
const HEIGHT = 200;
const LEFT = 56;
const RIGHT = 12;
const TOP = 16;
const BOTTOM = 26;

export function drawChart({ title, unit, at, series, marks }: Chart): string {
  const end = Math.max(1, ...at, ...marks.map((mark) => mark.at + (mark.for ?? 0)));
  const most = Math.max(...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const top = niceCeiling(most);
  const x = (seconds: number) => LEFT + (seconds / end) * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const levels = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  const seconds = timeSteps(end);
  return [
    `<figure><figcaption><b>${escapeXml(title)}</b>${unit === '' ? '' : `, ${escapeXml(unit)}`} ${legend(series)}</figcaption>`,
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeXml(title)}">`,
    ...marks.map((mark) => shade(mark, x)),
    ...levels.map(
      (level) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(level).toFixed(1)}" y2="${y(level).toFixed(1)}"/><text class="axis" x="${LEFT - 6}" y="${(y(level) + 3.5).toFixed(1)}" text-anchor="end">${shortNumber(level)}</text>`,
    ),
    ...seconds.map(
      (second) =>
        `<text class="axis" x="${x(second).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">${second} s</text>`,
    ),
    ...series.map((one) => line(one, at, x, y)),
    ...marks.map((mark, index) => flag(mark, index, x)),
    '</svg></figure>',
  ].join('\n');
}

function legend(series: readonly Series[]): string {
  if (series.length === 1) return '';
  return series.map(({ name, colour }) => `<span class="key ${colour}">${escapeXml(name)}</span>`).join(' ');
}

/** A gap where nothing was measured; a dot where a value stands alone. */
function line(
  { colour, values }: Series,
  at: readonly number[],
  x: (seconds: number) => number,
  y: (value: number) => number,
): string {
  const stretches: string[][] = [[]];
  values.forEach((value, index) => {
    if (value === undefined) stretches.push([]);
    else stretches.at(-1)?.push(`${x(at[index] as number).toFixed(1)},${y(value).toFixed(1)}`);
  });
  return stretches
    .filter((points) => points.length > 0)
    .map((points) => {
      const [cx, cy] = (points[0] as string).split(',');
      return points.length === 1
        ? `<circle class="${colour}" cx="${cx}" cy="${cy}" r="2"/>`
        : `<polyline class="${colour}" points="${points.join(' ')}"/>`;
    })
    .join('');
}

function shade(mark: Mark, x: (seconds: number) => number): string {
  if (mark.for === undefined) return '';
  const width = Math.max(1, x(mark.at + mark.for) - x(mark.at));
  return `<rect class="shade" x="${x(mark.at).toFixed(1)}" y="${TOP}" width="${width.toFixed(1)}" height="${HEIGHT - TOP - BOTTOM}"/>`;
}

function flag(mark: Mark, index: number, x: (seconds: number) => number): string {
  const at = x(mark.at).toFixed(1);
  return `<g class="mark"><title>${escapeXml(`${mark.at} s: ${mark.text}`)}</title><line x1="${at}" x2="${at}" y1="${TOP - 6}" y2="${HEIGHT - BOTTOM}"/><circle cx="${at}" cy="${TOP - 7}" r="7"/><text x="${at}" y="${TOP - 4}" text-anchor="middle">${index + 1}</text></g>`;
}

/** The next of 1, 2, 4, 5, 8 times a power of ten. */
function niceCeiling(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (([1, 2, 4, 5, 8, 10].find((step) => step * power >= value) as number) ?? 10) * power;
}

function timeSteps(end: number): readonly number[] {
  const step =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600].find((candidate) => end / candidate <= 10) ?? 7_200;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}

export function shortNumber(value: number): string {
  if (value >= 1e6) return `${trimmed(value / 1e6)}M`;
  if (value >= 1e4) return `${trimmed(value / 1e3)}k`;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : trimmed(value);
}

function trimmed(value: number): string {
  return value.toFixed(value < 1 ? 2 : 1).replace(/\.?0+$/, '');
}
