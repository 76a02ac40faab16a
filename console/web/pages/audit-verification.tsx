import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type AnswerOf, ApiProblem, api } from '../api.ts';
import { Copyable } from '../parts/copyable.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';

/** Reads the whole chain once when it opens, and says in words what that showed. */
export function AuditVerification() {
  const verdict = useSignal<AnswerOf<'GET /v1/audit/verify'> | undefined>(undefined);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  useEffect(() => {
    const abort = new AbortController();
    api('GET /v1/audit/verify', { signal: abort.signal }).then(
      (answer) => {
        verdict.value = answer;
      },
      (error: unknown) => {
        if (error instanceof ApiProblem) problem.value = error;
      },
    );
    return () => abort.abort();
  }, []);
  if (problem.value !== undefined) return <ProblemNotice problem={problem.value} />;
  if (verdict.value === undefined) return <p role="status">Reading every entry …</p>;
  const { isWhole, entries, head, fault } = verdict.value;
  if (!isWhole) {
    return (
      <div class="notice bad" role="alert">
        <strong>The audit is not intact: {fault}</strong>
        <p>
          Somebody changed the registry's file beside the server. Compare an export that was stored elsewhere, and treat
          the machine as one that others have used.
        </p>
      </div>
    );
  }
  return (
    <div class="notice good" role="status">
      <strong>
        The audit is intact: {entries === 1 ? '1 entry' : `${entries} entries`}, none changed, and none missing.
      </strong>
      <p>
        A program that can write the file could write a whole new chain. Store this head on another machine, and later
        run "rollcall audit verify --head" with it:
      </p>
      <Copyable text={`${head.id}:${head.hash}`} label="the head" />
    </div>
  );
}
