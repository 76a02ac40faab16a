/**
 * The log of a node's thread. Lines are made here, with every rule of the server's log, and written by the main thread, so that one process
 * writes one stream of whole lines. What the main thread has not taken is bounded; lines beyond it are dropped and counted.
 */

import type { Logger } from 'pino';
import { type RefusalLevel, RefusalLog, type RefusalLogger } from '../../limits/index.ts';
import { createLogger, setLogLevel, writeLogLine } from '../logger.ts';
import type { KeeperCalls, NodeLogLine, NodeSettings } from './node-calls.ts';

type SendLines = (batch: KeeperCalls['log']['input']) => Promise<undefined>;

/** Characters that wait for the main thread, at most. */
const WAITING_MAX = 1_048_576;

export class NodeLog {
  readonly log: Logger;
  readonly refusalLog: NodeRefusalLog;
  readonly #send: SendLines;
  readonly #root: Logger;
  #lines: NodeLogLine[] = [];
  /** Characters of the lines that wait or are on their way. */
  #waiting = 0;
  #dropped = 0;
  #sending: Promise<void> | undefined;
  #refusal: NodeLogLine['refusal'];

  constructor({ name, log, refusalLogsPerMinute }: NodeSettings, send: SendLines) {
    this.#send = send;
    this.#root = createLogger(log.level, { format: log.format, write: (line, level) => this.#write(line, level) });
    this.log = this.#root.child({ node: name });
    this.refusalLog = new NodeRefusalLog(refusalLogsPerMinute, (refusal, write) => {
      this.#refusal = refusal;
      write();
      this.#refusal = undefined;
    });
  }

  setLevel(level: NodeSettings['log']['level']): void {
    setLogLevel(this.#root, level);
  }

  /** Resolves when the main thread has every line. */
  async settled(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
  }

  #write(line: string, level: number): void {
    if (this.#waiting + line.length > WAITING_MAX) {
      this.#dropped += 1;
      return;
    }
    this.#waiting += line.length;
    this.#lines.push({ line, level, ...(this.#refusal !== undefined && { refusal: this.#refusal }) });
    this.#sending ??= this.#sendAll();
  }

  /** One batch after the other. The main thread has ended when one is refused: the lines have no reader then. */
  async #sendAll(): Promise<void> {
    while (this.#lines.length > 0) {
      const lines = this.#lines.splice(0);
      const dropped = this.#dropped;
      this.#dropped = 0;
      await this.#send({ lines, dropped }).catch(() => {});
      this.#waiting -= lines.reduce((sum, { line }) => sum + line.length, 0);
    }
    this.#sending = undefined;
  }
}

/** A flood of refusals is bounded here, by the whole budget; the main thread decides on what is within it. */
export class NodeRefusalLog extends RefusalLog {
  readonly #marked: (refusal: NonNullable<NodeLogLine['refusal']>, write: () => void) => void;

  constructor(
    perMinutePerSource: number,
    marked: (refusal: NonNullable<NodeLogLine['refusal']>, write: () => void) => void,
  ) {
    super({ perMinutePerSource, now: () => performance.now() });
    this.#marked = marked;
  }

  override write(log: RefusalLogger, level: RefusalLevel, source: string, fields: object, message: string): void {
    if (!log.isLevelEnabled(level) || !this.take(source)) return;
    this.#marked({ source, omitted: this.takeNotLogged() }, () => log[level](fields, message));
  }
}

export interface LineWriting {
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

/** Writes what a node logged, in the main thread. */
export function writeNodeLines(
  { lines, dropped }: KeeperCalls['log']['input'],
  node: string,
  { log, refusalLog }: LineWriting,
): void {
  for (const { line, level, refusal } of lines) {
    if (refusal === undefined) writeLogLine(log, line, level);
    else {
      refusalLog.addOmitted(refusal.omitted);
      if (refusalLog.take(refusal.source)) writeLogLine(log, withNotLogged(line, refusalLog.takeNotLogged()), level);
    }
  }
  if (dropped > 0) log.warn({ node, dropped }, 'log lines of a node were dropped: the main thread was busy');
}

/** A line is a JSON object and a line feed. */
function withNotLogged(line: string, notLogged: number): string {
  return notLogged === 0 ? line : line.replace(/\}\n$/, `,"notLogged":${notLogged}}\n`);
}
