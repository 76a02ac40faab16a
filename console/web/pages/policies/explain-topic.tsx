import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Field } from '../../parts/field.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useQueryState } from '../../query-state.ts';

type Question = 'publish' | 'subscribe' | 'receive';
type Explanation = AnswerOf<'POST /v1/policies/explain'>;

const REASONS: Readonly<Record<string, string>> = {
  no_rule: 'no rule allows it',
  topic_malformed: 'it is not a topic that MQTT allows here',
  topic_reserved: 'only the server uses this topic',
  client_id_not_own: 'the client id belongs to another device or service',
};

/** Asks the server whether an identity may use a topic. The question is in the address; `identity` leaves out who. */
export function ExplainTopic({ identity }: { readonly identity?: string }) {
  const [asked, setWho] = useQueryState('who');
  const who = identity ?? asked;
  const [verb, setVerb] = useQueryState('verb', 'publish');
  const [topic, setTopic] = useQueryState('topic');
  const fields = { who: useSignal(who), verb: useSignal(verb), topic: useSignal(topic) };
  const answer = useSignal<Explanation | undefined>(undefined);
  const { problem, isRunning, run } = useAct();
  const ask = async () => {
    const body = { identity: fields.who.value, verb: fields.verb.value as Question, topic: fields.topic.value };
    answer.value = await run(() => api('POST /v1/policies/explain', { body }));
  };
  // A link that contains a question is answered at once.
  useEffect(() => {
    if (who !== '' && topic !== '') void ask();
  }, []);
  const submit = (event: Event) => {
    event.preventDefault();
    if (identity === undefined) setWho(fields.who.value);
    setVerb(fields.verb.value);
    setTopic(fields.topic.value);
    void ask();
  };
  return (
    <Panel title="May it?">
      <form class={identity === undefined ? 'question' : 'question of-one'} onSubmit={submit}>
        {identity === undefined && (
          <TextField label="Device or service" value={fields.who} hint="A device id, or service/NAME." />
        )}
        <Field label="Wants to">
          {(ids) => (
            <select
              {...ids}
              value={fields.verb}
              onChange={({ currentTarget }) => {
                fields.verb.value = currentTarget.value;
              }}
            >
              <option value="publish">publish to</option>
              <option value="subscribe">subscribe to</option>
              <option value="receive">receive</option>
            </select>
          )}
        </Field>
        <TextField label="Topic" value={fields.topic} hint="Such as devices/press-1/telemetry/temperature." />
        <button type="submit" disabled={isRunning.value}>
          Ask
        </button>
      </form>
      {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      {answer.value !== undefined && <Verdict answer={answer.value} />}
    </Panel>
  );
}

function Verdict({ answer }: { readonly answer: Explanation }) {
  const { allowed, rule, reason = '' } = answer;
  return (
    <div class={`notice ${allowed ? 'good' : 'bad'}`} role="status">
      {allowed ? (
        <span>
          Allowed by the rule <code>{rule}</code>
        </span>
      ) : (
        <span>Refused: {REASONS[reason] ?? reason}</span>
      )}
    </div>
  );
}

function TextField(props: { readonly label: string; readonly hint: string; readonly value: Signal<string> }) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(ids) => (
        <input
          {...ids}
          required
          autocomplete="off"
          spellcheck={false}
          value={props.value}
          onInput={({ currentTarget }) => {
            props.value.value = currentTarget.value;
          }}
        />
      )}
    </Field>
  );
}
