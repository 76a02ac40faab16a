/** The status and the presence of a device, as lists and the page of a device show them. */

import { Badge } from '../../parts/badge.tsx';
import { Time } from '../../parts/time.tsx';
import type { ListedDevice } from './fleet-event.ts';

type Presence = Pick<ListedDevice, 'online' | 'lastSeenAt' | 'connectedAt' | 'lastDisconnect'>;

const STATUS_TONES = { suspended: 'warn', quarantined: 'warn', revoked: 'bad' } as const;

/** Most devices are active, which needs no attention. */
export function StatusBadge(props: { readonly status: ListedDevice['status'] }) {
  if (props.status === 'active') return <span class="soft">active</span>;
  return <Badge tone={STATUS_TONES[props.status]}>{props.status}</Badge>;
}

/** Online, or when it was seen last. */
export function PresenceText({ device }: { readonly device: Presence }) {
  if (device.online) return <Badge tone="good">online</Badge>;
  if (device.lastSeenAt === undefined) return <span class="soft">never connected</span>;
  return (
    <span class="soft">
      <Time at={device.lastSeenAt} relative />
    </span>
  );
}
