// biome-ignore-all lint/a11y/useSemanticElements: rows of a table element cannot be positioned.
// biome-ignore-all lint/a11y/useFocusableInteractive: what is in a cell has the focus, not the cell.
/** The list of devices, of any length: rows of one height, of which those on the screen are in the document. */

import type { Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { useMediaQuery } from '../../media-query.ts';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import type { DeviceOrder } from './device-filter.ts';
import { type DeviceList, MOST_LOADED } from './device-list.ts';
import { PresenceText, StatusBadge } from './device-state.tsx';
import type { ListedDevice } from './fleet-event.ts';
import type { Selection } from './selection.ts';
import { useVisibleRows } from './visible-rows.ts';

/** Pixels; the same in `devices.css`. */
const ROW_HEIGHT = { wide: 41, narrow: 65 } as const;
export const NARROW = '(max-width: 800px)';

export interface DeviceColumn {
  readonly title: string;
  readonly name: string;
  /** The order of the API by this column. */
  readonly sort?: string;
  /** The first click sorts downwards: the newest first. */
  readonly isDownFirst?: boolean;
}

export const COLUMNS: readonly DeviceColumn[] = [
  { title: 'Device', name: 'device', sort: 'id' },
  { title: 'Labels', name: 'labels' },
  { title: 'Group', name: 'group', sort: 'group' },
  { title: 'Status', name: 'status', sort: 'status' },
  { title: 'Last seen', name: 'seen', sort: 'last-seen', isDownFirst: true },
  { title: 'Address', name: 'address', sort: 'address' },
  { title: 'Certificate ends', name: 'expires', sort: 'expires' },
];

export interface DeviceTableProps {
  readonly list: DeviceList;
  /** Without one nothing can be selected. */
  readonly selection: Selection | undefined;
  readonly order: DeviceOrder;
  readonly onOrder: (order: DeviceOrder) => void;
  /** How many devices match; undefined while it is not known. */
  readonly total: number | undefined;
}

export function DeviceTable({ list, selection, order, onOrder, total }: DeviceTableProps) {
  const body = useRef<HTMLDivElement>(null);
  const rowHeight = useMediaQuery(NARROW) ? ROW_HEIGHT.narrow : ROW_HEIGHT.wide;
  const { value: ids } = list.ids;
  const range = useVisibleRows(body, ids.length, rowHeight);
  const { first, end } = range.value;
  const isNearEnd = end >= ids.length - 50;
  const isLoading = list.isLoading.value;
  useEffect(() => {
    if (isNearEnd && !isLoading) void list.loadMore();
  }, [isNearEnd, isLoading, ids.length, list]);
  return (
    <>
      <div
        role="table"
        class={`device-table ${selection === undefined ? '' : 'is-selectable'}`}
        aria-label="Devices"
        aria-rowcount={total === undefined ? -1 : total + 1}
        aria-busy={isLoading}
      >
        <div role="rowgroup" class="device-head">
          <div role="row" aria-rowindex={1} class="device-row">
            {selection !== undefined && (
              <div role="columnheader" class="device-cell-select">
                <SelectAll ids={ids} selection={selection} />
              </div>
            )}
            {COLUMNS.map((column) => (
              <ColumnHeader key={column.name} column={column} order={order} onOrder={onOrder} />
            ))}
          </div>
        </div>
        <div role="rowgroup" ref={body} class="device-body" style={{ height: `${ids.length * rowHeight}px` }}>
          {ids.slice(first, end).map((id, index) => {
            const device = list.device(id);
            return (
              device !== undefined && (
                <Row
                  key={id}
                  device={device}
                  index={first + index}
                  top={(first + index) * rowHeight}
                  selection={selection}
                  list={list}
                />
              )
            );
          })}
        </div>
      </div>
      {ids.length >= MOST_LOADED && !list.isComplete.value && (
        <p class="device-foot soft">
          The first {MOST_LOADED.toLocaleString('en')} devices are shown. Search, or filter, to see others.
        </p>
      )}
    </>
  );
}

function SelectAll({ ids, selection }: { readonly ids: readonly string[]; readonly selection: Selection }) {
  const box = useRef<HTMLInputElement>(null);
  const { size } = selection.ids.value;
  const isAll = ids.length > 0 && size >= ids.length;
  useEffect(() => {
    if (box.current !== null) box.current.indeterminate = size > 0 && !isAll;
  }, [size, isAll]);
  return (
    <label class="device-select">
      <input
        ref={box}
        type="checkbox"
        aria-label="Select all devices that are loaded"
        disabled={ids.length === 0}
        checked={isAll}
        onChange={() => (isAll ? selection.clear() : selection.set(ids))}
      />
    </label>
  );
}

function ColumnHeader(props: {
  readonly column: DeviceColumn;
  readonly order: DeviceOrder;
  readonly onOrder: (order: DeviceOrder) => void;
}) {
  const { column, order, onOrder } = props;
  const { sort } = column;
  const isCurrent = sort === order.sort;
  const direction = isCurrent ? (order.isReversed ? 'descending' : 'ascending') : undefined;
  const toggle = () => {
    if (sort !== undefined) {
      onOrder({ sort, isReversed: isCurrent ? !order.isReversed : column.isDownFirst === true });
    }
  };
  return (
    <div
      role="columnheader"
      class={`device-cell-${column.name}`}
      {...(direction !== undefined && { 'aria-sort': direction })}
    >
      {sort === undefined ? (
        column.title
      ) : (
        <button type="button" class="device-sort" onClick={toggle}>
          {column.title}
          <span aria-hidden="true" class="device-sort-mark">
            {direction === 'ascending' ? '↑' : direction === 'descending' ? '↓' : ''}
          </span>
        </button>
      )}
    </div>
  );
}

interface RowProps {
  readonly device: Signal<ListedDevice>;
  readonly index: number;
  readonly top: number;
  readonly selection: Selection | undefined;
  readonly list: DeviceList;
}

/** Draws when its device changes, and no other row with it. */
function Row({ device: { value: device }, index, top, selection, list }: RowProps) {
  const isSelected = selection?.ids.value.has(device.id) === true;
  const labels = Object.entries(device.labels);
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      class={`device-row ${isSelected ? 'is-selected' : ''}`}
      style={{ transform: `translateY(${top}px)` }}
    >
      {selection !== undefined && (
        <div role="cell" class="device-cell-select">
          <label class="device-select">
            <input
              type="checkbox"
              aria-label={`Select ${device.id}`}
              checked={isSelected}
              onClick={(event) => {
                selection.toggle(device.id, event.currentTarget.checked, event.shiftKey, list.ids.value);
              }}
            />
          </label>
        </div>
      )}
      <div role="cell" class="device-cell-device">
        <a href={`/devices/${encodeURIComponent(device.id)}`}>{device.id}</a>
      </div>
      <div role="cell" class="device-cell-labels">
        {labels.map(([name, value]) => (
          <span key={name} class="device-label">
            <UntrustedText text={`${name}=${value}`} />
          </span>
        ))}
      </div>
      <div role="cell" class="device-cell-group">
        {device.group}
      </div>
      <div role="cell" class="device-cell-status">
        <StatusBadge status={device.status} />
      </div>
      <div role="cell" class="device-cell-seen">
        <PresenceText device={device} />
      </div>
      <div role="cell" class="device-cell-address mono">
        {device.lastAddress}
      </div>
      <div role="cell" class="device-cell-expires">
        {device.certificateEndsAt === undefined ? (
          <span class="soft">none</span>
        ) : (
          <Time at={device.certificateEndsAt} relative />
        )}
      </div>
    </div>
  );
}
