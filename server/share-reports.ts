/** Reports a device or group that is over its share of the journal: one event and one log line per day and name. */

import { type DeviceId, parseDeviceId } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Telemetry } from '../telemetry/index.ts';
import type { EventLog } from './events/event-log.ts';

export interface ShareReportsOptions {
  readonly telemetry: Pick<Telemetry, 'shares'>;
  readonly events: Pick<EventLog, 'record'>;
  readonly log: Logger;
}

export function reportOverShare({ telemetry, events, log }: ShareReportsOptions): void {
  telemetry.shares.listen({
    exceeded({ at, kind, name, storedBytes, shareBytes, cause }) {
      const id: DeviceId | undefined = kind === 'device' ? parseDeviceId(name) : undefined;
      const data = { storedBytes, shareBytes, cause, ...(kind === 'group' && { group: name }) };
      log.warn({ [kind]: name, storedBytes, shareBytes, cause }, 'telemetry is held: over its share of the day');
      events.record({
        type: 'device.over_share',
        at,
        component: 'telemetry',
        subject: id === undefined ? undefined : { kind: 'device', id },
        data,
      });
    },
  });
}
