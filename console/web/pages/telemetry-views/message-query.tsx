import { apiPage, nextPage, type RequestOf, urlOf } from '../../api.ts';
import { usePagedList } from '../../paged-list.ts';
import { InlineField } from '../../parts/inline-field.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { TimeSpanControl } from '../../parts/time-span-control.tsx';
import { countOf } from '../../quantities.ts';
import { useQueryState } from '../../query-state.ts';
import { useTimeSpan } from '../../time-span.ts';
import { MessageList } from './message-list.tsx';
import type { Message } from './message-text.ts';

type Query = NonNullable<RequestOf<'GET /v1/telemetry'>['query']>;

const PER_PAGE = 100;
const ROUTE = 'GET /v1/telemetry';

/** Stored messages of a device or a group over a time, and all of them as a file. */
export function MessageQuery() {
  const [device, setDevice] = useQueryState('device');
  const [group, setGroup] = useQueryState('group');
  const [stream, setStream] = useQueryState('stream');
  const span = useTimeSpan('1h');
  const isOfGroup = device === '' && group !== '';
  const query: Query = {
    ...(device !== '' && { device }),
    ...(isOfGroup && { group }),
    ...(stream !== '' && { stream }),
  };
  const bounds = () => {
    const { since, until } = span.bounds(Date.now());
    return { since: iso(since), ...(until !== undefined && { until: iso(until) }) };
  };
  const isAsked = device !== '' || group !== '';
  return (
    <>
      <form class="message-form" aria-label="Query" onSubmit={(event) => event.preventDefault()}>
        <TimeSpanControl span={span} />
        <div class="message-filter">
          <TextField label="Device" value={device} onChange={setDevice} />
          <TextField
            label="or group"
            value={device === '' ? group : ''}
            onChange={setGroup}
            isDisabled={device !== ''}
          />
          <TextField label="Stream" value={stream} onChange={setStream} />
        </div>
      </form>
      <Export query={query} bounds={bounds} />
      {isAsked ? (
        <Found key={JSON.stringify([query, span.name, span.from, span.to])} query={query} bounds={bounds} />
      ) : (
        <Panel>
          <EmptyState title="Name a device or a group">
            <p>
              Its messages in the time above are listed, the newest first. An export contains all devices if none is
              named.
            </p>
          </EmptyState>
        </Panel>
      )}
    </>
  );
}

function Found({ query, bounds }: { readonly query: Query; readonly bounds: () => Partial<Query> }) {
  const list = usePagedList(
    (link, signal) =>
      link === undefined
        ? apiPage(ROUTE, { query: { ...query, ...bounds(), limit: PER_PAGE }, signal })
        : nextPage(ROUTE, link, signal),
    '',
    (page) => page.length < PER_PAGE,
  );
  const { value: pages } = list.pages;
  const messages: readonly Message[] = (pages ?? []).flatMap((page) => [...page].reverse());
  return (
    <>
      {list.problem.value !== undefined && <ProblemNotice problem={list.problem.value} retry={list.reload} />}
      {pages !== undefined && (
        <Panel title={`${countOf(messages.length, 'message')}${list.hasMore.value ? ', and older ones' : ''}`} bare>
          {messages.length === 0 ? (
            <EmptyState title="No message in this time">
              <p>Choose a longer time, or another stream.</p>
            </EmptyState>
          ) : (
            <MessageList messages={messages} label="Messages" />
          )}
          {list.hasMore.value && (
            <p class="message-more">
              <button type="button" disabled={list.isLoading} onClick={list.loadMore}>
                Older messages
              </button>
            </p>
          )}
        </Panel>
      )}
    </>
  );
}

/** Links to a file; their times are those of the click. */
function Export({ query, bounds }: { readonly query: Query; readonly bounds: () => Partial<Query> }) {
  const url = (format: 'csv' | 'ndjson') => urlOf('/v1/telemetry/export', { query: { ...query, ...bounds(), format } });
  return (
    <p class="row">
      <span class="soft">All messages of the time as a file, oldest first:</span>
      {(['csv', 'ndjson'] as const).map((format) => (
        <a
          key={format}
          class="button"
          href={url(format)}
          download={`telemetry.${format}`}
          onClick={({ currentTarget }) => {
            currentTarget.href = url(format);
          }}
        >
          {format === 'csv' ? 'CSV' : 'JSON lines'}
        </a>
      ))}
    </p>
  );
}

function TextField(props: {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly isDisabled?: boolean;
}) {
  return (
    <InlineField label={props.label}>
      {(id) => (
        <input
          id={id}
          value={props.value}
          spellcheck={false}
          disabled={props.isDisabled === true}
          onChange={({ currentTarget }) => props.onChange(currentTarget.value.trim())}
        />
      )}
    </InlineField>
  );
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
