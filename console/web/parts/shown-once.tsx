import type { ComponentChildren } from 'preact';
import { Copyable } from './copyable.tsx';
import { Dialog } from './dialog.tsx';

/** A secret that was just made, with what to do with it. The server stores its hash and cannot show it again. */
export function ShownOnce(props: {
  readonly title: string;
  readonly secret: string;
  /** What is copied, for screen readers: `the key`. */
  readonly label: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}) {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div class="form">
        <p>{props.children}</p>
        <Copyable text={props.secret} label={props.label} />
        <p class="soft small">This is the only time that it is shown: the server stores a hash of it.</p>
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={props.onClose}>
            Done
          </button>
        </div>
      </div>
    </Dialog>
  );
}
