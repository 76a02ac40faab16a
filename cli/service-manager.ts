/**
 * Notifies systemd of the server's state (sd_notify(3)): ready, status, reloading, stopping, alive. Node has no unix datagram sockets, and the
 * packages that add them are native addons that npm compiles; `systemd-notify` is on every machine that has systemd. It runs in a process of
 * its own, so that the unit needs `NotifyAccess=all`. Notifications are sent one after another. Without NOTIFY_SOCKET nothing happens.
 */

import { execFile } from 'node:child_process';
import { escapeControls } from '@rollcall/output';
import { parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';

export interface ServiceManager {
  ready(status: string): void;
  /** To be followed by `ready` when it is done. */
  reloading(): void;
  /** `within`: milliseconds that the stop may take, even if the unit allows less. */
  stopping(status: string, within: number): void;
  /** Sends what is waiting, and no sign of life any more. */
  close(): Promise<void>;
}

export interface ServiceManagerOptions {
  /** NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID and PATH are read from it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

const SILENT: ServiceManager = { ready() {}, reloading() {}, stopping() {}, close: async () => {} };
const SEND_TIMEOUT_MS = 10_000;

export function openServiceManager({ environment, log }: ServiceManagerOptions): ServiceManager {
  const { NOTIFY_SOCKET, PATH = '/usr/bin:/bin' } = environment;
  if (NOTIFY_SOCKET === undefined) return SILENT;
  const env = { NOTIFY_SOCKET, PATH };
  let isFailed = false;
  let last: Promise<void> = Promise.resolve();
  const send = (...variables: readonly string[]): void => {
    const sent = () =>
      new Promise<void>((resolve) => {
        execFile('systemd-notify', [...variables], { env, timeout: SEND_TIMEOUT_MS }, (error) => {
          if (error !== null && !isFailed) {
            const reason = escapeControls(error.message.split('\n', 1)[0] as string);
            log.warn({ reason }, 'systemd notification failed');
          }
          isFailed = error !== null;
          resolve();
        });
      });
    last = last.then(sent);
  };
  const statusOf = (text: string) => `STATUS=${escapeControls(text)}`;
  const interval = watchdogInterval(environment);
  const timer = interval === undefined ? undefined : setInterval(() => send('WATCHDOG=1'), interval);
  timer?.unref();
  return {
    ready: (status) => send('READY=1', statusOf(status)),
    reloading: () => send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`),
    stopping: (status, within) => {
      send('STOPPING=1', statusOf(status), `EXTEND_TIMEOUT_USEC=${Math.ceil(within) * 1_000}`);
    },
    close: async () => {
      clearInterval(timer);
      await last;
    },
  };
}

/** Milliseconds: half of what systemd allows, as sd_watchdog_enabled(3) advises. Undefined without a watchdog for this process. */
function watchdogInterval({
  WATCHDOG_USEC,
  WATCHDOG_PID,
}: Readonly<Record<string, string | undefined>>): number | undefined {
  const microseconds = parseDecimal(WATCHDOG_USEC, 1);
  if (microseconds === undefined) return undefined;
  const pid = parseDecimal(WATCHDOG_PID, 1);
  // The launcher, if there is one, started this process and does nothing else.
  if (pid !== undefined && pid !== process.pid && pid !== process.ppid) return undefined;
  return Math.max(microseconds / 2_000, 1);
}
