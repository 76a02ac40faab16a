import { escapeControls, isTerminal, standardOutput } from '@rollcall/output';
import { causeLines, type DeviceReport, type FleetSnapshot } from '../simulator/index.ts';
import { note, table } from './terminal.ts';

/** What has happened so far; the demo has succeeded when nothing in it is missing. */
export interface DemoResult {
  readonly devices: number;
  connected: number;
  /** Of the devices that never connected, counted by the last error of each. */
  readonly causes: Readonly<Record<string, number>>;
  /** Messages that the broker acknowledged. */
  messages: number;
  revoked?: {
    readonly id: string;
    /** Milliseconds from the command to its return, to the end of the session, and to the refusal of the next connection. */
    readonly answered: number;
    readonly disconnected: number | undefined;
    readonly refused: number | undefined;
    readonly sessionsClosed: number;
  };
}

export function isComplete({ devices, connected, messages, revoked }: DemoResult): boolean {
  const isRevocationComplete =
    revoked?.disconnected !== undefined && revoked.refused !== undefined && revoked.sessionsClosed === 1;
  return connected === devices && messages > 0 && isRevocationComplete;
}

export function describeDemo({ devices, connected, causes, messages, revoked }: DemoResult): string {
  const lines = [
    `${connected} of ${devices} devices enrolled with one bootstrap token and connected over mutual TLS`,
    ...causeLines(causes).map((line) => escapeControls(`never connected: ${line}`)),
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

const HEADINGS = ['DEVICE', 'STATE', 'MESSAGES', 'LAST VALUE'];

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

  draw(fleet: FleetSnapshot, devices: readonly DeviceReport[]): void {
    const [cause] = fleet.everConnected < fleet.devices ? causeLines(fleet.causes) : [];
    const why = cause === undefined ? '' : `; ${escapeControls(cause)}`;
    const summary = `${fleet.byState.connected} of ${fleet.devices} connected, ${fleet.acknowledged} messages acknowledged${why}`;
    if (!this.#isTerminal) {
      // Once a second is enough for a log.
      if (fleet.elapsed - this.#drawnAt >= 1_000) {
        this.#drawnAt = fleet.elapsed;
        note(`${(fleet.elapsed / 1_000).toFixed(0)} s: ${summary}`);
      }
      return;
    }
    // A table taller than the terminal could not be drawn over.
    const rowsLeft = Math.max(1, (process.stdout.rows ?? 24) - this.#lines.length - 5);
    const rows = devices
      .slice(0, rowsLeft)
      .map((device) => [
        device.id ?? '',
        device.state,
        String(device.acknowledged),
        device.lastValue?.toFixed(2) ?? '',
      ]);
    const rest = devices.length > rowsLeft ? [`... and ${devices.length - rowsLeft} more`] : [];
    const text = [table(HEADINGS, rows), ...rest, '', summary, ...this.#lines].join('\n');
    const up = this.#drawnRows === 0 ? '' : `\u001b[${this.#drawnRows}A\u001b[J`;
    standardOutput.write(`${up}${text}\n`);
    this.#drawnRows = text.split('\n').length;
  }
}

function ms(value: number | undefined): string {
  return value === undefined ? 'never' : `${value.toFixed(0)} ms`;
}
