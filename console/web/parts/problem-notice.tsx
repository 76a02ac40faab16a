import type { ApiProblem } from '../api.ts';

/** A refused or failed request: the sentence of the server, its code, and a way to try again. */
export function ProblemNotice(props: { readonly problem: ApiProblem; readonly retry?: () => void }) {
  const { problem, retry } = props;
  return (
    <div class="notice bad" role="alert">
      <strong>{problem.message}</strong>
      <div class="row small soft">
        <code>{problem.code}</code>
        {problem.retryAfter !== undefined && <span>try again in {problem.retryAfter} s</span>}
        {retry !== undefined && (
          <button type="button" onClick={retry}>
            Try again
          </button>
        )}
      </div>
    </div>
  );
}
