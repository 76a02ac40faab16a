import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Copyable } from '../../parts/copyable.tsx';
import { CodeField } from '../../parts/credential-fields.tsx';
import { Confirmation, Dialog } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { QrCode } from '../../parts/qr-code.tsx';

type Account = AnswerOf<'GET /v1/account'>;
type Step = 'none' | 'begin' | 'remove' | 'renew';

/** Codes of an authenticator app beside the password (TOTP), and recovery codes for a lost one. */
export function SecondFactor(props: { readonly account: Account; readonly onChanged: () => void }) {
  const { totp, recoveryCodes } = props.account;
  const step = useSignal<Step>('none');
  const codes = useSignal<readonly string[] | undefined>(undefined);
  const isOn = totp === 'confirmed';
  const go = (next: Step) => () => {
    step.value = next;
  };
  const finish = (made?: readonly string[]) => {
    step.value = 'none';
    codes.value = made;
    props.onChanged();
  };
  return (
    <Panel
      title="Authenticator app"
      actions={
        isOn ? (
          <>
            <button type="button" onClick={go('renew')}>
              New recovery codes
            </button>
            <button type="button" class="danger" onClick={go('remove')}>
              Remove
            </button>
          </>
        ) : (
          <button type="button" onClick={go('begin')}>
            Set up
          </button>
        )
      }
    >
      {isOn ? (
        <p>
          <Badge tone="good">on</Badge> A sign-in with the password needs a code.{' '}
          {recoveryCodes === 0 ? 'No recovery code is left.' : `${recoveryCodes} recovery codes are left.`}
        </p>
      ) : (
        <p>A code of an app on your phone, beside the password. A stolen password alone then opens nothing.</p>
      )}
      {step.value === 'begin' && <SetUpTotp onDone={finish} onClose={go('none')} />}
      {step.value === 'remove' && <RemoveTotp onDone={finish} onClose={go('none')} />}
      {step.value === 'renew' && <RenewCodes onDone={finish} onClose={go('none')} />}
      {codes.value !== undefined && (
        <RecoveryCodes
          codes={codes.value}
          onClose={() => {
            codes.value = undefined;
          }}
        />
      )}
    </Panel>
  );
}

interface StepProps {
  readonly onDone: (codes?: readonly string[]) => void;
  readonly onClose: () => void;
}

function SetUpTotp({ onDone, onClose }: StepProps) {
  const made = useSignal<AnswerOf<'POST /v1/account/totp'> | undefined>(undefined);
  const code = useSignal('');
  const { isRunning, problem, run } = useAct();
  const begin = async () => {
    made.value = await run((idempotencyKey) => api('POST /v1/account/totp', { idempotencyKey }));
  };
  const confirm = async (event: Event) => {
    event.preventDefault();
    const body = { code: code.value };
    const answer = await run((idempotencyKey) => api('POST /v1/account/totp/confirm', { body, idempotencyKey }));
    if (answer !== undefined) onDone(answer.recoveryCodes);
  };
  const { value } = made;
  return (
    <Dialog title="Set up an authenticator app" onClose={onClose}>
      {value === undefined ? (
        <div class="form">
          <p>You need an app that makes codes, such as the one of your password manager.</p>
          {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
          <div class="dialog-actions">
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="button" class="primary" disabled={isRunning.value} onClick={begin}>
              Show the QR code
            </button>
          </div>
        </div>
      ) : (
        <form class="form" onSubmit={confirm}>
          <p>Scan it with the app, or type the secret there. Then type the code that the app shows.</p>
          <div class="totp-code">
            <QrCode text={value.url} label="The secret as a QR code" />
          </div>
          <Copyable text={value.secret} label="the secret" />
          <CodeField value={code} hint="Six digits." />
          {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
          <div class="dialog-actions">
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" class="primary" disabled={isRunning.value}>
              Turn it on
            </button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

function RecoveryCodes(props: { readonly codes: readonly string[]; readonly onClose: () => void }) {
  return (
    <Dialog title="Recovery codes" onClose={props.onClose}>
      <div class="form">
        <p>
          Each is for one sign-in without the app. Store them where you store your passwords: they are shown this one
          time.
        </p>
        <Copyable text={props.codes.join('\n')} label="the recovery codes" />
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={props.onClose}>
            I stored them
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function RemoveTotp({ onDone, onClose }: StepProps) {
  const { problem, run } = useAct();
  const act = async () => {
    const done = await run((idempotencyKey) => api('POST /v1/account/totp/remove', { idempotencyKey }));
    if (done === undefined) return;
    announce('The authenticator app is removed.');
    onDone();
  };
  return (
    <Confirmation title="Remove the authenticator app" action="Remove" act={act} onClose={onClose}>
      <div class="form">
        <p>The password alone is enough from then on, and the recovery codes end.</p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}

function RenewCodes({ onDone, onClose }: StepProps) {
  const { problem, run } = useAct();
  const act = async () => {
    const answer = await run((idempotencyKey) => api('POST /v1/account/recovery-codes', { idempotencyKey }));
    if (answer !== undefined) onDone(answer.recoveryCodes);
  };
  return (
    <Confirmation title="Make new recovery codes" action="Make new codes" act={act} onClose={onClose}>
      <div class="form">
        <p>The former codes are refused from then on.</p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
