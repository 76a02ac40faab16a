/** When a device was connected in the last 24 hours, as a bar. */

import type { FleetEvent } from '../devices/fleet-event.ts';

const SPAN_MS = 86_400_000;

interface Session {
  readonly from: number;
  readonly to: number;
}

/** Sessions by their begins and ends. Times are milliseconds since the epoch. */
export function sessionsOf(
  events: readonly FleetEvent[],
  onlineSince: number | undefined,
  now: number,
): readonly Session[] {
  const start = now - SPAN_MS;
  const sessions = events.flatMap(({ type, time, data }): Session[] => {
    if (type !== 'presence.disconnected') return [];
    const to = Date.parse(time);
    return [{ from: Math.max(start, to - (typeof data.connectedMs === 'number' ? data.connectedMs : 0)), to }];
  });
  const open = onlineSince === undefined ? [] : [{ from: Math.max(start, onlineSince), to: now }];
  return [...sessions, ...open].filter(({ to }) => to > start);
}

export function PresenceBar(props: {
  readonly events: readonly FleetEvent[];
  readonly onlineSince: string | undefined;
}) {
  const now = Date.now();
  const since = props.onlineSince === undefined ? undefined : Date.parse(props.onlineSince);
  const sessions = sessionsOf(props.events, since, now);
  const online = sessions.reduce((sum, { from, to }) => sum + to - from, 0);
  const share = Math.min(100, (100 * online) / SPAN_MS);
  const text =
    share === 0 ? 'Not connected' : share < 1 ? 'Connected for less than 1 %' : `Connected for ${Math.round(share)} %`;
  const left = (at: number) => `min(${(100 * (at - now + SPAN_MS)) / SPAN_MS}%, 100% - 2px)`;
  return (
    <div>
      <div class="presence-bar" role="img" aria-label={`${text} of the last 24 hours`}>
        {sessions.map(({ from, to }) => (
          <span
            key={`${from} ${to}`}
            style={{ left: left(from), width: `max(2px, ${(100 * (to - from)) / SPAN_MS}%)` }}
          />
        ))}
      </div>
      <div class="presence-scale small soft">
        <span>24 hours ago</span>
        <span>{text}</span>
        <span>now</span>
      </div>
    </div>
  );
}
