import { escapeControls, isTerminal, standardOutput } from '@rollcall/output';
import { causeLines, type DeviceReport } from '../../simulator/index.ts';
import { note, table } from '../terminal.ts';
import type { FleetCounts } from './demo-fleet.ts';
import type { LostDevice } from './lost-device.ts';

export const REDRAW_EVERY_MS = 250;

/** What has happened so far; the demo has succeeded when nothing in it is missing. */
export interface DemoResult {
  readonly devices: number;
  readonly connected: number;
  /** Of the devices that never connected, counted by the last error of each. */
  readonly causes: Readonly<Record<string, number>>;
  /** Messages that the broker acknowledged. */
  readonly messages: number;
  readonly revoked?: LostDevice;
}

export function isComplete({ devices, connected, messages, revoked }: DemoResult): boolean {
  const isRevocationComplete =
    revoked?.disconnected !== undefined && revoked.refused !== undefined && revoked.sessionsClosed === 1;
  return connected === devices && messages > 0 && isRevocationComplete;
}

export function describeDemo({ devices, connected, causes, messages, revoked }: DemoResult): string {
  const lines = [
    `${connected} of ${devices} devices enrolled with one bootstrap token and connected over mutual TLS`,
    ...neverConnected(causes),
    `${messages} messages published, stored and acknowledged`,
  ];
  if (revoked === undefined) lines.push('no device was revoked: the demo ended too early');
  else {
    lines.push(
      `${revoked.id} was revoked: the command returned after ${ms(revoked.answered)}, ` +
        `the device was disconnected after ${ms(revoked.disconnected)}, its next connection refused after ${ms(revoked.refused)}`,
    );
  }
  return lines.join('\n');
}

export function neverConnected(causes: Readonly<Record<string, number>>): readonly string[] {
  return causeLines(causes).map((line) => escapeControls(`never connected: ${line}`));
}

const HEADINGS = ['DEVICE', 'STATE', 'MESSAGES', 'LAST VALUE'];
/** Lines of the terminal besides those that are drawn: the summary, an empty one, and the next prompt. */
const ROWS_BESIDES = 5;

export class DemoScreen {
  readonly #isTerminal = isTerminal(1);
  #lines: string[] = [];
  #drawnRows = 0;
  #drawnAt = 0;

  /** A step of the story, below the table or as a line of its own. */
  addLine(text: string): void {
    this.#lines.push(text);
    if (!this.#isTerminal) note(text);
  }

  drawDevices(counts: FleetCounts, devices: readonly DeviceReport[]): void {
    // A table taller than the terminal could not be drawn over.
    const rowsLeft = Math.max(1, this.#rows - this.#lines.length - ROWS_BESIDES);
    const rows = devices
      .slice(0, rowsLeft)
      .map((device) => [
        device.id ?? '',
        device.state,
        String(device.acknowledged),
        device.lastValue?.toFixed(2) ?? '',
      ]);
    const rest = devices.length > rowsLeft ? [`... and ${devices.length - rowsLeft} more`] : [];
    this.#draw(counts, [table(HEADINGS, rows), ...rest]);
  }

  /** With lines that follow the story; of the story the newest lines that fit. */
  drawTable(
    counts: FleetCounts,
    {
      headings,
      rows,
      footer,
    }: {
      readonly headings: readonly string[];
      readonly rows: readonly (readonly string[])[];
      readonly footer: readonly string[];
    },
  ): void {
    const besides = rows.length + footer.length + ROWS_BESIDES + 1;
    if (this.#isTerminal) this.#lines = this.#lines.slice(-Math.max(1, this.#rows - besides));
    this.#draw(counts, [table(headings, rows)], footer);
  }

  /** For a log, once; a terminal has it in the table. */
  announceFooter(footer: readonly string[]): void {
    if (!this.#isTerminal) for (const line of footer) note(line);
  }

  get #rows(): number {
    return process.stdout.rows ?? 24;
  }

  #draw(counts: FleetCounts, above: readonly string[], footer: readonly string[] = []): void {
    const { elapsed, devices, connected, everConnected, acknowledged, causes } = counts;
    const [cause] = everConnected < devices ? causeLines(causes) : [];
    const why = cause === undefined ? '' : `; ${escapeControls(cause)}`;
    const summary = `${connected} of ${devices} connected, ${acknowledged} messages acknowledged${why}`;
    if (!this.#isTerminal) {
      // Once a second is enough for a log.
      if (elapsed - this.#drawnAt >= 1_000) {
        this.#drawnAt = elapsed;
        note(`${(elapsed / 1_000).toFixed(0)} s: ${summary}`);
      }
      return;
    }
    const text = [...above, '', summary, ...this.#lines, ...footer].join('\n');
    const up = this.#drawnRows === 0 ? '' : `\u001b[${this.#drawnRows}A\u001b[J`;
    standardOutput.write(`${up}${text}\n`);
    // A line that is longer than the terminal is wide takes several rows.
    const columns = process.stdout.columns ?? 80;
    this.#drawnRows = text.split('\n').reduce((rows, line) => rows + Math.max(1, Math.ceil(line.length / columns)), 0);
  }
}

export function ms(value: number | undefined): string {
  return value === undefined ? 'never' : `${value.toFixed(0)} ms`;
}
