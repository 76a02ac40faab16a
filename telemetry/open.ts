/** The embedded telemetry: intake, two threads and followers behind the interface of `telemetry.ts`. */

import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import { type Packed, pack, transferOf, unpack } from './packed.ts';
import type { LastCall, QueryCall } from './reader-thread.ts';
import type { Appended } from './segment.ts';
import type { Telemetry } from './telemetry.ts';
import { Thread } from './thread.ts';

export interface TelemetryOptions {
  /** Where the journal lies; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
}

/** Payload bytes of one answer. More is refused instead of cut, so that no answer looks complete and isn't. */
export const ANSWER_BYTES = 16_777_216;

const LONGEST_PAGE = 10_000;

interface SetAside {
  readonly setAside: readonly string[];
}

/** Throws Problem `data_directory_unusable` or `database_newer`. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { directory, log, now } = options;
  const died = (error: unknown) => log.error({ err: error }, 'telemetry thread ended');
  const thread = (name: string) => new Thread({ program: new URL(name, import.meta.url), opening: directory, died });
  const writer = thread('./writer-thread.ts');
  const reader = thread('./reader-thread.ts');
  const followers = new Followers(log);
  const tellDamage = ({ setAside }: SetAside) => {
    for (const file of setAside) log.error({ file }, 'a damaged telemetry segment was set aside');
  };
  tellDamage((await writer.open()) as SetAside);

  const intake = new Intake({
    limits: { ...INTAKE_LIMITS, ...options.limits },
    now,
    log,
    write: async (messages) => {
      const batch = pack(messages);
      const appended = await writer.call<Appended & SetAside>('append', batch, transferOf(batch));
      tellDamage(appended);
      followers.tell(messages, appended.first, appended.repeated);
      return appended;
    },
  });
  let closing: Promise<void> | undefined;

  const ask = async (name: string, call: QueryCall | LastCall) => unpack(await reader.call<Packed>(name, call));

  return {
    accept: (message) => intake.accept(message),
    onPressure: (listener) => intake.onPressure(listener),
    counters: () => intake.counters(),
    query: async ({ device, stream, since, limit }) => {
      if (!Number.isInteger(limit) || limit < 1 || limit > LONGEST_PAGE) {
        throw new Problem('request_invalid', {
          detail: `expected a limit of 1 to ${LONGEST_PAGE}, found ${Number(limit)}`,
        });
      }
      const wanted = { device, stream, since: since ?? 0, until: Number.MAX_SAFE_INTEGER };
      return ask('query', { wanted, limit, mostBytes: ANSWER_BYTES });
    },
    last: (device) => ask('last', { device, mostBytes: ANSWER_BYTES }),
    follow: (device, listener) => followers.add(device, listener),
    close: () => {
      closing ??= (async () => {
        await intake.close();
        await Promise.all([writer.close(), reader.close()]);
      })();
      return closing;
    },
  };
}
