/**
 * Notifies systemd of readiness, status and liveness (sd_notify(3)). Node has no unix datagram sockets, so that
 * `systemd-notify` sends the notification. Without systemd nothing happens.
 */

import { execFile } from 'node:child_process';
import { escapeControls } from '@rollcall/output';
import { parseDecimal } from '@rollcall/protocol';
import type { DeviceLog } from '../device-state.ts';
import type { Schedule } from '../schedule.ts';

export interface ServiceManagerOptions {
  /** NOTIFY_SOCKET and WATCHDOG_USEC are read from it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

export interface ServiceManager {
  /** The agent does its work from now on. */
  ready(): void;
  /** One line about how it is. */
  status(text: string): void;
  /** The agent is about to end. */
  stopping(): void;
  close(): void;
}

const SILENT: ServiceManager = { ready() {}, status() {}, stopping() {}, close() {} };

export function serviceManager({ environment, schedule, log }: ServiceManagerOptions): ServiceManager {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, PATH } = environment;
  if (NOTIFY_SOCKET === undefined) return SILENT;
  let isWarned = false;
  const tell = (...words: readonly string[]) => {
    const env = { NOTIFY_SOCKET, PATH: PATH ?? '/usr/bin:/bin' };
    execFile('systemd-notify', [...words], { env, timeout: 10_000 }, (error) => {
      if (error === null || isWarned) return;
      isWarned = true;
      log.warn({ reason: error.message.split('\n', 1)[0] }, 'systemd notification failed');
    }).unref();
  };
  // Half of what systemd allows, as sd_watchdog_enabled(3) advises.
  const beat = (parseDecimal(WATCHDOG_USEC, 1) ?? 0) / 2_000;
  let cancel: (() => void) | undefined;
  const beatLater = () => {
    cancel = schedule(beat, () => {
      tell('WATCHDOG=1');
      beatLater();
    });
  };
  return {
    ready: () => {
      tell('--ready');
      if (beat > 0) beatLater();
    },
    status: (text) => tell(`--status=${escapeControls(text)}`),
    stopping: () => tell('STOPPING=1'),
    close: () => cancel?.(),
  };
}
