import { UntrustedText } from '../../parts/untrusted-text.tsx';
import type { TokenView } from './token-words.ts';

/** `3 of 10` with a bar. */
export function UsesMeter({ token: { uses, maxUses } }: { readonly token: TokenView }) {
  return (
    <span class="uses">
      <progress max={maxUses} value={uses} aria-label="Uses" />
      {uses.toLocaleString('en')} of {maxUses.toLocaleString('en')}
    </span>
  );
}

export function Labels({ labels }: { readonly labels: Readonly<Record<string, string>> }) {
  return (
    <>
      {Object.entries(labels).map(([name, value]) => (
        <span class="label" key={name}>
          <UntrustedText text={`${name}=${value}`} />
        </span>
      ))}
    </>
  );
}
