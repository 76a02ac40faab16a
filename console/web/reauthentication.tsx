import { useSignal } from '@preact/signals';
import { useAct } from './act.ts';
import { api } from './api.ts';
import { CodeField, PasswordField } from './parts/credential-fields.tsx';
import { Dialog } from './parts/dialog.tsx';
import { SignInProblem } from './parts/sign-in-problem.tsx';
import { reauthentication, renewSession, self } from './session.ts';

/** Asks who this is before an act that needs a recent sign-in; the request waits, and is sent again afterwards. */
export function Reauthentication() {
  const answer = reauthentication.value;
  return answer === undefined ? null : <ReauthenticationDialog answer={answer} />;
}

function ReauthenticationDialog({ answer }: { readonly answer: (isAuthenticated: boolean) => void }) {
  const password = useSignal('');
  const code = useSignal('');
  const needsCode = useSignal(false);
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = { password: password.value, ...(code.value !== '' && { code: code.value }) };
    const signedIn = await run((idempotencyKey) => api('POST /v1/reauthenticate', { body, idempotencyKey }));
    if (problem.value?.code === 'code_required') needsCode.value = true;
    if (signedIn === undefined) return;
    renewSession(signedIn.csrfToken);
    answer(true);
  };
  return (
    <Dialog title="Confirm that it is you" onClose={() => answer(false)}>
      <form class="form" onSubmit={submit}>
        <p>This needs a sign-in of the last five minutes.</p>
        <input type="text" autocomplete="username" value={operatorName()} readOnly hidden />
        <PasswordField label="Password" value={password} autocomplete="current-password" />
        {needsCode.value && <CodeField value={code} />}
        <SignInProblem problem={problem.value} />
        <div class="dialog-actions">
          <button type="button" onClick={() => answer(false)}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value || password.value === ''}>
            Continue
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function operatorName(): string {
  return self.value?.actor.replace(/^operator\//, '') ?? '';
}
