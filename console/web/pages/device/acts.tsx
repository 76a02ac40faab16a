/** The operations on one device, and the proof of the last one with what happened to the device since. */

import { type Signal, useSignal } from '@preact/signals';
import { OperationProof } from '../../parts/operation-proof.tsx';
import { Panel } from '../../parts/panel.tsx';
import { useQueryState } from '../../query-state.ts';
import { mayAct } from '../../session.ts';
import { OperationDialog } from '../devices/operation-dialog.tsx';
import { OPERATION_ORDER, OPERATIONS, type OperationKind, type OperationResult } from '../devices/operations.ts';
import type { DeviceDetail } from './device-detail.ts';
import type { DeviceEvents } from './device-events.ts';
import { Timeline } from './timeline.tsx';

export interface LastAct {
  readonly result: OperationResult;
  /** Events that were known when it began. */
  readonly eventsBefore: number;
}

interface ActsProps {
  readonly device: Pick<DeviceDetail, 'id' | 'status' | 'online'>;
  readonly events: DeviceEvents;
  readonly last: Signal<LastAct | undefined>;
  readonly onDone: () => void;
}

export function Acts({ device, events, last, onDone }: ActsProps) {
  const [open, setOpen] = useQueryState('act');
  const eventsBefore = useSignal(0);
  if (!mayAct()) return null;
  const possible = OPERATION_ORDER.filter(
    (kind) => OPERATIONS[kind].statuses.includes(device.status) && (kind !== 'disconnect' || device.online),
  );
  const kind = OPERATION_ORDER.find((one) => one === open);
  return (
    <>
      {possible.map((one: OperationKind) => (
        <button
          key={one}
          type="button"
          class={OPERATIONS[one].isFinal ? 'danger' : ''}
          onClick={() => {
            eventsBefore.value = events.events.value.length;
            setOpen(one);
          }}
        >
          {OPERATIONS[one].title}
        </button>
      ))}
      {kind !== undefined && (
        <OperationDialog
          kind={kind}
          devices={[device]}
          onDone={(result) => {
            last.value = { result, eventsBefore: eventsBefore.value };
            setOpen('');
            onDone();
          }}
          onClose={() => setOpen('')}
        />
      )}
    </>
  );
}

/** What the server and each broker confirmed, and what the device does now: it may try to come back. */
export function LastActProof(props: { readonly last: Signal<LastAct | undefined>; readonly events: DeviceEvents }) {
  const act = props.last.value;
  if (act === undefined) return null;
  const since = props.events.events.value.slice(act.eventsBefore);
  return (
    <>
      <OperationProof answer={act.result} />
      <Panel title="Since then" actions={<CloseProof last={props.last} />}>
        {since.length === 0 ? (
          <p class="soft" role="status">
            Waiting for what the device does
          </p>
        ) : (
          <Timeline events={since} label="Events since the operation, newest first" />
        )}
      </Panel>
    </>
  );
}

function CloseProof({ last }: { readonly last: Signal<LastAct | undefined> }) {
  return (
    <button
      type="button"
      onClick={() => {
        last.value = undefined;
      }}
    >
      Close the proof
    </button>
  );
}
