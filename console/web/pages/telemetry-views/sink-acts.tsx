import { useSignal } from '@preact/signals';
import { useId } from 'preact/hooks';
import { api } from '../../api.ts';
import { Choice } from '../../parts/choice.tsx';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce, announceProblem } from '../../parts/messages.tsx';
import { countText, cursorText } from '../../quantities.ts';
import type { Sink } from './sinks.tsx';

interface Props {
  readonly sink: Sink;
  readonly onClose: () => void;
  readonly onActed: () => void;
}

/** Forwards everything from a position, or from a time, again. */
export function ReplaySink({ sink, onClose, onActed }: Props) {
  const { name } = sink;
  const kind = useSignal<'time' | 'position'>('time');
  const position = useSignal(1);
  const time = useSignal('');
  const field = useId();
  const at = Date.parse(time.value);
  const replay = async () => {
    const body =
      kind.value === 'time' && !Number.isNaN(at)
        ? { since: new Date(at).toISOString() }
        : kind.value === 'position'
          ? { position: position.value }
          : {};
    try {
      const idempotencyKey = crypto.randomUUID();
      const after = await api('POST /v1/sinks/:name/replay', { params: { name }, body, idempotencyKey });
      announce(`${name} forwards again from behind position ${cursorText(after.position)}.`);
      onActed();
      onClose();
    } catch (error) {
      announceProblem(error);
    }
  };
  return (
    <Confirmation title={`Replay ${name}`} typed={name} action="Replay" act={replay} onClose={onClose}>
      <div class="form">
        <p>
          Messages from there on are forwarded again, in order. Targets that do not recognize repeated messages get them
          twice.
        </p>
        <Choice
          label="Begin"
          value={kind.value}
          options={[
            ['time', 'From a time'],
            ['position', 'From a position'],
          ]}
          onChoose={(chosen) => {
            kind.value = chosen;
          }}
        />
        {kind.value === 'time' ? (
          <div class="field">
            <label for={field}>Received at or after</label>
            <input
              id={field}
              type="datetime-local"
              step="1"
              value={time}
              onInput={({ currentTarget }) => {
                time.value = currentTarget.value;
              }}
            />
          </div>
        ) : (
          <div class="field">
            <label for={field}>Position (now {cursorText(sink.position)})</label>
            <input
              id={field}
              type="number"
              min="1"
              step="1"
              value={position}
              onInput={({ currentTarget }) => {
                position.value = currentTarget.valueAsNumber;
              }}
            />
          </div>
        )}
      </div>
    </Confirmation>
  );
}

/** Makes the message that the target does not take a dead letter. */
export function SkipMessage({ sink, onClose, onActed }: Props) {
  const { name, deadLetterFile } = sink;
  const skip = async () => {
    try {
      const idempotencyKey = crypto.randomUUID();
      const { skipped } = await api('POST /v1/sinks/:name/skip', { params: { name }, idempotencyKey });
      announce(
        skipped === undefined
          ? `${name} is not down: nothing was skipped.`
          : `The message at position ${countText(skipped)} is a dead letter now.`,
      );
      onActed();
      onClose();
    } catch (error) {
      announceProblem(error);
    }
  };
  return (
    <Confirmation title={`Skip a message of ${name}`} typed={name} action="Skip it" act={skip} onClose={onClose}>
      <p>
        The message that the target does not take is written to <code>{deadLetterFile}</code> and not sent again. The
        sink goes on with the next one. That does not help where the target cannot be reached at all.
      </p>
    </Confirmation>
  );
}
