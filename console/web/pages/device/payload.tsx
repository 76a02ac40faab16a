/** A payload as text: what a device sent is shown, never run. */

import { useSignal } from '@preact/signals';
import { UntrustedText } from '../../parts/untrusted-text.tsx';

export interface PayloadForms {
  /** JSON, or nothing. */
  readonly payload?: unknown;
  readonly text?: string | undefined;
  readonly base64?: string | undefined;
}

const SHORT = 600;
/** More than this would make the page slow; the command line and the export have the whole payload. */
const LONG = 50_000;

export function payloadText({ payload, text, base64 }: PayloadForms): string {
  if (text !== undefined) return text;
  if (base64 !== undefined) return `base64: ${base64}`;
  return payload === undefined ? '' : JSON.stringify(payload, undefined, 1);
}

/** Line feeds are lines; every other character that cannot be seen is made visible. */
function Lines({ text }: { readonly text: string }) {
  return (
    <>
      {text.split('\n').map((line, index) => (
        <div class="payload-line" key={index}>
          <UntrustedText text={line} max={LONG} />
        </div>
      ))}
    </>
  );
}

export function Payload(props: PayloadForms) {
  const isLong = useSignal(false);
  const text = payloadText(props);
  if (text === '') return <span class="soft">empty</span>;
  return (
    <div class="payload">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by the keyboard. */}
      <pre tabIndex={0}>
        <Lines text={text.slice(0, isLong.value ? LONG : SHORT)} />
      </pre>
      {text.length > SHORT && (
        <div class="row small soft">
          {Math.min(text.length, isLong.value ? LONG : SHORT).toLocaleString('en')} of{' '}
          {text.length.toLocaleString('en')} characters
          <button
            type="button"
            onClick={() => {
              isLong.value = !isLong.value;
            }}
          >
            {isLong.value ? 'Less' : 'More'}
          </button>
        </div>
      )}
    </div>
  );
}
