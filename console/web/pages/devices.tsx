import { useComputed, useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { useLocation } from 'preact-iso';
import { api } from '../api.ts';
import { useLiveEvents } from '../live-events.ts';
import { LiveBadge } from '../parts/badge.tsx';
import { Copyable } from '../parts/copyable.tsx';
import { EmptyState, PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import { BulkBar } from './devices/bulk-bar.tsx';
import {
  apiQuery,
  type DeviceFilter,
  type DeviceOrder,
  readFilter,
  readOrder,
  withFilter,
  withoutFilter,
} from './devices/device-filter.ts';
import { DeviceList } from './devices/device-list.ts';
import { DeviceTable } from './devices/device-table.tsx';
import { FilterBar } from './devices/filter-bar.tsx';
import { DEVICE_EVENTS, readFleetEvent } from './devices/fleet-event.ts';
import { Selection } from './devices/selection.ts';
import '../styles/devices.css';

/** How long the first page waits for the live events, so that no change between the two is missed. */
const LIVE_FIRST_MS = 500;
/** A list of at most so many devices is loaded again by itself when devices enrolled. */
const MOST_RELOADED = 500;
const RELOAD_MS = 300;

/** The list that was left last, for the way back to it. */
let left: { readonly key: string; readonly list: DeviceList; readonly scrollY: number } | undefined;

export function Devices() {
  const { url, path, route } = useLocation();
  const own = useRef(url);
  // The address of the next page comes before this one is gone.
  if (path === '/devices') own.current = url;
  const search = new URLSearchParams(own.current.split('?', 2)[1]);
  const filter = readFilter(search);
  const order = readOrder(search);
  const key = JSON.stringify([filter, order]);
  const list = useKeptList(key);
  const selection = useMemo(() => new Selection(), []);
  const go = (next: URLSearchParams) => route(next.size === 0 ? path : `${path}?${next}`, true);
  const change = (changed: Partial<DeviceFilter>) => go(withFilter(new URLSearchParams(location.search), changed));
  const changeOrder = ({ sort, isReversed }: DeviceOrder) => {
    const next = new URLSearchParams(location.search);
    next.delete('sort');
    next.delete('reverse');
    if (sort !== 'id') next.set('sort', sort);
    if (isReversed) next.set('reverse', 'true');
    go(next);
  };
  const total = useResource((signal) => api('GET /v1/device-count', { query: countQuery(filter), signal }), key);
  const live = useLiveList(list, selection, filter, order, key, total.reload);
  const counted = total.data.value;
  const isEmpty = useComputed(
    () => list.ids.value.length === 0 && list.isComplete.value && list.problem.value === undefined,
  );
  const isFiltered = withoutFilter(search).size !== search.size;
  return (
    <>
      <PageHead title="Devices" description={counted === undefined ? ' ' : countText(counted, isFiltered)}>
        <EnrolledButton list={list} onReload={live.reload} />
        <LiveBadge state={live.state} />
      </PageHead>
      <FilterBar
        filter={filter}
        order={order}
        onFilter={change}
        onClear={() => go(withoutFilter(search))}
        onOrder={changeOrder}
      />
      {list.problem.value !== undefined && <ProblemNotice problem={list.problem.value} retry={live.reload} />}
      {isEmpty.value ? (
        <NoDevices isFiltered={isFiltered} onClear={() => go(withoutFilter(search))} />
      ) : (
        <DeviceTable
          list={list}
          selection={mayAct() ? selection : undefined}
          order={order}
          onOrder={changeOrder}
          total={counted === undefined || counted.isAtLeast ? undefined : counted.count}
        />
      )}
      <BulkBar list={list} selection={selection} total={counted?.isAtLeast === true ? undefined : counted?.count} />
    </>
  );
}

/** Going back shows the same list at the same place, and loads it again. */
function useKeptList(key: string): DeviceList {
  // Not in its types: whether a link led here.
  const { wasPush } = useLocation() as { readonly wasPush?: boolean };
  const kept = useMemo(() => (wasPush === false && left?.key === key ? left : undefined), []);
  const list = useMemo(() => kept?.list ?? new DeviceList(), [kept]);
  const current = useRef(key);
  current.current = key;
  useLayoutEffect(() => {
    if (kept !== undefined) scrollTo(0, kept.scrollY);
    return () => {
      left = { key: current.current, list, scrollY };
    };
  }, [kept, list]);
  return list;
}

function countQuery(filter: DeviceFilter) {
  const {
    limit: _limit,
    sort: _sort,
    reverse: _reverse,
    ...criteria
  } = apiQuery(filter, { sort: 'id', isReversed: false }, Date.now());
  return criteria;
}

function countText(
  { count, isAtLeast }: { readonly count: number; readonly isAtLeast: boolean },
  isFiltered: boolean,
): string {
  const number = count.toLocaleString('en');
  const devices = count === 1 ? 'device' : 'devices';
  return `${isAtLeast ? `${number} ${devices} or more` : `${number} ${devices}`}${isFiltered ? (count === 1 ? ' matches' : ' match') : ''}`;
}

/** Loads the list when its query changes, and has live events change it. */
function useLiveList(
  list: DeviceList,
  selection: Selection,
  filter: DeviceFilter,
  order: DeviceOrder,
  key: string,
  onCountChange: () => void,
) {
  const openKey = useRef<string | undefined>(list.ids.value.length > 0 ? key : undefined);
  const query = useRef(() => apiQuery(filter, order, Date.now()));
  query.current = () => apiQuery(filter, order, Date.now());
  const reload = () => {
    const isSame = openKey.current === key;
    openKey.current = key;
    void list.open(query.current(), isSame);
  };
  const current = useRef(reload);
  current.current = reload;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const state = useLiveEvents('/v1/events/follow', DEVICE_EVENTS, {
    onEvent: (data, type) => {
      const event = readFleetEvent(data, type);
      list.receive(event);
      if (type === 'enroll.enrolled' || type === 'device.deleted') {
        timer.current ??= setTimeout(() => {
          timer.current = undefined;
          onCountChange();
          if (list.ids.value.length <= MOST_RELOADED) current.current();
        }, RELOAD_MS);
      }
    },
    onGap: () => current.current(),
  });
  const isReady = useSignal(false);
  const isLive = state.value === 'live';
  useEffect(() => {
    // What changed while the events were interrupted is in the list of the server.
    if (isLive && isReady.peek()) current.current();
    if (isLive) isReady.value = true;
    const patience = setTimeout(() => {
      isReady.value = true;
    }, LIVE_FIRST_MS);
    return () => clearTimeout(patience);
  }, [isLive, isReady]);
  useEffect(() => {
    if (!isReady.value) return;
    if (openKey.current !== undefined && openKey.current !== key) {
      selection.clear();
      scrollTo(0, 0);
    }
    current.current();
  }, [key, isReady.value, selection]);
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      list.close();
    },
    [list],
  );
  return { state: state.value, reload: () => current.current() };
}

/** A long list does not change under the reader: this adds what enrolled. */
function EnrolledButton(props: { readonly list: DeviceList; readonly onReload: () => void }) {
  const { size } = props.list.enrolled.value;
  if (size === 0 || props.list.ids.value.length <= MOST_RELOADED) return null;
  return (
    <button type="button" onClick={props.onReload}>
      {size === 1 ? '1 device enrolled' : `${size} devices enrolled`}: load again
    </button>
  );
}

function NoDevices(props: { readonly isFiltered: boolean; readonly onClear: () => void }) {
  if (props.isFiltered) {
    return (
      <EmptyState title="No device matches">
        <button type="button" onClick={props.onClear}>
          Clear all filters
        </button>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No device is enrolled yet">
      <p>
        A device enrolls with a bootstrap token. Create one, and start the device with it; it appears here by itself.
      </p>
      <a class="button primary" href="/tokens">
        Go to tokens
      </a>
      <Copyable text="rollcall token create" label="the command" />
    </EmptyState>
  );
}
