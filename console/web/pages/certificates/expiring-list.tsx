import { type AnswerOf, api, type Page } from '../../api.ts';
import { usePagedList } from '../../paged-list.ts';
import { Badge } from '../../parts/badge.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useQueryState } from '../../query-state.ts';
import { type Expiring, KIND_NAMES, KINDS, type Kind, WEEK_SECONDS } from './expiry-words.ts';

type Answer = AnswerOf<'GET /v1/certificates/expiring'>;

const PAGE = 100;
/** By the text in the address: those of the histogram, and the longer ones of the choice. */
const WEEKS = new Map(
  [...Array.from({ length: 26 }, (_, index) => index + 1), 52, 520].map((count) => [`${count}`, count]),
);
const DEFAULT_WEEKS = 4;
const PERIODS = {
  '1': '7 days',
  '4': '4 weeks',
  '13': '13 weeks',
  '26': '26 weeks',
  '52': 'a year',
  '520': '10 years',
};

/** The most urgent first, of the chosen kinds and period. */
export function ExpiringList() {
  const [which, setWhich] = useQueryState('which', 'ending');
  const [weeks, setWeeks] = useQueryState('weeks', '4');
  const [kind, setKind] = useQueryState('kind');
  const list = usePagedList<Answer>(
    async (after, signal): Promise<Page<Answer>> => {
      const value = await api('GET /v1/certificates/expiring', {
        query: {
          which: which as 'ending' | 'late',
          withinSeconds: (WEEKS.get(weeks) ?? DEFAULT_WEEKS) * WEEK_SECONDS,
          limit: PAGE,
          ...(kind !== '' && { kind }),
          ...(after !== undefined && { after }),
        },
        signal,
      });
      return { value, next: value.next, etag: undefined };
    },
    `${which} ${weeks} ${kind}`,
    ({ next }) => next === undefined,
  );
  const rows = list.pages.value?.flatMap(({ expiring }) => expiring);
  const periods = Object.entries(weeks in PERIODS ? PERIODS : { [weeks]: `${weeks} weeks`, ...PERIODS });
  return (
    <Panel title={which === 'late' ? 'Late to renew' : 'What expires next'} bare>
      <div class="filters">
        <select aria-label="Which" value={which} onChange={({ currentTarget }) => setWhich(currentTarget.value)}>
          <option value="ending">Expires</option>
          <option value="late">Late to renew</option>
        </select>
        {which !== 'late' && (
          <select aria-label="Period" value={weeks} onChange={({ currentTarget }) => setWeeks(currentTarget.value)}>
            {periods.map(([value, text]) => (
              <option key={value} value={value}>
                within {text}
              </option>
            ))}
          </select>
        )}
        <select aria-label="Kind" value={kind} onChange={({ currentTarget }) => setKind(currentTarget.value)}>
          <option value="">All kinds</option>
          {KIND_NAMES.map((name) => (
            <option key={name} value={name}>
              {KINDS[name]}
            </option>
          ))}
        </select>
        <span class="soft small" role="status">
          {rows !== undefined && `${rows.length}${list.hasMore.value ? ' or more' : ''}`}
        </span>
      </div>
      {list.problem.value !== undefined && <ProblemNotice problem={list.problem.value} retry={list.reload} />}
      {rows?.length === 0 && (
        <EmptyState title={which === 'late' ? 'Nothing is late' : 'Nothing expires in this time'}>
          <p>{which === 'late' ? 'Everything that renews did so in its window.' : 'Choose a longer period.'}</p>
        </EmptyState>
      )}
      {rows !== undefined && rows.length > 0 && (
        <Table
          oneLine
          caption="What expires, the most urgent first"
          rows={rows}
          columns={COLUMNS}
          keyOf={({ kind: ofKind, id }) => `${ofKind} ${id}`}
        />
      )}
      {list.hasMore.value && (
        <div class="more">
          <button type="button" onClick={list.loadMore}>
            {PAGE} more
          </button>
        </div>
      )}
    </Panel>
  );
}

const PLACES: Readonly<Partial<Record<Kind, (item: Expiring) => string>>> = {
  device: ({ name }) => `/devices/${encodeURIComponent(name)}`,
  service: ({ name }) => `/services/${encodeURIComponent(name)}`,
  token: ({ id }) => `/tokens/${id}`,
  server: ({ id }) => `/certificates?view=find&serial=${id}`,
  root: () => '/certificates?view=ca',
  'issuing-ca': () => '/certificates?view=ca',
  crl: () => '/certificates?view=status',
  'ocsp-signer': () => '/certificates?view=status',
};

function Name({ item }: { readonly item: Expiring }) {
  const place = PLACES[item.kind];
  const text = <UntrustedText text={item.name} />;
  return place === undefined ? text : <a href={place(item)}>{text}</a>;
}

const COLUMNS = [
  { title: 'Expires', cell: ({ expiresAt }: Expiring) => <Time at={expiresAt} relative /> },
  { title: 'Kind', cell: ({ kind }: Expiring) => KINDS[kind].replace(/s$/, '') },
  { title: 'Name', cell: (item: Expiring) => <Name item={item} /> },
  {
    title: 'State',
    cell: ({ lateSince }: Expiring) =>
      lateSince === undefined ? null : (
        <Badge tone="bad">
          late since <Time at={lateSince} relative />
        </Badge>
      ),
  },
  { title: 'Renewed by', cell: ({ action }: Expiring) => action },
  { title: 'Group', cell: ({ group }: Expiring) => group },
  { title: 'Ends', cell: ({ expiresAt }: Expiring) => <Time at={expiresAt} /> },
] as const;
