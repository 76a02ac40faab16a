/** The events of one device: the newest that are stored, and those that come. */

import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { api } from '../../api.ts';
import { type LiveState, useLiveEvents } from '../../live-events.ts';
import { type Resource, useResource } from '../../resource.ts';
import { type FleetEvent, readFleetEvent } from '../devices/fleet-event.ts';
import { ONE_DEVICE_EVENTS } from './event-words.ts';

export interface DeviceEvents {
  /** Oldest first. */
  readonly events: Signal<readonly FleetEvent[]>;
  readonly stored: Pick<Resource<unknown>, 'problem' | 'isLoading' | 'reload'>;
  readonly state: Signal<LiveState>;
}

const DAYS = 7;
const MOST = 500;

/** `onEvent` is called for each event that comes. */
export function useDeviceEvents(id: string, onEvent: (event: FleetEvent) => void): DeviceEvents {
  const events = useSignal<readonly FleetEvent[]>([]);
  /** Since the stored ones were asked for. */
  const arrived = useRef<FleetEvent[]>([]);
  const stored = useResource(async (signal) => {
    arrived.current = [];
    const since = new Date(Date.now() - DAYS * 86_400_000).toISOString();
    const found = await api('GET /v1/events', { query: { device: id as never, since, limit: MOST }, signal });
    const read = found.map((event) => readFleetEvent(event, event.type.replace(/^fleet\./, '')));
    const known = new Set(read.map((event) => event.id));
    events.value = [...read, ...arrived.current.filter((event) => !known.has(event.id))];
  }, id);
  const state = useLiveEvents(`/v1/events/follow?device=${encodeURIComponent(id)}`, ONE_DEVICE_EVENTS, {
    onEvent: (data, type) => {
      const event = readFleetEvent(data, type);
      arrived.current = [...arrived.current, event].slice(-2 * MOST);
      events.value = [...events.value, event].slice(-2 * MOST);
      onEvent(event);
    },
    onGap: stored.reload,
  });
  const { reload } = stored;
  const isLive = state.value === 'live';
  useEffect(() => {
    // What happened before the events came is among the stored ones.
    if (isLive) reload();
  }, [isLive, reload]);
  return { events, stored, state };
}
