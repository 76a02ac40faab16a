import { describe, expect, it } from 'vitest';
import {
  apiQuery,
  appliedCriteria,
  readFilter,
  readOrder,
  readSearch,
  withFilter,
  withoutFilter,
} from './device-filter.ts';

const NOW = Date.parse('2026-11-29T12:00:00Z');
const search = (text: string) => new URLSearchParams(text);

describe('the filter of the list of devices', () => {
  it('is the same in the address of the page and in the request, with durations as times', () => {
    const address = search(
      'group=pumps&label=site%3Dhall-3&label=line%3D4&lastSeenBefore=7d&expiring=14d&sort=expires&reverse=true',
    );
    expect(apiQuery(readFilter(address), readOrder(address), NOW)).toEqual({
      group: 'pumps',
      label: ['site=hall-3', 'line=4'],
      lastSeenBefore: '2026-11-22T12:00:00.000Z',
      certificateEndsBefore: '2026-12-13T12:00:00.000Z',
      ...{ sort: 'expires', reverse: 'true' },
    });
    expect(
      apiQuery(readFilter(search('lastSeenAfter=2026-11-01T00:00:00Z')), { sort: 'id', isReversed: false }, NOW),
    ).toEqual({
      lastSeenAfter: '2026-11-01T00:00:00Z',
    });
  });

  it('changes one criterion and leaves the others and the order in the address', () => {
    const address = search('group=pumps&sort=expires');
    expect(withFilter(address, { labels: ['a=1', 'b=2'] }).toString()).toBe(
      'group=pumps&sort=expires&label=a%3D1&label=b%3D2',
    );
    expect(withFilter(address, { group: '' }).toString()).toBe('sort=expires');
    expect(withoutFilter(search('text=a&label=a%3D1&online=true&sort=group')).toString()).toBe('sort=group');
  });

  it.each([
    ['press', { text: 'press' }],
    ['site=hall-3', { text: '', labels: ['line=4', 'site=hall-3'] }],
    ['10.1.0.0/16', { text: '', address: '10.1.0.0/16' }],
    ['2001:db8::/32', { text: '', address: '2001:db8::/32' }],
    ['10.1', { text: '10.1' }],
  ])('reads "%s" in the search box', (typed, change) => {
    expect(readSearch(typed, ['line=4'])).toEqual(change);
  });

  it('is shown in words, each criterion with the change that removes it', () => {
    const criteria = appliedCriteria(readFilter(search('online=false&lastSeenBefore=1d&label=a%3D1&label=b%3D2')));
    expect(criteria.map(({ title, value }) => `${title}: ${value}`)).toEqual([
      ...['Presence: offline', 'Last seen before: 1 day ago', 'Label: a=1', 'Label: b=2'],
    ]);
    expect(criteria[2]?.without).toEqual({ labels: ['b=2'] });
  });
});
