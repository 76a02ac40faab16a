import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

/** A modal dialog, open while it is rendered. Escape and its Cancel button call `onClose`; the focus returns where it was. */
export function Dialog(props: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
    >
      <h2 id={heading}>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/**
 * Asks before an act that cannot be undone. With `typed` the operator types that text; the button stays disabled until it is
 * equal. `act` resolves when it is done, and its failure is the caller's to show.
 */
export function Confirmation(props: {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly typed?: string;
  readonly action: string;
  /** Something that can be taken back: its button is not red. */
  readonly isHarmless?: boolean;
  /** False while it is not known what the act would do. */
  readonly isReady?: boolean;
  readonly act: () => Promise<void>;
  readonly onClose: () => void;
}) {
  const text = useSignal('');
  const isRunning = useSignal(false);
  const field = useId();
  const isConfirmed = props.isReady !== false && (props.typed === undefined || text.value === props.typed);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!isConfirmed || isRunning.value) return;
    isRunning.value = true;
    try {
      await props.act();
    } finally {
      isRunning.value = false;
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <div class="form">{props.children}</div>
        {props.typed !== undefined && (
          <div class="field">
            <label for={field}>
              Type <code>{props.typed}</code> to confirm
            </label>
            <input
              id={field}
              autocomplete="off"
              spellcheck={false}
              value={text}
              onInput={(event) => {
                text.value = event.currentTarget.value;
              }}
            />
          </div>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class={props.isHarmless === true ? 'primary' : 'primary danger'}
            disabled={!isConfirmed || isRunning.value}
          >
            {isRunning.value ? 'Working …' : props.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
