/** The status and the presence of a device, as lists and the page of a device show them. */

import { Badge } from '../../parts/badge.tsx';
import { Time } from '../../parts/time.tsx';
import type { ListedDevice } from './fleet-event.ts';

type Presence = Pick<ListedDevice, 'broker' | 'online' | 'lastSeenAt' | 'connectedAt' | 'lastDisconnect'>;

const STATUS_TONES = { suspended: 'warn', quarantined: 'warn', revoked: 'bad' } as const;

/** Most devices are active, which needs no attention. */
export function StatusBadge(props: { readonly status: ListedDevice['status'] }) {
  if (props.status === 'active') return <span class="soft">active</span>;
  return <Badge tone={STATUS_TONES[props.status]}>{props.status}</Badge>;
}

/** The name of a server that shares its store with no other. */
const ALONE = 'main';

/** Online, with the node where there are several, or when it was seen last. */
export function PresenceText({ device }: { readonly device: Presence }) {
  if (device.online) {
    const { broker = ALONE } = device;
    return (
      <>
        <Badge tone="good">online</Badge>
        {broker !== ALONE && <span class="soft small"> {broker}</span>}
      </>
    );
  }
  if (device.lastSeenAt === undefined) return <span class="soft">never connected</span>;
  return (
    <span class="soft">
      <Time at={device.lastSeenAt} relative />
    </span>
  );
}
