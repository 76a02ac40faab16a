import { useSignal } from '@preact/signals';

/** A command or a value with a button that copies it. */
export function Copyable(props: { readonly text: string; readonly label: string }) {
  const isCopied = useSignal(false);
  const copy = async () => {
    await navigator.clipboard.writeText(props.text);
    isCopied.value = true;
  };
  return (
    <div class="copyable">
      <code>{props.text}</code>
      <button type="button" aria-label={`Copy ${props.label}`} onClick={copy}>
        {isCopied.value ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}
