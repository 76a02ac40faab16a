/** Asks for an operation on devices: a dry run first, then the confirmation, then the operation with its proof. */

import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { useAct } from '../../act.ts';
import { Confirmation, Dialog } from '../../parts/dialog.tsx';
import { OperationProof } from '../../parts/operation-proof.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Reason, ReasonField } from '../../parts/reason-field.tsx';
import { Table } from '../../parts/table.tsx';
import { useResource } from '../../resource.ts';
import type { ListedDevice } from './fleet-event.ts';
import { dryRun, OPERATIONS, type OperationKind, type OperationResult, perform } from './operations.ts';

/** Shown of a result. */
const MOST_ROWS = 100;

interface OperationDialogProps {
  readonly kind: OperationKind;
  readonly devices: readonly Pick<ListedDevice, 'id' | 'status'>[];
  /** Called once, when the operation was done. */
  readonly onDone: (result: OperationResult) => void;
  readonly onClose: () => void;
}

export function countOf(count: number): string {
  return `${count.toLocaleString('en')} ${count === 1 ? 'device' : 'devices'}`;
}

export function OperationDialog({ kind, devices, onDone, onClose }: OperationDialogProps) {
  const { title, statuses } = OPERATIONS[kind];
  const result = useSignal<OperationResult | undefined>(undefined);
  // Those of the begin: they change their status when the operation is done.
  const { current: ids } = useRef(devices.filter(({ status }) => statuses.includes(status)).map(({ id }) => id));
  const heading = devices.length === 1 ? `${title} ${devices[0]?.id}` : `${title} ${countOf(ids.length)}`;
  if (result.value !== undefined) {
    return (
      <Dialog title={heading} onClose={onClose}>
        <OperationProof answer={result.value} />
        {result.value.devices.length > 1 && <EachDevice devices={result.value.devices} />}
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  if (ids.length === 0) {
    return (
      <Dialog title={title} onClose={onClose}>
        <p>
          {devices.length === 1 ? 'This device is' : 'All selected devices are'} in a status that this does not change.
        </p>
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  const done = (answer: OperationResult) => {
    result.value = answer;
    onDone(answer);
  };
  return <OperationForm kind={kind} title={heading} ids={ids} total={devices.length} onDone={done} onClose={onClose} />;
}

function OperationForm(props: {
  readonly kind: OperationKind;
  readonly title: string;
  readonly ids: readonly string[];
  readonly total: number;
  readonly onDone: (result: OperationResult) => void;
  readonly onClose: () => void;
}) {
  const { kind, ids, total } = props;
  const { title, meaning, isFinal } = OPERATIONS[kind];
  const reason = useSignal<Reason>('unspecified');
  const { run, problem } = useAct();
  const order = { kind, ids, reason: reason.value };
  const selected = useResource((signal) => dryRun(order, signal), `${kind} ${reason.value}`);
  const selection = selected.data.value;
  const act = async () => {
    if (selection === undefined) return;
    const result = await run((key) => perform(order, selection.confirmation, key));
    if (result === undefined) selected.reload();
    else props.onDone(result);
  };
  const shown = problem.value ?? selected.problem.value;
  return (
    <Confirmation
      title={props.title}
      action={title}
      isHarmless={!isFinal}
      isReady={selection !== undefined && !selected.isLoading.value}
      {...(isFinal && { typed: typedText(selection?.confirmation, ids) })}
      act={act}
      onClose={props.onClose}
    >
      <p>{meaning}</p>
      {selection !== undefined && (
        <p aria-live="polite">
          {selection.count === 1 ? '1 device changes' : `${selection.count.toLocaleString('en')} devices change`}
          {total > selection.count &&
            `; ${total - selection.count} of the selected are in a status that this does not change`}
          .
        </p>
      )}
      {ids.length > 1 && (
        <p class="small soft break">
          {ids.slice(0, 5).join(', ')}
          {ids.length > 5 && ` and ${(ids.length - 5).toLocaleString('en')} more`}
        </p>
      )}
      {kind === 'revoke' && <ReasonField value={reason} />}
      {shown !== undefined && <ProblemNotice problem={shown} />}
    </Confirmation>
  );
}

/** Of one device its id; of several the operation and their number, as the confirmation of the dry run begins. */
function typedText(confirmation: string | undefined, ids: readonly string[]): string {
  if (ids.length === 1) return ids[0] as string;
  return /^[a-z]+-\d+/.exec(confirmation ?? '')?.[0] ?? '…';
}

function EachDevice({ devices }: Pick<OperationResult, 'devices'>) {
  return (
    <>
      <Table
        caption="Devices"
        rows={devices.slice(0, MOST_ROWS)}
        keyOf={({ device }) => device}
        columns={[
          { title: 'Device', cell: ({ device }) => device },
          { title: 'Status', cell: ({ status }) => status },
          { title: 'Sessions closed', cell: (device) => device.sessionsClosed, isNumber: true },
          { title: 'Certificates revoked', cell: ({ serials }) => serials.length, isNumber: true },
        ]}
      />
      {devices.length > MOST_ROWS && (
        <p class="small soft">The first {MOST_ROWS} are shown; the audit has all of them.</p>
      )}
    </>
  );
}
