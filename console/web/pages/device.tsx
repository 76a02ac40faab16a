import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { useRoute } from 'preact-iso';
import { api } from '../api.ts';
import { LiveBadge } from '../parts/badge.tsx';
import { EmptyState, PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { useQueryState } from '../query-state.ts';
import { useResource } from '../resource.ts';
import '../styles/devices.css';
import { Acts, type LastAct, LastActProof } from './device/acts.tsx';
import './device/device.css';
import { AuditTab } from './device/audit-tab.tsx';
import { CommandsTab } from './device/commands-tab.tsx';
import type { DeviceDetail } from './device/device-detail.ts';
import { type DeviceEvents, useDeviceEvents } from './device/device-events.ts';
import { OverviewTab } from './device/overview-tab.tsx';
import { RefusalsTab } from './device/refusals-tab.tsx';
import { RightsTab } from './device/rights-tab.tsx';
import { SettingsTab } from './device/settings-tab.tsx';
import { TelemetryTab } from './device/telemetry-tab.tsx';
import { TwinTab } from './device/twin-tab.tsx';
import { PresenceText, StatusBadge } from './devices/device-state.tsx';

const TABS = [
  ['overview', 'Overview'],
  ['telemetry', 'Telemetry'],
  ['commands', 'Commands'],
  ['twin', 'Twin'],
  ['rights', 'Rights'],
  ['refusals', 'Refusals'],
  ['audit', 'Audit'],
  ['settings', 'Settings'],
] as const;

/** Events of a device come in groups: it is loaded again once for each group. */
const RELOAD_MS = 200;

/** One device, under `/devices/:id`. */
export function Device() {
  const { id = '' } = useRoute().params;
  return <OneDevice key={id} id={id} />;
}

function OneDevice({ id }: { readonly id: string }) {
  const device = useResource((signal) => api('GET /v1/devices/:id', { params: { id }, signal }), id);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const reloadSoon = () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      device.reload();
    }, RELOAD_MS);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  const events = useDeviceEvents(id, reloadSoon);
  const last = useSignal<LastAct | undefined>(undefined);
  const { reload } = device;
  const isLive = events.state.value === 'live';
  useEffect(() => {
    // What changed before the events came is in the answer of the server.
    if (isLive) reload();
  }, [isLive, reload]);
  const problem = device.problem.value;
  const isUnknown = problem?.code === 'device_unknown' || problem?.code === 'request_invalid';
  const known = isUnknown ? undefined : device.data.value;
  return (
    <>
      <PageHead title={id} description={<a href="/devices">All devices</a>}>
        {known !== undefined && (
          <>
            <StatusBadge status={known.status} />
            <PresenceText device={known} />
            <LiveBadge state={events.state.value} />
          </>
        )}
      </PageHead>
      {known !== undefined && (
        <div class="row device-acts">
          <Acts device={known} events={events} last={last} onDone={device.reload} />
        </div>
      )}
      <LastActProof last={last} events={events} />
      {problem !== undefined && !isUnknown && <ProblemNotice problem={problem} retry={device.reload} />}
      {isUnknown && (
        <EmptyState title="There is no such device">
          <p>It never enrolled, or it was deleted.</p>
          <a class="button" href="/devices">
            Go to all devices
          </a>
        </EmptyState>
      )}
      {problem?.code === 'device_unknown' && <RefusalsTab id={id} events={events} />}
      {known !== undefined && <Views device={known} events={events} onChanged={device.reload} />}
    </>
  );
}

interface ViewsProps {
  readonly device: DeviceDetail;
  readonly events: DeviceEvents;
  readonly onChanged: () => void;
}

function Views({ device, events, onChanged }: ViewsProps) {
  const [tab] = useQueryState('tab', 'overview');
  return (
    <>
      <Tabs label="Views of the device" name="tab" tabs={TABS} />
      {tab === 'overview' && <OverviewTab device={device} events={events} />}
      {tab === 'telemetry' && <TelemetryTab id={device.id} />}
      {tab === 'commands' && <CommandsTab id={device.id} />}
      {tab === 'twin' && <TwinTab id={device.id} />}
      {tab === 'rights' && <RightsTab device={device} />}
      {tab === 'refusals' && <RefusalsTab id={device.id} events={events} />}
      {tab === 'audit' && <AuditTab id={device.id} change={String(device.audit[0]?.id)} />}
      {tab === 'settings' && <SettingsTab id={device.id} onChanged={onChanged} />}
    </>
  );
}
