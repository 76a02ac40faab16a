import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { PasswordField } from '../../parts/credential-fields.tsx';
import { Dialog } from '../../parts/dialog.tsx';
import { Facts } from '../../parts/facts.tsx';
import { announce } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { SignInProblem } from '../../parts/sign-in-problem.tsx';
import { Time } from '../../parts/time.tsx';
import { useResource } from '../../resource.ts';
import { self } from '../../session.ts';
import { Passkeys } from './passkeys.tsx';
import { ROLE_WORDS } from './roles.tsx';
import { SecondFactor } from './second-factor.tsx';

/** Who this is, and what the operator signs in with. */
export function Account() {
  const operator = self.value;
  if (operator?.session === undefined) {
    return (
      <Panel title="You">
        <p>
          This browser acts by a key, as <strong>{operator?.actor}</strong> with the role {operator?.role}. Sign in to
          have an account with a password.
        </p>
      </Panel>
    );
  }
  return <OwnAccount />;
}

function OwnAccount() {
  const account = useResource((signal) => api('GET /v1/account', { signal }), 'account');
  const { value } = account.data;
  if (account.problem.value !== undefined) {
    return <ProblemNotice problem={account.problem.value} retry={account.reload} />;
  }
  if (value === undefined) return <p class="spinner">Loading</p>;
  return (
    <>
      <Panel title="You">
        <Facts
          facts={[
            ['Name', value.operator],
            ['Role', `${value.role}: ${ROLE_WORDS[value.role]}`],
            ['Signed in', <Time at={self.value?.session?.authenticatedAt ?? ''} relative />],
          ]}
        />
      </Panel>
      <Password account={value} onChanged={account.reload} />
      <Passkeys account={value} onChanged={account.reload} />
      <SecondFactor account={value} onChanged={account.reload} />
    </>
  );
}

function Password(props: { readonly account: AnswerOf<'GET /v1/account'>; readonly onChanged: () => void }) {
  const isOpen = useSignal(false);
  const { passwordChangedAt } = props.account;
  const close = () => {
    isOpen.value = false;
  };
  return (
    <Panel
      title="Password"
      actions={
        <button
          type="button"
          onClick={() => {
            isOpen.value = true;
          }}
        >
          {passwordChangedAt === undefined ? 'Set a password' : 'Change'}
        </button>
      }
    >
      <p>
        {passwordChangedAt === undefined ? (
          'You have no password.'
        ) : (
          <>
            Changed <Time at={passwordChangedAt} relative />.
          </>
        )}
      </p>
      {isOpen.value && (
        <ChangePassword
          operator={props.account.operator}
          onClose={close}
          onDone={() => {
            close();
            props.onChanged();
          }}
        />
      )}
    </Panel>
  );
}

function ChangePassword(props: {
  readonly operator: string;
  readonly onClose: () => void;
  readonly onDone: () => void;
}) {
  const password = useSignal('');
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = { password: password.value };
    const done = await run((idempotencyKey) => api('POST /v1/account/password', { body, idempotencyKey }));
    if (done === undefined) return;
    announce('Your password is changed. Your other sessions ended.');
    props.onDone();
  };
  return (
    <Dialog title="Change your password" onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <input type="text" autocomplete="username" value={props.operator} readOnly hidden />
        <PasswordField
          label="New password"
          hint="12 characters or more. All your other sessions end."
          value={password}
          autocomplete="new-password"
        />
        <SignInProblem problem={problem.value} />
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value}>
            Change password
          </button>
        </div>
      </form>
    </Dialog>
  );
}
