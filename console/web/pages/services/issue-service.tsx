import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Copyable } from '../../parts/copyable.tsx';
import { Dialog } from '../../parts/dialog.tsx';
import { Field } from '../../parts/field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';

/** Issues a certificate for a pasted request: a private key is not made in a browser, and not sent anywhere. */
export function IssueService(props: {
  /** Of a service that exists. */
  readonly name?: string;
  /** Its other certificates stay valid; a revoked service has none. */
  readonly again?: boolean;
  readonly onIssued: (issued: AnswerOf<'POST /v1/services'>) => void;
  readonly onClose: () => void;
}) {
  const isKnown = props.name !== undefined;
  const isAgain = props.again === true;
  const name = useSignal(props.name ?? '');
  const csr = useSignal('');
  const { problem, isRunning, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const issued = await run((idempotencyKey) =>
      api('POST /v1/services', {
        body: { name: name.value.trim(), csrPem: csr.value, again: isAgain },
        idempotencyKey,
      }),
    );
    if (issued !== undefined) props.onIssued(issued);
  };
  const shown = name.value.trim() === '' ? 'NAME' : name.value.trim();
  const again = isAgain ? ' --again' : '';
  return (
    <Dialog title={isKnown ? `Issue a certificate for ${props.name}` : 'Issue a certificate'} onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <p class="soft">
          The private key is made where the application runs, and stays there.
          {isAgain && ' The other certificates of the service stay valid.'}
        </p>
        {!isKnown && (
          <Field label="Name" hint="Its client ids are this name, and this name with - and an ending.">
            {(ids) => (
              <input
                {...ids}
                required
                autocomplete="off"
                spellcheck={false}
                value={name}
                onInput={({ currentTarget }) => {
                  name.value = currentTarget.value;
                }}
              />
            )}
          </Field>
        )}
        <div>
          <h3>A request, made on the machine of the application</h3>
          <Copyable
            text={`openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=${shown}`}
            label="the command that makes a request"
          />
        </div>
        <Field label="Certificate request" hint="PKCS#10 in PEM: what the command prints.">
          {(ids) => (
            <textarea
              {...ids}
              required
              rows={6}
              spellcheck={false}
              placeholder="-----BEGIN CERTIFICATE REQUEST-----"
              value={csr}
              onInput={({ currentTarget }) => {
                csr.value = currentTarget.value;
              }}
            />
          )}
        </Field>
        <details>
          <summary>Or by the command line, key and certificate at once</summary>
          <Copyable
            text={`rollcall service issue ${shown} --out ${shown}${again}`}
            label="the command that issues a service"
          />
        </details>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value}>
            Issue
          </button>
        </div>
      </form>
    </Dialog>
  );
}
