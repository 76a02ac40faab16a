import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type AnswerOf, ApiProblem, api } from '../../api.ts';
import { Field } from '../../parts/field.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import {
  changesBetween,
  type EffectivePolicy,
  type Policy,
  type Scope,
  VERB_NAMES,
  VERBS,
  type Verb,
} from './policy-document.ts';
import { ReviewPolicy } from './review-policy.tsx';

/** The server is asked once the operator has paused for so long. */
const PAUSE_MS = 350;
const MIN_ROWS = 2;

type Fault = AnswerOf<'POST /v1/policies/check'>['faults'][number];

/** The lists of a policy as text, one rule a line, checked by the server while they are typed. Nothing is saved before the review. */
export function PolicyEditor(props: {
  readonly scope: Scope;
  readonly effective: EffectivePolicy;
  readonly etag: string | undefined;
  readonly onSaved: () => void;
  readonly onCancel: () => void;
  readonly onStale: () => void;
}) {
  const { effective, scope } = props;
  const texts = useSignal<Readonly<Record<Verb, string>>>(textsOf(effective.policy));
  const isReviewed = useSignal(false);
  const policy = readTexts(texts.value);
  const check = useCheck(policy);
  const faults = check.faults.value;
  const isChanged = changesBetween(effective.policy, policy).length > 0 || effective.isDefault;
  const save = (idempotencyKey: string) =>
    api('PUT /v1/policies/:kind/:name', {
      params: { ...scope },
      body: policy,
      idempotencyKey,
      ...(props.etag !== undefined && { ifMatch: props.etag }),
    });
  return (
    <Panel title="Edit the rules">
      <p class="soft">
        One rule a line. Variables fill a level: <code>{'${device.id}'}</code>, <code>{'${device.group}'}</code>,{' '}
        <code>{'${device.labels.NAME}'}</code>, <code>{'${service.name}'}</code>. What no rule allows is refused.
        {effective.isDefault && ' This begins with the default that applies now.'}
      </p>
      <div class="form">
        {VERB_NAMES.map((verb) => (
          <VerbField key={verb} verb={verb} texts={texts} faults={faults.filter((fault) => fault.verb === verb)} />
        ))}
        {check.problem.value !== undefined && <ProblemNotice problem={check.problem.value} />}
        <div class="dialog-actions">
          <span class="soft small grow" role="status">
            {check.isRunning.value
              ? 'Checking'
              : faults.length === 0
                ? 'Every rule can be applied'
                : `${faults.length} cannot be applied`}
          </span>
          <button type="button" onClick={props.onCancel}>
            Cancel
          </button>
          <button
            type="button"
            class="primary"
            disabled={check.isRunning.value || faults.length > 0 || check.problem.value !== undefined || !isChanged}
            onClick={() => {
              isReviewed.value = true;
            }}
          >
            Review and save
          </button>
        </div>
      </div>
      {isReviewed.value && (
        <ReviewPolicy
          title="Save the policy"
          action="Save"
          scope={scope}
          before={effective.policy}
          after={policy}
          apply={save}
          onDone={props.onSaved}
          onStale={props.onStale}
          onClose={() => {
            isReviewed.value = false;
          }}
        />
      )}
    </Panel>
  );
}

function VerbField(props: {
  readonly verb: Verb;
  readonly texts: Signal<Readonly<Record<Verb, string>>>;
  readonly faults: readonly Fault[];
}) {
  const { verb, texts, faults } = props;
  const text = texts.value[verb];
  const rules = rulesIn(text);
  const mistakes = faults.map(({ index, fault }) => (index === undefined ? fault : `${rules[index]}: ${fault}`));
  return (
    <Field
      label={VERBS[verb][0]}
      hint={VERBS[verb][1]}
      mistake={mistakes.length === 0 ? undefined : mistakes.join('\n')}
    >
      {(ids) => (
        <textarea
          {...ids}
          class="code"
          rows={Math.max(MIN_ROWS, text.split('\n').length)}
          spellcheck={false}
          value={text}
          onInput={({ currentTarget }) => {
            texts.value = { ...texts.value, [verb]: currentTarget.value };
          }}
        />
      )}
    </Field>
  );
}

/** Has the server check the policy, at most once per pause and the newest alone. */
function useCheck(policy: Policy) {
  const faults = useSignal<readonly Fault[]>([]);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  const isRunning = useSignal(false);
  const key = JSON.stringify(policy);
  useEffect(() => {
    const abort = new AbortController();
    isRunning.value = true;
    const timer = setTimeout(() => {
      api('POST /v1/policies/check', { body: policy, signal: abort.signal }).then(
        (answer) => {
          faults.value = answer.faults;
          problem.value = undefined;
          isRunning.value = false;
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
          isRunning.value = false;
        },
      );
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key]);
  return { faults, problem, isRunning };
}

function textsOf(policy: Policy): Record<Verb, string> {
  return Object.fromEntries(VERB_NAMES.map((verb) => [verb, policy[verb].join('\n')])) as Record<Verb, string>;
}

function rulesIn(text: string): string[] {
  return text.split('\n').flatMap((line) => line.trim() || []);
}

function readTexts(texts: Readonly<Record<Verb, string>>): Policy {
  return Object.fromEntries(VERB_NAMES.map((verb) => [verb, rulesIn(texts[verb])])) as unknown as Policy;
}
