/** A registry that takes its time over the first question; what it answers then was true when it was asked. */

import type { Standing } from '../../registry/registry.ts';

export interface HeldStanding {
  /** For the testbed. */
  readonly standing: (serial: string, known: Standing) => Promise<Standing>;
  /** Resolves when the first question was put. */
  readonly asked: Promise<void>;
  answer(): void;
}

export function heldStanding(): HeldStanding {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  let isFirst = true;
  return {
    async standing(_serial, known) {
      if (!isFirst) return known;
      isFirst = false;
      asked.resolve();
      await answer.promise;
      return known;
    },
    asked: asked.promise,
    answer: answer.resolve,
  };
}
