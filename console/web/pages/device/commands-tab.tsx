/** Commands to a device, with its replies. */

import { useSignal } from '@preact/signals';
import { type AnswerOf, ApiProblem, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Field } from '../../parts/field.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { mayAct } from '../../session.ts';
import { Payload } from './payload.tsx';

type CommandResult = AnswerOf<'POST /v1/devices/:id/commands'>;

interface SentCommand {
  readonly key: string;
  readonly name: string;
  readonly payload: string;
  readonly at: string;
  readonly result?: CommandResult;
  readonly problem?: ApiProblem;
}

const WAITS = [
  ['0', 'Do not wait'],
  ['10', '10 seconds'],
  ['30', '30 seconds'],
  ['90', '90 seconds'],
] as const;
const EXPIRIES = [
  ['', 'Never'],
  ['60', 'After 1 minute'],
  ['3600', 'After 1 hour'],
  ['86400', 'After 1 day'],
] as const;
const SECONDS: Readonly<Record<string, number>> = { 0: 0, 10: 10, 30: 30, 90: 90, 60: 60, 3600: 3_600, 86400: 86_400 };
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function CommandsTab({ id }: { readonly id: string }) {
  const sent = useSignal<readonly SentCommand[]>([]);
  const update = (key: string, change: Partial<SentCommand>) => {
    sent.value = sent.value.map((command) => (command.key === key ? { ...command, ...change } : command));
  };
  const send = async (name: string, payload: string, waitSeconds: number, expiresSeconds: number | undefined) => {
    const key = crypto.randomUUID();
    sent.value = [{ key, name, payload, at: new Date().toISOString() }, ...sent.value];
    const body = {
      ...{ name, waitSeconds },
      ...(payload.trim() !== '' && { payload: JSON.parse(payload) as unknown }),
      ...(expiresSeconds !== undefined && { expiresSeconds }),
    };
    try {
      update(key, {
        result: await api('POST /v1/devices/:id/commands', { params: { id }, body, idempotencyKey: key }),
      });
    } catch (error) {
      update(key, { problem: error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error)) });
    }
  };
  return (
    <>
      {mayAct() ? (
        <CommandForm onSend={send} />
      ) : (
        <p class="soft">
          Sending a command needs the role operator. The audit of this device has the commands that were sent.
        </p>
      )}
      {sent.value.length > 0 && (
        <Panel title="Commands of this page" bare>
          <ul class="last-messages" aria-live="polite">
            {sent.value.map((command) => (
              <Command key={command.key} command={command} />
            ))}
          </ul>
        </Panel>
      )}
      <p class="small soft">
        Earlier commands are in the <a href={`/devices/${encodeURIComponent(id)}?tab=audit`}>audit of this device</a>,
        without payloads and replies, which may contain secrets.
      </p>
    </>
  );
}

function CommandForm(props: {
  readonly onSend: (name: string, payload: string, wait: number, expires: number | undefined) => Promise<void>;
}) {
  const name = useSignal('');
  const payload = useSignal('');
  const wait = useSignal('30');
  const expires = useSignal('');
  const isNamed = NAME.test(name.value);
  const isJson = payload.value.trim() === '' || readsAsJson(payload.value);
  return (
    <Panel title="Send a command">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (isNamed && isJson) {
            void props.onSend(name.value, payload.value, SECONDS[wait.value] ?? 0, SECONDS[expires.value]);
          }
        }}
      >
        <div class="chart-choices">
          <Field
            label="Command"
            hint="As the handler of the device is named"
            mistake={
              name.value === '' || isNamed ? undefined : 'Expected letters, digits, dots, hyphens and underscores'
            }
          >
            {(ids) => (
              <input
                {...ids}
                autocomplete="off"
                spellcheck={false}
                value={name}
                onInput={(event) => {
                  name.value = event.currentTarget.value;
                }}
              />
            )}
          </Field>
          <SecondsField label="Wait for the reply" value={wait} choices={WAITS} />
          <SecondsField label="Expires" value={expires} choices={EXPIRIES} />
        </div>
        <Field label="Payload" hint="JSON; left empty, null" mistake={isJson ? undefined : 'Expected JSON'}>
          {(ids) => (
            <textarea
              {...ids}
              rows={4}
              spellcheck={false}
              value={payload}
              onInput={(event) => {
                payload.value = event.currentTarget.value;
              }}
            />
          )}
        </Field>
        <div>
          <button type="submit" class="primary" disabled={!isNamed || !isJson}>
            Send
          </button>
        </div>
      </form>
    </Panel>
  );
}

function SecondsField(props: {
  readonly label: string;
  readonly value: { value: string };
  readonly choices: readonly (readonly [value: string, title: string])[];
}) {
  return (
    <Field label={props.label}>
      {(ids) => (
        <select
          {...ids}
          value={props.value.value}
          onChange={(event) => {
            props.value.value = event.currentTarget.value;
          }}
        >
          {props.choices.map(([value, title]) => (
            <option key={value} value={value}>
              {title}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function readsAsJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function Command({ command }: { readonly command: SentCommand }) {
  const { name, payload, at, result, problem } = command;
  return (
    <li>
      <div class="row">
        <h3>{name}</h3>
        <span class="soft small">
          <Time at={at} />
        </span>
        {result === undefined ? (
          problem === undefined && <Badge tone="info">waiting</Badge>
        ) : (
          <Outcome result={result} />
        )}
      </div>
      {payload.trim() !== '' && (
        <div class="small soft break mono">
          <UntrustedText text={payload} max={300} />
        </div>
      )}
      {problem !== undefined && <ProblemNotice problem={problem} />}
      {result?.response !== undefined && (
        <Payload payload={result.response.payload} text={result.response.text} base64={result.response.base64} />
      )}
    </li>
  );
}

function Outcome({ result }: { readonly result: CommandResult }) {
  const { outcome, delivery, response } = result;
  if (outcome === 'answered') {
    const { payload } = response ?? {};
    const isError = typeof payload === 'object' && payload !== null && Object.hasOwn(payload, 'error');
    return <Badge tone={isError ? 'bad' : 'good'}>{isError ? 'answered with an error' : 'answered'}</Badge>;
  }
  if (delivery === 'stored') return <Badge tone="warn">stored: the device gets it when it connects</Badge>;
  return <Badge tone={outcome === 'sent' ? 'info' : 'warn'}>{outcome === 'sent' ? 'sent' : 'no reply in time'}</Badge>;
}
