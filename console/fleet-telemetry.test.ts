import { expect, it } from 'vitest';
import { sumOfIntakes, sumOfTalkers } from './fleet-telemetry.ts';

it('what a device stored by several nodes is added, is held where one holds it, and the largest come first', () => {
  const talker = (name: string, bytes: number, messages: number, isHeld = false) => ({ name, bytes, messages, isHeld });
  const all = [[talker('a', 10, 1), talker('b', 8, 9)], [talker('b', 5, 1, true)], []];
  expect(sumOfTalkers(all, 9, 'bytes')).toEqual([talker('b', 13, 10, true), talker('a', 10, 1)]);
  expect(sumOfTalkers(all, 1, 'messages')).toEqual([talker('b', 13, 10, true)]);
});

it('what nodes took in is added, and storage is behind where it is on one', () => {
  const own = {
    ...{ stored: 1, storedQos0: 1, droppedQos0: 1, refused: 1, repeated: 1, commits: 1, queuedBytes: 1 },
    ...{ isUnderPressure: false, diskFreeBytes: 7 },
  };
  const other = { ...own, stored: 4, isUnderPressure: true };
  expect(sumOfIntakes(own, [other])).toEqual({
    ...{ stored: 5, storedQos0: 2, droppedQos0: 2, refused: 2, repeated: 2, commits: 2, queuedBytes: 2 },
    ...{ isUnderPressure: true, diskFreeBytes: 7 },
  });
  expect(sumOfIntakes(own, [])).toEqual(own);
});
