import { Panel } from '../../parts/panel.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { countText } from '../../quantities.ts';
import { useQueryState } from '../../query-state.ts';
import type { RefusalGroup, RefusalList } from './merge-refusal.ts';
import { RefusalDetails } from './refusal-details.tsx';
import { KIND_WORDS, PARTY_WORDS } from './refusal-words.ts';

const NAME_MAX = 80;

/** By party and cause, the newest first. The group that is open is in the address. */
export function RefusalGroups({ list }: { readonly list: RefusalList }) {
  const [open, setOpen] = useQueryState('open');
  const { groups, moreGroups, readSince, since } = list;
  return (
    <Panel title="Who and why" bare>
      <ul class="refusals">
        {groups.map((group) => (
          <li key={group.key}>
            <button
              type="button"
              class="refusal-row"
              aria-expanded={group.key === open}
              onClick={() => setOpen(group.key === open ? '' : group.key)}
            >
              <Summary group={group} />
            </button>
            {group.key === open && <RefusalDetails group={group} />}
          </li>
        ))}
      </ul>
      {moreGroups > 0 && (
        <p class="refusal-note">
          {countText(moreGroups)} more, older ones are left out: filter, or choose a shorter time.
        </p>
      )}
      {Date.parse(readSince) > Date.parse(since) && (
        <p class="refusal-note">
          There are too many to read all: the list is complete since <Time at={readSince} />.
        </p>
      )}
    </Panel>
  );
}

function Summary({ group }: { readonly group: RefusalGroup }) {
  const { party, kind, code, detail, sentence, count, isAtLeast, lastAt } = group;
  return (
    <>
      <span class="refusal-party">
        <strong class="break">
          <UntrustedText text={party.name} max={NAME_MAX} />
        </strong>
        <span class="soft small">{PARTY_WORDS[party.kind]}</span>
      </span>
      <span class="refusal-cause">
        <span>{sentence}</span>
        <span class="soft small break">
          {KIND_WORDS[kind]} <code>{code}</code>
          {detail !== undefined && detail !== code && (
            <>
              {' '}
              <UntrustedText text={detail} max={NAME_MAX} />
            </>
          )}
        </span>
      </span>
      <span class="refusal-count">
        {countText(count)}
        {isAtLeast ? '+' : ''} ×
      </span>
      <span class="refusal-when soft small">
        <Time at={lastAt} relative />
      </span>
    </>
  );
}
