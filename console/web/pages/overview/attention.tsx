import type { AnswerOf } from '../../api.ts';
import { Badge, type Tone } from '../../parts/badge.tsx';
import { Panel } from '../../parts/panel.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { countOf } from '../../quantities.ts';

type Finding = AnswerOf<'GET /v1/doctor'>['findings'][number];

export interface ProblemFound {
  readonly check: string;
  readonly tone: Tone;
  readonly found: string;
  readonly fix: string | undefined;
}

/** What the doctor found and the numbers tell, the worst first. */
export function problemsOf(
  { clonesSuspected, isReady, node, nodes }: AnswerOf<'GET /v1/overview'>,
  findings: readonly Finding[],
): readonly ProblemFound[] {
  const answering = nodes.filter(({ figures }) => figures !== undefined).length;
  const problems = findings
    .filter(({ outcome }) => outcome === 'failed' || outcome === 'warning')
    .map(({ check, outcome, found, fix, nodes: finders = [] }): ProblemFound => {
      const who = nodes.length > 1 && finders.length < answering ? `${finders.join(', ')}: ` : '';
      return { check, tone: outcome === 'failed' ? 'bad' : 'warn', found: `${who}${found}`, fix };
    });
  if (clonesSuspected > 0) {
    problems.push({
      check: 'clones',
      tone: 'bad',
      found: `since the start ${countOf(clonesSuspected, 'identity seems', 'identities seem')} to be used in two places`,
      fix: 'quarantine the device, then find out which one is the copy (docs/device-status.md)',
    });
  }
  const notReady = nodes.length > 1 ? nodes.filter(isInTrouble).map(({ name }) => name) : isReady ? [] : [node];
  for (const name of notReady) {
    problems.push({
      check: 'ready',
      tone: 'bad',
      found: `${nodes.length > 1 ? name : 'the server'} takes no devices, or cannot store what they send`,
      fix: 'the other entries say why; it starts, stops, or its disk is full',
    });
  }
  return [...problems.filter(({ tone }) => tone === 'bad'), ...problems.filter(({ tone }) => tone !== 'bad')];
}

/** One that was drained is not ready on purpose. One that is silent is named by the doctor, and where numbers are missing. */
function isInTrouble({ state, figures }: AnswerOf<'GET /v1/overview'>['nodes'][number]): boolean {
  return state === 'serving' && figures?.isReady === false;
}

/** The page that shows what a check is about. */
const PAGE_OF: Readonly<Record<string, readonly [path: string, title: string]>> = {
  certificates: ['/certificates', 'Certificates & CA'],
  expiry: ['/certificates', 'Certificates & CA'],
  disk: ['/telemetry', 'Telemetry'],
  journal: ['/telemetry', 'Telemetry'],
  sinks: ['/telemetry?view=sinks', 'Sinks'],
  clones: ['/devices', 'Devices'],
};

/** Health in words: what is wrong, and what to do. */
export function Attention({ problems }: { readonly problems: readonly ProblemFound[] }) {
  if (problems.length === 0) {
    return (
      <p class="all-well">
        <Badge tone="good">Well</Badge> <span>Every check of the server passes.</span>
      </p>
    );
  }
  return (
    <Panel title={countOf(problems.length, 'thing needs attention', 'things need attention')} bare>
      <ul class="problems">
        {problems.map(({ check, tone, found, fix }) => {
          const page = PAGE_OF[check];
          return (
            <li key={`${check} ${found}`}>
              <Badge tone={tone}>{check}</Badge>
              <div>
                <p class="break">
                  <UntrustedText text={found} />
                </p>
                {fix !== undefined && (
                  <p class="soft break">
                    <UntrustedText text={fix} />
                  </p>
                )}
              </div>
              {page !== undefined && <a href={page[0]}>{page[1]}</a>}
            </li>
          );
        })}
      </ul>
    </Panel>
  );
}
