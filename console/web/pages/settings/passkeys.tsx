import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation, Dialog } from '../../parts/dialog.tsx';
import { Field } from '../../parts/field.tsx';
import { announce } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { createPasskey } from '../../passkey.ts';

type Account = AnswerOf<'GET /v1/account'>;
type Passkey = Account['passkeys'][number];

/** Signing in without a password, by what unlocks the device. */
export function Passkeys(props: { readonly account: Account; readonly onChanged: () => void }) {
  const { passkeys } = props.account;
  const isAdding = useSignal(false);
  const removed = useSignal<Passkey | undefined>(undefined);
  const finish = () => {
    isAdding.value = false;
    removed.value = undefined;
    props.onChanged();
  };
  return (
    <Panel
      title="Passkeys"
      actions={
        <button
          type="button"
          onClick={() => {
            isAdding.value = true;
          }}
        >
          Add a passkey
        </button>
      }
    >
      {passkeys.length === 0 ? (
        <p>Sign in by fingerprint, face, PIN or security key, without a password that could be stolen.</p>
      ) : (
        <ul class="passkeys">
          {passkeys.map((passkey) => (
            <li key={passkey.id}>
              <div>
                <strong>
                  <UntrustedText text={passkey.name} />
                </strong>
                <div class="soft small">
                  for {passkey.rpId}, added <Time at={passkey.createdAt} relative />,{' '}
                  {passkey.lastUsedAt === undefined ? (
                    'never used'
                  ) : (
                    <>
                      last used <Time at={passkey.lastUsedAt} relative />
                    </>
                  )}
                </div>
              </div>
              <button
                type="button"
                class="danger"
                aria-label={`Remove the passkey ${passkey.name}`}
                onClick={() => {
                  removed.value = passkey;
                }}
              >
                Remove
              </button>
            </li>
          ))}
        </ul>
      )}
      {isAdding.value && (
        <AddPasskey
          onDone={finish}
          onClose={() => {
            isAdding.value = false;
          }}
        />
      )}
      {removed.value !== undefined && (
        <RemovePasskey
          passkey={removed.value}
          onDone={finish}
          onClose={() => {
            removed.value = undefined;
          }}
        />
      )}
    </Panel>
  );
}

function AddPasskey(props: { readonly onDone: () => void; readonly onClose: () => void }) {
  const name = useSignal('This device');
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const added = await run(async (idempotencyKey) => {
      const credential = await createPasskey(await api('POST /v1/account/passkeys/options'));
      return api('POST /v1/account/passkeys', { body: { name: name.value.trim(), credential }, idempotencyKey });
    });
    if (added === undefined) return;
    announce(`The passkey ${added.name} is added.`);
    props.onDone();
  };
  return (
    <Dialog title="Add a passkey" onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <Field label="Name" hint="By which you recognize it, such as work laptop.">
          {(ids) => (
            <input
              {...ids}
              autocomplete="off"
              required
              maxLength={64}
              value={name.value}
              onInput={({ currentTarget }) => {
                name.value = currentTarget.value;
              }}
            />
          )}
        </Field>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value}>
            Add
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function RemovePasskey(props: {
  readonly passkey: Passkey;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { id, name } = props.passkey;
  const { problem, run } = useAct();
  const act = async () => {
    const done = await run((idempotencyKey) =>
      api('POST /v1/account/passkeys/remove', { body: { id }, idempotencyKey }),
    );
    if (done === undefined) return;
    announce(`The passkey ${name} is removed.`);
    props.onDone();
  };
  return (
    <Confirmation title="Remove a passkey" action="Remove" act={act} onClose={props.onClose}>
      <div class="form">
        <p>
          <UntrustedText text={name} /> is refused from then on.
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
