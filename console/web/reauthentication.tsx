import { useSignal } from '@preact/signals';
import { useAct } from './act.ts';
import { api } from './api.ts';
import { CodeField, PasswordField } from './parts/credential-fields.tsx';
import { Dialog } from './parts/dialog.tsx';
import { SignInProblem } from './parts/sign-in-problem.tsx';
import { usePasskey } from './passkey.ts';
import { useResource } from './resource.ts';
import { reauthentication, renewSession, self } from './session.ts';
import { OIDC_SIGN_IN, rememberPage } from './sign-in-path.ts';

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
  const ways = useResource((signal) => api('GET /v1/sign-in', { signal }), 'ways');
  const finish = (signedIn: { readonly csrfToken: string } | undefined) => {
    if (signedIn === undefined) return;
    renewSession(signedIn.csrfToken);
    answer(true);
  };
  const withPasskey = async () =>
    finish(
      await run(async (idempotencyKey) => {
        const credential = await usePasskey(await api('POST /v1/reauthenticate/passkey/options'));
        return api('POST /v1/reauthenticate/passkey', { body: { credential }, idempotencyKey });
      }),
    );
  const methods = ways.data.value?.methods ?? [];
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = { password: password.value, ...(code.value !== '' && { code: code.value }) };
    const signedIn = await run((idempotencyKey) => api('POST /v1/reauthenticate', { body, idempotencyKey }));
    if (problem.value?.code === 'code_required') needsCode.value = true;
    finish(signedIn);
  };
  return (
    <Dialog title="Confirm that it is you" onClose={() => answer(false)}>
      <form class="form" onSubmit={submit}>
        <p>This needs a sign-in of the last five minutes.</p>
        <input type="text" autocomplete="username" value={operatorName()} readOnly hidden />
        <PasswordField label="Password" value={password} autocomplete="current-password" />
        {needsCode.value && <CodeField value={code} />}
        <SignInProblem problem={problem.value} />
        {methods.includes('oidc') && (
          <p class="small">
            Without a password here,{' '}
            <a href={`${OIDC_SIGN_IN}?again=true`} target="_top" onClick={rememberThisPage}>
              sign in with the identity provider again
            </a>
            ; what you were doing is then to be repeated.
          </p>
        )}
        <div class="dialog-actions">
          {methods.includes('passkey') && (
            <button type="button" class="first" disabled={isRunning.value} onClick={withPasskey}>
              Use a passkey
            </button>
          )}
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

function rememberThisPage(): void {
  rememberPage(`${location.pathname}${location.search}`);
}

function operatorName(): string {
  return self.value?.actor.replace(/^operator\//, '') ?? '';
}
