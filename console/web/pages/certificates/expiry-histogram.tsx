import { useLocation } from 'preact-iso';
import type { AnswerOf } from '../../api.ts';
import { Panel } from '../../parts/panel.tsx';
import { useQueryState } from '../../query-state.ts';
import { KIND_NAMES, KINDS, type Kind, WEEK_SECONDS } from './expiry-words.ts';

type Counted = AnswerOf<'GET /v1/certificates/expiring/weeks'>;
type Counts = Counted['weeks'][number];

const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
/** A week in four has its date under the bar. */
const DATED = 4;

/** A bar per week, divided by kind. A bar selects what expires up to the end of its week. */
export function ExpiryHistogram({ counted }: { readonly counted: Counted }) {
  const { from, weeks, late } = counted;
  const [selected] = useQueryState('weeks', '4');
  const { path } = useLocation();
  const most = Math.max(1, ...weeks.map(totalOf));
  const kinds = KIND_NAMES.filter((kind) => weeks.some((week) => week[kind] !== undefined));
  const lateTotal = totalOf(late);
  return (
    <Panel
      title="What expires, by week"
      actions={
        lateTotal > 0 && (
          <a class="badge bad" href={`${path}?which=late`}>
            {countText(late)} late to renew
          </a>
        )
      }
    >
      {kinds.length === 0 && <p class="soft">Nothing expires in the next 26 weeks.</p>}
      <ol class="histogram" aria-label="What expires in each of the next 26 weeks">
        {weeks.map((week, index) => {
          const begin = new Date(Date.parse(from) + index * WEEK_SECONDS * 1000);
          const label = `Week of ${DAY.format(begin)}: ${totalOf(week) === 0 ? 'nothing' : countText(week)}`;
          return (
            <li key={begin.getTime()}>
              <a
                href={`${path}?weeks=${index + 1}`}
                title={label}
                aria-label={label}
                aria-current={selected === String(index + 1) ? 'true' : undefined}
              >
                {kinds
                  .filter((kind) => week[kind] !== undefined)
                  .reverse()
                  .map((kind) => (
                    <span
                      key={kind}
                      class={`kind ${kind}`}
                      style={{ height: `${(100 * (week[kind] ?? 0)) / most}%` }}
                    />
                  ))}
              </a>
              <span class="date" aria-hidden="true">
                {index % DATED === 0 ? DAY.format(begin) : ''}
              </span>
            </li>
          );
        })}
      </ol>
      <div class="row small" aria-hidden="true">
        {kinds.map((kind) => (
          <span key={kind} class="legend-entry">
            <span class={`kind ${kind}`} />
            {KINDS[kind]}
          </span>
        ))}
        <span class="soft grow legend-scale">Highest week: {most.toLocaleString('en')}</span>
      </div>
    </Panel>
  );
}

function totalOf(counts: Counts): number {
  return Object.values(counts).reduce((sum: number, count) => sum + (count ?? 0), 0);
}

/** `3 devices, 1 tokens` in the order of the kinds. */
function countText(counts: Counts): string {
  return KIND_NAMES.filter((kind: Kind) => counts[kind] !== undefined)
    .map(
      (kind) =>
        `${counts[kind]?.toLocaleString('en')} ${KINDS[kind].replace(/^[A-Z](?=[a-z])/, (first) => first.toLowerCase())}`,
    )
    .join(', ');
}
