import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ApiProblem } from '../api.ts';

/** Why a sign-in was refused, in words that say what to do. A code that is only asked for is no problem. */
export function SignInProblem({ problem }: { readonly problem: ApiProblem | undefined }) {
  if (problem === undefined || problem.code === 'code_required') return null;
  return (
    <p class="notice bad" role="alert">
      {problem.code === 'rate_limited' ? <Wait seconds={problem.retryAfter ?? 60} /> : wordsOf(problem)}
    </p>
  );
}

function wordsOf({ code, message }: ApiProblem): string {
  switch (code) {
    case 'sign_in_refused':
      return 'The name, the password or the code is not right.';
    case 'password_refused':
      return 'Choose a password of 12 characters or more.';
    case 'link_invalid':
      return 'The link was used already, was replaced by a newer one, or has expired.';
    case 'passkey_refused':
      return 'This passkey is not accepted: it was removed, or belongs to an operator who is disabled.';
    case 'passkey_unused':
      return message;
    case 'unreachable':
      return 'The server does not answer. Try again.';
    default:
      return `${message} (${code})`;
  }
}

/** Counts down. */
function Wait({ seconds }: { readonly seconds: number }) {
  const left = useSignal(seconds);
  useEffect(() => {
    const end = Date.now() + seconds * 1_000;
    const timer = setInterval(() => {
      left.value = Math.max(0, Math.ceil((end - Date.now()) / 1_000));
    }, 1_000);
    return () => clearInterval(timer);
  }, [seconds]);
  const text =
    left.value === 0 ? 'You can try again now.' : `Too many attempts failed. Wait ${left.value} s, then try again.`;
  return <>{text}</>;
}
