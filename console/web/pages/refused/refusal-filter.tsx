import type { TargetedEvent } from 'preact';
import { useLocation } from 'preact-iso';
import type { RequestOf } from '../../api.ts';
import { InlineField } from '../../parts/inline-field.tsx';
import { TimeSpanControl } from '../../parts/time-span-control.tsx';
import type { TimeSpan } from '../../time-span.ts';
import { KIND_TITLES, KINDS, type RefusalKind } from './refusal-words.ts';

const NAMES = ['kind', 'code', 'device', 'address'] as const;
type Filter = Readonly<Record<(typeof NAMES)[number], string>>;

/** The filter in the address; `query` has what is set of it. */
export function useRefusalFilter() {
  const { query: search, path, route } = useLocation();
  const filter = Object.fromEntries(NAMES.map((name) => [name, search[name] ?? ''])) as unknown as Filter;
  const query: NonNullable<RequestOf<'GET /v1/refusals'>['query']> = {
    ...(Object.hasOwn(KIND_TITLES, filter.kind) && { kind: filter.kind as RefusalKind }),
    ...(filter.code !== '' && { code: filter.code }),
    ...(filter.device !== '' && { device: filter.device }),
    ...(filter.address !== '' && { address: filter.address }),
  };
  const clear = () => {
    const next = new URLSearchParams(location.search);
    for (const name of NAMES) next.delete(name);
    route(next.size === 0 ? path : `${path}?${next}`);
  };
  return { filter, query, clear };
}

/** Choices apply at once, texts on Enter or when the field is left. All are in the address. */
export function RefusalFilter(props: {
  readonly filter: Filter;
  readonly span: TimeSpan;
  /** Causes to choose from. */
  readonly codes: readonly string[];
}) {
  const { path, route } = useLocation();
  const { filter, span } = props;
  const choose = (name: keyof Filter) => (event: TargetedEvent<HTMLInputElement | HTMLSelectElement>) => {
    const next = new URLSearchParams(location.search);
    const value = event.currentTarget.value.trim();
    if (value === '') next.delete(name);
    else next.set(name, value);
    route(next.size === 0 ? path : `${path}?${next}`);
  };
  const codes = [...new Set([...props.codes, filter.code])].filter((code) => code !== '').sort();
  return (
    <form class="refusal-filter" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      <TimeSpanControl span={span} />
      <div class="refusal-filter-fields">
        <InlineField label="What">
          {(id) => (
            <select id={id} value={filter.kind} onChange={choose('kind')}>
              <option value="">everything</option>
              {KINDS.map((kind) => (
                <option key={kind} value={kind}>
                  {KIND_TITLES[kind].toLowerCase()}
                </option>
              ))}
            </select>
          )}
        </InlineField>
        <InlineField label="Cause">
          {(id) => (
            <select id={id} value={filter.code} onChange={choose('code')}>
              <option value="">any</option>
              {codes.map((code) => (
                <option key={code} value={code}>
                  {code}
                </option>
              ))}
            </select>
          )}
        </InlineField>
        <InlineField label="Device">
          {(id) => <input id={id} value={filter.device} spellcheck={false} onChange={choose('device')} />}
        </InlineField>
        <InlineField label="Address">
          {(id) => <input id={id} value={filter.address} spellcheck={false} onChange={choose('address')} />}
        </InlineField>
      </div>
    </form>
  );
}
