import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { urlOf } from '../../api.ts';
import { useLiveEvents } from '../../live-events.ts';
import { LiveBadge } from '../../parts/badge.tsx';
import { InlineField } from '../../parts/inline-field.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { countOf } from '../../quantities.ts';
import { useQueryState } from '../../query-state.ts';
import { MessageList } from './message-list.tsx';
import type { Message } from './message-text.ts';

const SHOWN = 200;
const FLUSH_MS = 250;

/** Messages as they are stored. A pause closes the stream: what is stored meanwhile is in the query. */
export function LiveMessages() {
  const [device, setDevice] = useQueryState('device');
  const [stream, setStream] = useQueryState('stream');
  const [paused, setPaused] = useQueryState('paused');
  const isPaused = paused !== '';
  const query = { ...(device !== '' && { device }), ...(stream !== '' && { stream }) };
  const { messages, received, live } = useTail(isPaused ? undefined : urlOf('/v1/telemetry/follow', { query }));
  return (
    <>
      <div class="row spread">
        <form class="message-filter" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
          <InlineField label="Device">
            {(id) => (
              <input
                id={id}
                value={device}
                spellcheck={false}
                placeholder="all"
                onChange={({ currentTarget }) => setDevice(currentTarget.value.trim())}
              />
            )}
          </InlineField>
          <InlineField label="Stream">
            {(id) => (
              <input
                id={id}
                value={stream}
                spellcheck={false}
                placeholder="all"
                onChange={({ currentTarget }) => setStream(currentTarget.value.trim())}
              />
            )}
          </InlineField>
        </form>
        <div class="row">
          {isPaused ? <span class="live">Paused</span> : <LiveBadge state={live} />}
          <button type="button" onClick={() => setPaused(isPaused ? '' : '1')}>
            {isPaused ? 'Continue' : 'Pause'}
          </button>
        </div>
      </div>
      <Panel
        title={`${countOf(received, 'message')} since the page opened${received > SHOWN ? `, the newest ${SHOWN}` : ''}`}
        bare
      >
        {messages.length === 0 ? (
          <EmptyState title={isPaused ? 'Paused' : 'Waiting for messages'}>
            <p>
              Messages appear here when they are stored. Name a device or a stream above to see only its messages; older
              ones are under Query & export.
            </p>
          </EmptyState>
        ) : (
          <MessageList messages={messages} label="Newest messages" />
        )}
      </Panel>
    </>
  );
}

/** The newest messages of the stream, first the newest. They stay while there is no stream, and go with another one. */
function useTail(url: string | undefined) {
  const shown = useSignal<readonly Message[]>([]);
  const received = useSignal(0);
  const waiting = useRef<Message[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const last = useRef(url);
  if (url !== undefined && url !== last.current) {
    if (last.current !== undefined) {
      shown.value = [];
      waiting.current = [];
      received.value = 0;
    }
    last.current = url;
  }
  const flush = () => {
    timer.current = undefined;
    const newest = waiting.current.slice(-SHOWN).reverse();
    received.value += waiting.current.length;
    waiting.current = [];
    shown.value = [...newest, ...shown.value].slice(0, SHOWN);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  const live = useLiveEvents(url, [], {
    onEvent: (data) => {
      waiting.current.push(data as Message);
      timer.current ??= setTimeout(flush, FLUSH_MS);
    },
  });
  return { messages: shown.value, received: received.value, live: live.value };
}
