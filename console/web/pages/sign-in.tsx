import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { useLocation } from 'preact-iso';
import { useAct } from '../act.ts';
import { api } from '../api.ts';
import { CodeField, PasswordField } from '../parts/credential-fields.tsx';
import { Field } from '../parts/field.tsx';
import { PageHead } from '../parts/panel.tsx';
import { SignInProblem } from '../parts/sign-in-problem.tsx';
import { usePasskey } from '../passkey.ts';
import { useResource } from '../resource.ts';
import { beginSession, isSessionEnded, self } from '../session.ts';
import { nextPath, OIDC_SIGN_IN, rememberPage } from '../sign-in-path.ts';

/** The way in, and then to the page that the operator wanted. */
export function SignIn() {
  const { query, route } = useLocation();
  const isSignedIn = self.value !== null && self.value !== undefined;
  useEffect(() => {
    if (isSignedIn) route(nextPath(query.next), true);
  }, [isSignedIn]);
  const ways = useResource((signal) => api('GET /v1/sign-in', { signal }), 'ways');
  if (isSignedIn) return null;
  const methods = ways.data.value?.methods ?? [];
  return (
    <>
      <PageHead title="Sign in" />
      {isSessionEnded.value && (
        <p class="notice warn" role="status">
          Your session ended. Sign in again to go on where you were.
        </p>
      )}
      {ways.data.value?.needsFirstOperator === true && <NoOperator />}
      {query.refused !== undefined && (
        <p class="notice bad" role="alert">
          {providerWordsOf(query.refused)}
        </p>
      )}
      <PasswordSignIn />
      {methods.includes('passkey') && <PasskeySignIn />}
      {methods.includes('certificate') && <CertificateSignIn />}
      {methods.includes('oidc') && (
        <a class="button" href={OIDC_SIGN_IN} target="_top" onClick={() => rememberPage(nextPath(query.next))}>
          Sign in with the identity provider
        </a>
      )}
    </>
  );
}

/** The browser has shown a certificate of an operator. */
function CertificateSignIn() {
  const { isRunning, problem, run } = useAct();
  const submit = async () => {
    const signedIn = await run((idempotencyKey) => api('POST /v1/sign-in/certificate', { idempotencyKey }));
    if (signedIn !== undefined) await run(beginSession);
  };
  return (
    <>
      <SignInProblem problem={problem.value} />
      <button type="button" disabled={isRunning.value} onClick={submit}>
        Sign in with your certificate
      </button>
    </>
  );
}

/** With which code the server refused an account of the identity provider. */
function providerWordsOf(code: string): string {
  switch (code) {
    case 'oidc_no_access':
      return 'Your account at the identity provider has no access here. Ask an admin to give it a role.';
    case 'oidc_unavailable':
      return 'The identity provider cannot be reached now. Try again, or sign in with a password.';
    case 'operator_disabled':
      return 'This operator is disabled. Ask an admin.';
    case 'rate_limited':
      return 'There were too many sign-ins. Wait a moment, then try again.';
    default:
      return 'The identity provider did not confirm the sign-in. Try again.';
  }
}

function PasswordSignIn() {
  const operator = useSignal('');
  const password = useSignal('');
  const code = useSignal('');
  const needsCode = useSignal(false);
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = {
      operator: operator.value.trim(),
      password: password.value,
      ...(needsCode.value && { code: code.value }),
    };
    const signedIn = await run((idempotencyKey) => api('POST /v1/sign-in', { body, idempotencyKey }));
    if (problem.value?.code === 'code_required') needsCode.value = true;
    if (signedIn !== undefined) await run(beginSession);
  };
  return (
    <form class="form panel panel-body" onSubmit={submit}>
      <Field label="Name">
        {(ids) => (
          <input
            {...ids}
            autocomplete="username webauthn"
            spellcheck={false}
            autocapitalize="off"
            required
            value={operator.value}
            onInput={({ currentTarget }) => {
              operator.value = currentTarget.value;
            }}
          />
        )}
      </Field>
      <PasswordField label="Password" value={password} autocomplete="current-password" />
      {needsCode.value && <CodeField value={code} />}
      <SignInProblem problem={problem.value} />
      <button type="submit" class="primary" disabled={isRunning.value}>
        Sign in
      </button>
      <p class="soft small">
        Forgotten? An admin makes a new link under Settings, or on the server: <code>rollcall operator link NAME</code>
      </p>
    </form>
  );
}

function PasskeySignIn() {
  const { isRunning, problem, run } = useAct();
  const signIn = async () => {
    const signedIn = await run(async (idempotencyKey) => {
      const credential = await usePasskey(await api('POST /v1/sign-in/passkey/options'));
      return api('POST /v1/sign-in/passkey', { body: { credential }, idempotencyKey });
    });
    if (signedIn !== undefined) await run(beginSession);
  };
  return (
    <>
      <button type="button" disabled={isRunning.value} onClick={signIn}>
        Sign in with a passkey
      </button>
      <SignInProblem problem={problem.value} />
    </>
  );
}

function NoOperator() {
  return (
    <div class="notice">
      <strong>There is no operator yet.</strong>
      <p>
        The server printed a link with which you add the first one. For another link, run this on the server:{' '}
        <code>rollcall operator set-up-link</code>
      </p>
    </div>
  );
}
