/** The last message of each stream of a device, and a chart of any number in them; both live. */

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { type AnswerOf, api } from '../../api.ts';
import { useLiveEvents } from '../../live-events.ts';
import { LiveBadge } from '../../parts/badge.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useResource } from '../../resource.ts';
import { FieldChart } from './field-chart.tsx';
import { Payload } from './payload.tsx';

export type Message = AnswerOf<'GET /v1/telemetry/last'>[number];

export function TelemetryTab({ id }: { readonly id: string }) {
  const streams = useSignal<ReadonlyMap<string, Message>>(new Map());
  const newest = useSignal<Message | undefined>(undefined);
  const frame = useRef<number | undefined>(undefined);
  const waiting = useRef<Message[]>([]);
  const arrived = useRef(new Map<string, Message>());
  const last = useResource(async (signal) => {
    arrived.current = new Map();
    const messages = await api('GET /v1/telemetry/last', { query: { device: id as never }, signal });
    const known = new Map(messages.map((message) => [message.stream, message]));
    // What the stream of events sent meanwhile is newer than the answer.
    for (const [stream, message] of arrived.current) known.set(stream, message);
    streams.value = known;
  }, id);
  const show = () => {
    frame.current = undefined;
    const messages = waiting.current;
    waiting.current = [];
    streams.value = new Map([...streams.value, ...messages.map((message) => [message.stream, message] as const)]);
    newest.value = messages.at(-1);
  };
  const live = useLiveEvents(`/v1/telemetry/follow?device=${encodeURIComponent(id)}`, [], {
    onEvent: (message) => {
      // Of many messages in one frame the newest ones are shown.
      if (waiting.current.length < 1_000) waiting.current.push(message as Message);
      arrived.current.set((message as Message).stream, message as Message);
      frame.current ??= requestAnimationFrame(show);
    },
    onGap: last.reload,
  });
  const isLive = live.value === 'live';
  const { reload } = last;
  useEffect(() => {
    if (isLive) reload();
  }, [isLive, reload]);
  useEffect(
    () => () => {
      if (frame.current !== undefined) cancelAnimationFrame(frame.current);
    },
    [],
  );
  const messages = [...streams.value.values()].sort((a, b) => (a.stream < b.stream ? -1 : 1));
  if (last.problem.value !== undefined) return <ProblemNotice problem={last.problem.value} retry={reload} />;
  if (messages.length === 0) {
    return last.isLoading.value ? <p class="spinner">Loading</p> : <NoTelemetry />;
  }
  return (
    <>
      <FieldChart id={id} streams={messages} newest={newest.value} />
      <Panel title="Last messages" actions={<LiveBadge state={live.value} />} bare>
        <ul class="last-messages">
          {messages.map((message) => (
            <LastMessage key={message.stream} message={message} />
          ))}
        </ul>
      </Panel>
    </>
  );
}

function LastMessage({ message }: { readonly message: Message }) {
  return (
    <li>
      <div class="row">
        <h3 class="break">
          <UntrustedText text={message.stream} max={256} />
        </h3>
        <span class="soft small">
          <Time at={message.receivedAt} />
        </span>
        <span class="soft small">QoS {message.qos}</span>
        {message.contentType !== undefined && (
          <span class="soft small break">
            <UntrustedText text={message.contentType} max={100} />
          </span>
        )}
      </div>
      <Payload payload={message.payload} text={message.text} base64={message.base64} />
    </li>
  );
}

function NoTelemetry() {
  return (
    <EmptyState title="This device has sent no telemetry">
      <p>
        It appears here when the device publishes on <code>devices/ID/telemetry/STREAM</code>, with the SDK by{' '}
        <code>device.publish()</code>.
      </p>
    </EmptyState>
  );
}
