/** Everything of the fleet that can expire, in one list: what the registry has recorded, and what the authority holds. */

import {
  compareExpiryCursors,
  type ExpiringItem,
  type ExpiringRecord,
  type ExpiryFilter,
  type ExpiryStore,
  expiryCursor,
  isLate,
  type RecordedExpiringKind,
} from '../../registry/index.ts';
import { type ExpiringParts, listAuthorityItems } from './authority-items.ts';

export interface ExpiryList {
  /** At most `limit` items behind `after`, in the order of `compareExpiryCursors`. Problem `request_invalid` for a wrong limit. */
  list(filter: ExpiryFilter): Promise<readonly ExpiringItem[]>;
}

export function createExpiryList(options: {
  readonly registry: Pick<ExpiryStore, 'listExpiring'>;
  readonly authority: ExpiringParts;
  readonly now: () => number;
}): ExpiryList {
  const { registry, authority, now } = options;
  return {
    list: async (filter) => {
      const recorded = (await registry.listExpiring(filter)).map((record) => withRenewal(record));
      const held = selectItems(await listAuthorityItems(authority), filter, now());
      const position = (item: ExpiringRecord) => expiryCursor(filter.which, item);
      const merged = [...recorded, ...held].sort((a, b) => compareExpiryCursors(position(a), position(b)));
      return merged.slice(0, filter.limit);
    },
  };
}

/** What the filter selects of items in memory. */
export function selectItems(
  items: readonly ExpiringItem[],
  { which, until, kinds, after }: Omit<ExpiryFilter, 'limit'>,
  now: number,
): readonly ExpiringItem[] {
  return items.filter((item) => {
    if (!kinds.includes(item.kind)) return false;
    if (which === 'late' ? !isLate(item, now) : item.expiresAt <= now || item.expiresAt > until) return false;
    return after === undefined || compareExpiryCursors(expiryCursor(which, item), after) > 0;
  });
}

const RENEWAL: Readonly<Record<RecordedExpiringKind, Pick<ExpiringItem, 'renewedBy' | 'action'>>> = {
  device: { renewedBy: 'device', action: 'the device' },
  service: { renewedBy: 'service', action: 'its application, or rollcall service renew' },
  token: { renewedBy: 'nobody', action: 'nobody: rollcall token create makes another' },
  'operator-key': { renewedBy: 'nobody', action: 'nobody: rollcall operator key create makes another' },
};

function withRenewal(record: ExpiringRecord<RecordedExpiringKind>): ExpiringItem {
  return { ...record, ...RENEWAL[record.kind] };
}
