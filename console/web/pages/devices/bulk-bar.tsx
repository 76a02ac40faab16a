/** What can be done with the selected devices. */

import { useSignal } from '@preact/signals';
import { announce } from '../../parts/messages.tsx';
import { mayAct } from '../../session.ts';
import { type DeviceList, MOST_LOADED } from './device-list.ts';
import { countOf, OperationDialog } from './operation-dialog.tsx';
import { OPERATION_ORDER, OPERATIONS, type OperationKind, type OperationResult } from './operations.ts';
import type { Selection } from './selection.ts';
import { SettingsDialog } from './settings-dialog.tsx';

interface BulkBarProps {
  readonly list: DeviceList;
  readonly selection: Selection;
  /** How many devices match the filter; undefined while it is not known. */
  readonly total: number | undefined;
}

export function BulkBar({ list, selection, total }: BulkBarProps) {
  const open = useSignal<OperationKind | 'settings' | undefined>(undefined);
  const isSelectingAll = useSignal(false);
  const { value: ids } = selection.ids;
  const close = () => {
    open.value = undefined;
  };
  const selectAll = async () => {
    isSelectingAll.value = true;
    await list.loadAll();
    isSelectingAll.value = false;
    selection.set(list.ids.value);
    if (!list.isComplete.value)
      announce(`The first ${countOf(MOST_LOADED)} are selected: that is the most for one operation.`);
  };
  const devices = [...ids].flatMap((id) => list.device(id)?.value ?? []);
  const isAll = list.isComplete.value && ids.size >= list.ids.value.length;
  return (
    <>
      {ids.size > 0 && mayAct() && (
        <section class="device-bulk-bar" aria-label="Selected devices">
          <strong aria-live="polite">{ids.size.toLocaleString('en')} selected</strong>
          {!isAll && (
            <button type="button" class="plain" disabled={isSelectingAll.value} onClick={selectAll}>
              {isSelectingAll.value
                ? 'Selecting …'
                : `Select all${total === undefined ? '' : ` ${total.toLocaleString('en')}`} that match`}
            </button>
          )}
          <div class="row device-bulk-acts">
            <button
              type="button"
              onClick={() => {
                open.value = 'settings';
              }}
            >
              Settings
            </button>
            {OPERATION_ORDER.map((kind) => (
              <button
                key={kind}
                type="button"
                class={OPERATIONS[kind].isFinal ? 'danger' : ''}
                onClick={() => {
                  open.value = kind;
                }}
              >
                {OPERATIONS[kind].title}
              </button>
            ))}
            <button type="button" class="plain" aria-label="Clear the selection" onClick={() => selection.clear()}>
              Clear
            </button>
          </div>
        </section>
      )}
      {open.value === 'settings' && (
        <SettingsDialog ids={[...ids]} onChanged={(id, settings) => list.change([id], settings)} onClose={close} />
      )}
      {open.value !== undefined && open.value !== 'settings' && (
        <OperationDialog
          kind={open.value}
          devices={devices}
          onDone={(result) => showResult(list, selection, result)}
          onClose={close}
        />
      )}
    </>
  );
}

function showResult(list: DeviceList, selection: Selection, { devices }: OperationResult): void {
  for (const { device, status, at } of devices) {
    if (status === 'deleted') list.remove(device);
    else list.change([device], { status, ...(status === 'revoked' && { revokedAt: at }) });
  }
  selection.set([...selection.ids.value].filter((id) => list.device(id) !== undefined));
}
