/** Changes group and labels of the selected devices, one after the other: each change is a request of its own. */

import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { ApiProblem, api } from '../../api.ts';
import { Confirmation, Dialog } from '../../parts/dialog.tsx';
import { Field } from '../../parts/field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { countOf } from './operation-dialog.tsx';

/** Requests are limited per second and address. */
export const MOST_SETTINGS = 1_000;
const LABEL = /^([A-Za-z][A-Za-z0-9_]{0,31})=([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$/;

interface Settings {
  readonly group?: string;
  readonly labels?: Readonly<Record<string, string | null>>;
}

interface SettingsDialogProps {
  readonly ids: readonly string[];
  readonly onChanged: (
    id: string,
    settings: { readonly group: string; readonly labels: Record<string, string> },
  ) => void;
  readonly onClose: () => void;
}

export function SettingsDialog({ ids, onChanged, onClose }: SettingsDialogProps) {
  const group = useSignal('');
  const labels = useSignal('');
  const done = useSignal(0);
  const failure = useSignal<{ readonly id: string; readonly problem: ApiProblem } | undefined>(undefined);
  const isClosed = useRef(false);
  const { current: all } = useRef(ids);
  const parsed = parseLabels(labels.value);
  const settings: Settings = {
    ...(group.value.trim() !== '' && { group: group.value.trim() }),
    ...(parsed !== undefined && Object.keys(parsed).length > 0 && { labels: parsed }),
  };
  const close = () => {
    isClosed.current = true;
    onClose();
  };
  const act = async () => {
    failure.value = undefined;
    for (const id of all.slice(done.value)) {
      if (isClosed.current) return;
      try {
        onChanged(id, await change(id, settings));
      } catch (error) {
        failure.value = {
          id,
          problem: error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error)),
        };
        return;
      }
      done.value += 1;
    }
  };
  if (done.value === all.length) {
    return (
      <Dialog title="Group and labels" onClose={close}>
        <div class="notice good" role="status">
          <strong>{countOf(done.value)} changed</strong>
        </div>
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={close}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Confirmation
      title={`Group and labels of ${countOf(all.length)}`}
      action={done.value === 0 ? 'Change' : 'Continue'}
      isHarmless
      isReady={Object.keys(settings).length > 0 && parsed !== undefined && all.length <= MOST_SETTINGS}
      act={act}
      onClose={close}
    >
      <p>Live sessions get their new rights at once. A device that may no longer connect is disconnected.</p>
      <Field label="Group" hint="Left empty, it stays">
        {(field) => (
          <input
            {...field}
            autocomplete="off"
            value={group}
            onInput={(event) => {
              group.value = event.currentTarget.value;
            }}
          />
        )}
      </Field>
      <Field
        label="Labels"
        hint="name=value, separated by spaces; name= removes a label; others stay"
        mistake={parsed === undefined ? 'Expected name=value, as in site=hall-3' : undefined}
      >
        {(field) => (
          <input
            {...field}
            autocomplete="off"
            value={labels}
            onInput={(event) => {
              labels.value = event.currentTarget.value;
            }}
          />
        )}
      </Field>
      {all.length > MOST_SETTINGS && <p>At most {countOf(MOST_SETTINGS)} at a time: select fewer.</p>}
      {done.value > 0 && (
        <progress class="device-progress" aria-label="Devices changed" max={all.length} value={done.value}>
          {done.value} of {all.length}
        </progress>
      )}
      {failure.value !== undefined && (
        <>
          <p>
            {failure.value.id} was not changed; {countOf(done.value)} before it {done.value === 1 ? 'was' : 'were'}.
          </p>
          <ProblemNotice problem={failure.value.problem} />
        </>
      )}
    </Confirmation>
  );
}

/** Undefined when it is not a list of labels. */
export function parseLabels(text: string): Readonly<Record<string, string | null>> | undefined {
  const found: Record<string, string | null> = {};
  for (const pair of text.split(/[\s,]+/).filter(Boolean)) {
    const [, name, value] = LABEL.exec(pair) ?? [];
    if (name === undefined) return undefined;
    found[name] = value ?? null;
  }
  return found;
}

/** Waits and tries again when requests come too fast. */
async function change(id: string, settings: Settings) {
  const idempotencyKey = crypto.randomUUID();
  for (;;) {
    try {
      return await api('PATCH /v1/devices/:id/settings', {
        params: { id },
        body: { ...settings, ...(settings.labels !== undefined && { labels: { ...settings.labels } }) },
        idempotencyKey,
      });
    } catch (error) {
      if (!(error instanceof ApiProblem) || error.code !== 'rate_limited') throw error;
      await new Promise((resolve) => setTimeout(resolve, 1_000 * (error.retryAfter ?? 1)));
    }
  }
}
