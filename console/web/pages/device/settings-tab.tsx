/** Group and labels of a device, changed unless another operator changed them since they were read. */

import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api, apiPage, type Page } from '../../api.ts';
import { Facts } from '../../parts/facts.tsx';
import { Field } from '../../parts/field.tsx';
import { announce } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { parseLabels } from '../devices/settings-dialog.tsx';

type Settings = AnswerOf<'GET /v1/devices/:id/settings'>;

export function SettingsTab({ id, onChanged }: { readonly id: string; readonly onChanged: () => void }) {
  const settings = useResource((signal) => apiPage('GET /v1/devices/:id/settings', { params: { id }, signal }), id);
  const page = settings.data.value;
  if (page === undefined) {
    return settings.problem.value === undefined ? (
      <p class="spinner">Loading</p>
    ) : (
      <ProblemNotice problem={settings.problem.value} retry={settings.reload} />
    );
  }
  if (!mayAct()) {
    return (
      <Panel title="Group and labels">
        <Facts
          facts={[
            ['Group', page.value.group],
            ['Labels', <UntrustedText text={labelsText(page.value.labels) || 'none'} />],
          ]}
        />
        <p class="soft">Changing them needs the role operator.</p>
      </Panel>
    );
  }
  const reload = () => {
    settings.reload();
    onChanged();
  };
  // Another tag: somebody changed them, and the form begins again.
  return <SettingsForm key={page.etag} id={id} page={page} onReload={reload} />;
}

function labelsText(labels: Settings['labels']): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

function SettingsForm(props: { readonly id: string; readonly page: Page<Settings>; readonly onReload: () => void }) {
  const { id, page } = props;
  const group = useSignal(page.value.group);
  const labels = useSignal(labelsText(page.value.labels));
  const { run, problem, isRunning } = useAct();
  const parsed = parseLabels(labels.value);
  const isStale = problem.value?.code === 'precondition_failed';
  const save = async () => {
    const removed = Object.keys(page.value.labels).map((name) => [name, null] as const);
    const body = { group: group.value.trim() as never, labels: { ...Object.fromEntries(removed), ...parsed } };
    const ifMatch = page.etag === undefined ? {} : { ifMatch: page.etag };
    const done = await run((idempotencyKey) =>
      api('PATCH /v1/devices/:id/settings', { params: { id }, body, idempotencyKey, ...ifMatch }),
    );
    if (done === undefined) return;
    announce('Group and labels were changed.');
    props.onReload();
  };
  return (
    <Panel title="Group and labels">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (parsed !== undefined) void save();
        }}
      >
        <p class="soft">
          The live session gets its new rights at once; a device that may no longer connect is disconnected.
        </p>
        <Field label="Group">
          {(ids) => (
            <input
              {...ids}
              required
              autocomplete="off"
              spellcheck={false}
              value={group}
              onInput={(event) => {
                group.value = event.currentTarget.value;
              }}
            />
          )}
        </Field>
        <Field
          label="Labels"
          hint="name=value, separated by spaces"
          mistake={parsed === undefined ? 'Expected name=value, as in site=hall-3' : undefined}
        >
          {(ids) => (
            <textarea
              {...ids}
              rows={3}
              spellcheck={false}
              value={labels}
              onInput={(event) => {
                labels.value = event.currentTarget.value;
              }}
            />
          )}
        </Field>
        {problem.value !== undefined && !isStale && <ProblemNotice problem={problem.value} />}
        {isStale && (
          <div class="notice bad" role="alert">
            <strong>Somebody changed group or labels since this page read them. Nothing was changed.</strong>
            <div class="row small">
              <code>precondition_failed</code>
              <button type="button" onClick={props.onReload}>
                Read them again
              </button>
            </div>
          </div>
        )}
        <div>
          <button type="submit" class="primary" disabled={parsed === undefined || isRunning.value}>
            Save
          </button>
        </div>
      </form>
    </Panel>
  );
}
