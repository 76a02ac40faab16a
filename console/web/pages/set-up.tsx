import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { useLocation } from 'preact-iso';
import { useAct } from '../act.ts';
import { type AnswerOf, ApiProblem, api } from '../api.ts';
import { CodeField, PasswordField } from '../parts/credential-fields.tsx';
import { Field } from '../parts/field.tsx';
import { PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { SignInProblem } from '../parts/sign-in-problem.tsx';
import { Time } from '../parts/time.tsx';
import { useResource } from '../resource.ts';
import { beginSession, self } from '../session.ts';
import { Passkeys } from './settings/passkeys.tsx';
import { SecondFactor } from './settings/second-factor.tsx';
import './settings/settings.css';

type Link = AnswerOf<'POST /v1/sign-in/link'>;

/** Where a one-time link leads: the first operator, or the password of one who was invited. */
export function SetUp() {
  const secret = useSecretOfAddress();
  const isDone = useSignal(false);
  if (isDone.value && self.value !== null) return <Done />;
  return secret.value === '' ? <NoLink /> : <UseLink key={secret.value} secret={secret.value} isDone={isDone} />;
}

/** The part after #, which is removed from the address and from the history at once. */
function useSecretOfAddress(): Signal<string> {
  const secret = useSignal('');
  useEffect(() => {
    const take = () => {
      if (location.hash.length < 2) return;
      secret.value = location.hash.slice(1);
      history.replaceState(history.state, '', location.pathname);
    };
    take();
    addEventListener('hashchange', take);
    return () => removeEventListener('hashchange', take);
  }, []);
  return secret;
}

function UseLink({ secret, isDone }: { readonly secret: string; readonly isDone: Signal<boolean> }) {
  const link = useSignal<Link | undefined>(undefined);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  useEffect(() => {
    api('POST /v1/sign-in/link', { body: { secret } }).then(
      (answer) => {
        link.value = answer;
      },
      (error: unknown) => {
        problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
      },
    );
  }, []);
  if (problem.value?.code === 'link_invalid' || problem.value?.code === 'request_invalid') return <InvalidLink />;
  if (problem.value !== undefined) return <ProblemNotice problem={problem.value} />;
  if (link.value === undefined) return <p class="spinner">Loading</p>;
  return <LinkForm secret={secret} link={link.value} isDone={isDone} />;
}

function LinkForm(props: { readonly secret: string; readonly link: Link; readonly isDone: Signal<boolean> }) {
  const { secret, link } = props;
  const isFirst = link.operator === undefined;
  const operator = useSignal(link.operator ?? '');
  const password = useSignal('');
  const code = useSignal('');
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = {
      secret,
      password: password.value,
      ...(isFirst && { operator: operator.value.trim() }),
      ...(link.needsCode && { code: code.value }),
    };
    const signedIn = await run((idempotencyKey) => api('POST /v1/sign-in/link/use', { body, idempotencyKey }));
    if (signedIn === undefined) return;
    await run(beginSession);
    props.isDone.value = true;
  };
  return (
    <>
      <PageHead
        title={isFirst ? 'Welcome to Rollcall' : 'Set your password'}
        description={isFirst ? 'Add yourself as the first operator. You will be an admin.' : undefined}
      />
      <form class="form panel panel-body" onSubmit={submit}>
        <Field label="Name" hint={isFirst ? 'Small letters and digits, such as ada. The audit names you by it.' : ''}>
          {(ids) => (
            <input
              {...ids}
              autocomplete="username"
              spellcheck={false}
              autocapitalize="off"
              required
              readOnly={!isFirst}
              value={operator.value}
              onInput={({ currentTarget }) => {
                operator.value = currentTarget.value;
              }}
            />
          )}
        </Field>
        <PasswordField label="Password" hint="12 characters or more." value={password} autocomplete="new-password" />
        {link.needsCode && <CodeField value={code} />}
        <SignInProblem problem={problem.value} />
        <button type="submit" class="primary" disabled={isRunning.value}>
          {isFirst ? 'Add me and sign in' : 'Set the password and sign in'}
        </button>
        <p class="soft small">
          The link works once, until <Time at={link.expiresAt} />.
        </p>
      </form>
    </>
  );
}

/** What makes a stolen password useless, offered while the password is fresh. */
function Done() {
  const { route } = useLocation();
  const account = useResource((signal) => api('GET /v1/account', { signal }), 'account');
  const ways = useResource((signal) => api('GET /v1/sign-in', { signal }), 'ways');
  const { value } = account.data;
  return (
    <>
      <PageHead
        title="You are signed in"
        description="Add a second way to sign in now, or later under Settings: then a stolen password opens nothing."
      />
      {value !== undefined && (
        <>
          {ways.data.value?.methods.includes('passkey') === true && (
            <Passkeys account={value} onChanged={account.reload} />
          )}
          <SecondFactor account={value} onChanged={account.reload} />
        </>
      )}
      <button type="button" class="primary" onClick={() => route('/', true)}>
        Open the console
      </button>
    </>
  );
}

function NoLink() {
  return (
    <>
      <PageHead title="This page needs a link" />
      <div class="notice">
        <p>
          The first operator comes here by the link that <code>rollcall serve</code> prints, or{' '}
          <code>rollcall operator set-up-link</code>. Others get a link from an admin. Open it whole, with everything
          after the #.
        </p>
      </div>
      <a class="button" href="/sign-in">
        Sign in
      </a>
    </>
  );
}

function InvalidLink() {
  return (
    <>
      <PageHead title="This link does not work any more" />
      <div class="notice bad" role="alert">
        <strong>It was used already, was replaced by a newer one, or has expired.</strong>
        <p>
          If you did not use it yourself, somebody else has: tell an admin at once, who sees it in the audit and ends
          that access. Otherwise ask for a new link.
        </p>
      </div>
      <a class="button" href="/sign-in">
        Sign in
      </a>
    </>
  );
}
