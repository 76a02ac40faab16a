/** Search, filters and the filters that apply now. */

import { useSignal } from '@preact/signals';
import { useEffect, useId, useRef } from 'preact/hooks';
import { Field } from '../../parts/field.tsx';
import { appliedCriteria, type DeviceFilter, type DeviceOrder, readSearch } from './device-filter.ts';
import { COLUMNS } from './device-table.tsx';

interface FilterBarProps {
  readonly filter: DeviceFilter;
  readonly order: DeviceOrder;
  readonly onFilter: (change: Partial<DeviceFilter>) => void;
  readonly onClear: () => void;
  readonly onOrder: (order: DeviceOrder) => void;
}

const TYPING_MS = 250;
/** Texts that the API searches for; others wait for the Enter key, as they may become a label or an address. */
const SEARCHABLE = /^[A-Za-z0-9._-]{0,64}$/;

export function FilterBar({ filter, order, onFilter, onClear, onOrder }: FilterBarProps) {
  const isOpen = useSignal(false);
  const more = useId();
  const applied = appliedCriteria(filter);
  return (
    <div class="device-filters">
      <div class="device-filter-bar">
        <SearchBox filter={filter} onFilter={onFilter} />
        <Choice
          title="Status"
          value={filter.status}
          choices={[
            ['', 'Any status'],
            ['active', 'Active'],
            ['suspended', 'Suspended'],
            ['quarantined', 'Quarantined'],
            ['revoked', 'Revoked'],
          ]}
          onChange={(status) => onFilter({ status })}
        />
        <Choice
          title="Presence"
          value={filter.online}
          choices={[
            ['', 'Online or not'],
            ['true', 'Online'],
            ['false', 'Offline'],
          ]}
          onChange={(online) => onFilter({ online })}
        />
        <button
          type="button"
          aria-expanded={isOpen.value}
          aria-controls={more}
          onClick={() => {
            isOpen.value = !isOpen.value;
          }}
        >
          More filters
        </button>
        <div class="device-only-narrow">
          <Choice
            title="Order"
            value={`${order.sort}${order.isReversed ? '-reversed' : ''}`}
            choices={ORDERS}
            onChange={(text) => {
              const isReversed = text.endsWith('-reversed');
              onOrder({ sort: isReversed ? text.slice(0, -'-reversed'.length) : text, isReversed });
            }}
          />
        </div>
      </div>
      <div id={more} hidden={!isOpen.value}>
        <MoreFilters filter={filter} onFilter={onFilter} />
      </div>
      {applied.length > 0 && (
        <ul class="device-applied" aria-label="Filters that apply">
          {applied.map(({ title, value, without }) => (
            <li key={`${title} ${value}`}>
              <button
                type="button"
                onClick={() => onFilter(without)}
                aria-label={`Remove the filter ${title} ${value}`}
              >
                <span class="soft">{title}</span> {value} <span aria-hidden="true">×</span>
              </button>
            </li>
          ))}
          <li>
            <button type="button" class="plain" onClick={onClear}>
              Clear all
            </button>
          </li>
        </ul>
      )}
    </div>
  );
}

const ORDERS = COLUMNS.flatMap(({ sort, title, isDownFirst }): (readonly [string, string])[] => {
  if (sort === undefined) return [];
  const [up, down]: readonly [string, string] =
    isDownFirst === true ? ['oldest first', 'newest first'] : ['up', 'down'];
  return [
    [sort, `${title}, ${up}`],
    [`${sort}-reversed`, `${title}, ${down}`],
  ];
});

function SearchBox({ filter, onFilter }: Pick<FilterBarProps, 'filter' | 'onFilter'>) {
  const text = useSignal(filter.text ?? '');
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // The address changed by another way than this box.
  useEffect(() => {
    text.value = filter.text ?? '';
  }, [filter.text, text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (change: Partial<DeviceFilter>) => {
    clearTimeout(timer.current);
    onFilter(change);
  };
  return (
    <search class="device-search">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const change = readSearch(text.value, filter.labels);
          if (change.text === '') text.value = '';
          send(change);
        }}
      >
        <input
          type="search"
          aria-label="Search devices"
          placeholder="Id, word, label=value or address"
          title="Ids and values of labels that begin with the text. Enter after site=hall-3 filters by a label, after 10.1.0.0/16 by an address."
          value={text}
          onInput={(event) => {
            const typed = event.currentTarget.value;
            text.value = typed;
            clearTimeout(timer.current);
            if (SEARCHABLE.test(typed)) timer.current = setTimeout(() => send({ text: typed }), TYPING_MS);
          }}
        />
      </form>
    </search>
  );
}

function Choice(props: {
  readonly title: string;
  readonly value: string | undefined;
  readonly choices: readonly (readonly [value: string, title: string])[];
  readonly onChange: (value: string) => void;
}) {
  return (
    <select
      class="device-choice"
      aria-label={props.title}
      value={props.value ?? ''}
      onChange={(event) => props.onChange(event.currentTarget.value)}
    >
      {props.choices.map(([value, title]) => (
        <option key={value} value={value}>
          {title}
        </option>
      ))}
    </select>
  );
}

const TEXT_FIELDS = [
  ['group', 'Group', 'Of the devices'],
  ['address', 'Address', '192.0.2.7 or 10.1.0.0/16'],
  ['token', 'Bootstrap token', 'Its id; they enrolled last with it'],
  ['sdkVersion', 'SDK version', 'rollcall-device-sdk/0.1.0'],
] as const;

const AGES = [
  ['', 'Any time'],
  ['1h', '1 hour ago'],
  ['1d', '1 day ago'],
  ['7d', '7 days ago'],
  ['30d', '30 days ago'],
] as const;

const EXPIRIES = [
  ['', 'Any time'],
  ['1d', 'Within 1 day'],
  ['7d', 'Within 7 days'],
  ['14d', 'Within 14 days'],
  ['30d', 'Within 30 days'],
  ['90d', 'Within 90 days'],
] as const;

function MoreFilters({ filter, onFilter }: Pick<FilterBarProps, 'filter' | 'onFilter'>) {
  const time = (
    name: 'lastSeenBefore' | 'lastSeenAfter' | 'expiring',
    label: string,
    choices: typeof AGES | typeof EXPIRIES,
  ) => (
    <Field label={label}>
      {(ids) => (
        <select
          {...ids}
          value={filter[name] ?? ''}
          onChange={(event) => onFilter({ [name]: event.currentTarget.value })}
        >
          {choices.map(([value, title]) => (
            <option key={value} value={value}>
              {title}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
  return (
    <div class="device-more-filters">
      <Field label="Label" hint="name=value; several narrow it further">
        {(ids) => (
          <input
            {...ids}
            value=""
            spellcheck={false}
            onChange={(event) => {
              const label = event.currentTarget.value.trim();
              event.currentTarget.value = '';
              if (label !== '') onFilter({ labels: [...new Set([...filter.labels, label])] });
            }}
          />
        )}
      </Field>
      {TEXT_FIELDS.map(([name, label, hint]) => (
        <Field key={name} label={label} hint={hint}>
          {(ids) => (
            <input
              {...ids}
              value={filter[name] ?? ''}
              spellcheck={false}
              onChange={(event) => onFilter({ [name]: event.currentTarget.value.trim() })}
            />
          )}
        </Field>
      ))}
      {time('lastSeenBefore', 'Offline since before', AGES)}
      {time('lastSeenAfter', 'Seen after', AGES)}
      {time('expiring', 'Certificate ends', EXPIRIES)}
    </div>
  );
}
