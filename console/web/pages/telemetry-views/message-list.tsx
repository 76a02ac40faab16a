import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { type Message, payloadText } from './message-text.ts';

const PAYLOAD_MAX = 600;

/** Messages with their payloads, bounded and as text. */
export function MessageList({ messages, label }: { readonly messages: readonly Message[]; readonly label: string }) {
  return (
    <ol class="message-list" aria-label={label}>
      {messages.map((message) => (
        <li key={message.position}>
          <span class="message-time soft small">
            <Time at={message.receivedAt} />
          </span>
          <span class="message-source">
            <a class="break" href={`/devices/${encodeURIComponent(message.device)}`}>
              {message.device}
            </a>
            <span class="soft small break">
              <UntrustedText text={message.stream} max={100} />
            </span>
          </span>
          <code class="message-payload break">
            <UntrustedText text={payloadText(message)} max={PAYLOAD_MAX} />
          </code>
        </li>
      ))}
    </ol>
  );
}
