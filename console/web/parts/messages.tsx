import { signal } from '@preact/signals';
import { ApiProblem } from '../api.ts';

interface Message {
  readonly id: number;
  readonly tone: 'good' | 'bad';
  readonly text: string;
}

const SHOWN_MS = 8_000;
const messages = signal<readonly Message[]>([]);
let last = 0;

/** Shows a sentence for some seconds; screen readers read it. Failures stay until they are closed. */
export function announce(text: string, tone: Message['tone'] = 'good'): void {
  last += 1;
  const message = { id: last, tone, text };
  messages.value = [...messages.value.slice(-3), message];
  if (tone === 'good') setTimeout(() => dismiss(message.id), SHOWN_MS);
}

/** Announces the failure of a request. */
export function announceProblem(error: unknown): void {
  announce(error instanceof ApiProblem ? `${error.message} (${error.code})` : String(error), 'bad');
}

function dismiss(id: number): void {
  messages.value = messages.value.filter((message) => message.id !== id);
}

export function Messages() {
  return (
    <div class="messages" aria-live="polite">
      {messages.value.map(({ id, tone, text }) => (
        <div key={id} class={`notice ${tone}`}>
          <div>{text}</div>
          <div>
            <button type="button" onClick={() => dismiss(id)}>
              Close
            </button>
          </div>
        </div>
      ))}
    </div>
  );
}
