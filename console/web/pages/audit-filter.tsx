import { useSignal } from '@preact/signals';
import type { ComponentChildren, TargetedEvent } from 'preact';
import { useId } from 'preact/hooks';
import { useLocation } from 'preact-iso';
import type { RequestOf } from '../api.ts';
import { ACTION_CHOICES, actorOf, beginOf, PERIOD_CHOICES, subjectOf } from './audit-words.ts';

/** The parameters of the page's address, all texts. */
const NAMES = ['actor', 'action', 'subject', 'outcome', 'period', 'since', 'until'] as const;
type Filter = Readonly<Record<(typeof NAMES)[number], string>>;

export function useAuditFilter(): Filter {
  const { query } = useLocation();
  return Object.fromEntries(NAMES.map((name) => [name, query[name] ?? ''])) as unknown as Filter;
}

export function auditQueryOf(filter: Filter, now: number): NonNullable<RequestOf<'GET /v1/audit'>['query']> {
  const { actor, action, subject, outcome, period } = filter;
  const since = period === 'range' ? timeOf(filter.since) : beginOf(period, now);
  const until = period === 'range' ? timeOf(filter.until) : undefined;
  return {
    ...(actor !== '' && { actor: actorOf(actor) }),
    ...(action !== '' && { action }),
    ...(subject !== '' && { subject: subjectOf(subject) }),
    ...((outcome === 'done' || outcome === 'refused') && { outcome }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
}

function timeOf(text: string): string | undefined {
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

/** In the form of a control for local times. */
function localTime(text: string): string {
  const at = Date.parse(text);
  if (Number.isNaN(at)) return '';
  return new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** Choices apply at once, texts on Enter or when the field is left. All are in the address. */
export function AuditFilter() {
  const { path, route } = useLocation();
  const filter = useAuditFilter();
  const period = useSignal(filter.period);
  const set = (changes: Partial<Filter>) => {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...filter, ...changes })) if (value !== '') search.set(name, value);
    route(search.size === 0 ? path : `${path}?${search}`);
  };
  const choose = (name: keyof Filter) => (event: TargetedEvent<HTMLInputElement | HTMLSelectElement>) =>
    set({ [name]: event.currentTarget.value.trim() });
  const chooseTime = (name: 'since' | 'until') => (event: TargetedEvent<HTMLInputElement>) =>
    set({ period: 'range', [name]: timeOf(event.currentTarget.value) ?? '' });
  const isFiltered = NAMES.some((name) => filter[name] !== '');
  const isRange = period.value === 'range' || filter.period === 'range';
  return (
    <form class="audit-filters" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      <Control label="Who">
        {(id) => (
          <input id={id} value={filter.actor} placeholder="anyone" spellcheck={false} onChange={choose('actor')} />
        )}
      </Control>
      <Control label="Did what">
        {(id) => (
          <select id={id} value={filter.action} onChange={choose('action')}>
            <option value="">anything</option>
            {ACTION_CHOICES.some(([value]) => value === filter.action) || filter.action === '' ? null : (
              <option value={filter.action}>{filter.action}</option>
            )}
            {ACTION_CHOICES.map(([value, title]) => (
              <option value={value} key={value}>
                {title}
              </option>
            ))}
          </select>
        )}
      </Control>
      <Control label="To what">
        {(id) => (
          <input id={id} value={filter.subject} placeholder="press-7" spellcheck={false} onChange={choose('subject')} />
        )}
      </Control>
      <Control label="Outcome">
        {(id) => (
          <select id={id} value={filter.outcome} onChange={choose('outcome')}>
            <option value="">any</option>
            <option value="done">done</option>
            <option value="refused">refused</option>
          </select>
        )}
      </Control>
      <Control label="When">
        {(id) => (
          <select
            id={id}
            value={isRange ? 'range' : filter.period}
            onChange={(event) => {
              period.value = event.currentTarget.value;
              if (period.value !== 'range') set({ period: period.value, since: '', until: '' });
            }}
          >
            {PERIOD_CHOICES.map(([value, title]) => (
              <option value={value} key={value}>
                {title}
              </option>
            ))}
          </select>
        )}
      </Control>
      {isRange &&
        (['since', 'until'] as const).map((name) => (
          <Control label={name === 'since' ? 'From' : 'Before'} key={name}>
            {(id) => (
              <input id={id} type="datetime-local" value={localTime(filter[name])} onChange={chooseTime(name)} />
            )}
          </Control>
        ))}
      {isFiltered && (
        <a class="button" href={path}>
          Clear
        </a>
      )}
    </form>
  );
}

function Control(props: { readonly label: string; readonly children: (id: string) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="audit-filter">
      <label for={id}>{props.label}</label>
      {props.children(id)}
    </div>
  );
}
