import { Facts } from '../../parts/facts.tsx';
import { NodeOutcomes } from '../../parts/node-outcomes.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { Unanswered } from '../../parts/unanswered.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { PresenceText, StatusBadge } from '../devices/device-state.tsx';
import type { DeviceDetail } from './device-detail.ts';
import type { DeviceEvents } from './device-events.ts';
import { Lineage } from './lineage.tsx';
import { PresenceBar } from './presence-bar.tsx';
import { Timeline } from './timeline.tsx';

const MOST_EVENTS = 100;

/** What the device is, where it comes from, and what happened to it. */
export function OverviewTab({ device, events }: { readonly device: DeviceDetail; readonly events: DeviceEvents }) {
  const { session, lastDisconnect, lastChange } = device;
  const onlineSince = device.online ? (session?.connectedAt ?? device.connectedAt) : undefined;
  const all = events.events.value;
  return (
    <>
      <Unanswered nodes={device.unanswered} />
      <div class="columns">
        <Panel title="Identity">
          <Facts
            facts={[
              ['Status', <StatusBadge status={device.status} />],
              ['Since', device.restrictedAt === undefined ? undefined : <Time at={device.restrictedAt} />],
              ['Revoked', device.revokedAt === undefined ? undefined : <Time at={device.revokedAt} />],
              ['Reason', device.revocationReason],
              ['Group', <a href={`/devices?group=${encodeURIComponent(device.group)}`}>{device.group}</a>],
              ['Labels', <Labels labels={device.labels} />],
              [
                'Certificate ends',
                device.certificateEndsAt === undefined ? (
                  'no valid certificate'
                ) : (
                  <Time at={device.certificateEndsAt} />
                ),
              ],
              ['Last change confirmed by', lastChange === undefined ? undefined : <LastChange change={lastChange} />],
            ]}
          />
        </Panel>
        <Panel title="Connection">
          <Facts
            facts={[
              ['Presence', <PresenceText device={device} />],
              ['Connected', onlineSince === undefined ? undefined : <Time at={onlineSince} />],
              ['Address', device.lastAddress === undefined ? undefined : <code>{device.lastAddress}</code>],
              ['Node', session?.node ?? device.broker],
              ['Certificate', session === undefined ? undefined : <code>{session.serial}</code>],
              ['MQTT', device.mqttVersion],
              ['SDK', device.sdkVersion === undefined ? undefined : <UntrustedText text={device.sdkVersion} />],
              [
                'Last disconnect',
                lastDisconnect === undefined ? undefined : (
                  <>
                    {lastDisconnect.reason.replaceAll('_', ' ')}, <Time at={lastDisconnect.at} />
                  </>
                ),
              ],
            ]}
          />
        </Panel>
      </div>
      <Panel title="The last seven days">
        <PresenceBar events={all} onlineSince={onlineSince} />
        {events.stored.problem.value !== undefined && (
          <ProblemNotice problem={events.stored.problem.value} retry={events.stored.reload} />
        )}
        {all.length === 0 ? (
          <p class="soft">No event of this device is stored.</p>
        ) : (
          <Timeline events={all.slice(-MOST_EVENTS)} label="Events, newest first" />
        )}
      </Panel>
      <Lineage device={device} />
    </>
  );
}

/** Nodes confirm later, too: the device is loaded again when something happens to it. */
function LastChange({ change }: { readonly change: NonNullable<DeviceDetail['lastChange']> }) {
  const { act, at, nodes } = change;
  return (
    <>
      <NodeOutcomes nodes={nodes} confirmed={nodes.filter(({ state }) => state === 'confirmed').length} />
      <div class="soft">
        {act}, <Time at={at} />
      </div>
    </>
  );
}

function Labels({ labels }: { readonly labels: DeviceDetail['labels'] }) {
  const pairs = Object.entries(labels);
  if (pairs.length === 0) return <span class="soft">none</span>;
  return (
    <span class="row">
      {pairs.map(([name, value]) => (
        <a key={name} class="device-label" href={`/devices?label=${encodeURIComponent(`${name}=${value}`)}`}>
          <UntrustedText text={`${name}=${value}`} />
        </a>
      ))}
    </span>
  );
}
