import type { z } from 'zod';
import type { NodeOutcome } from '../../registry/index.ts';
import type { nodeOutcome } from '../api/node-outcome-schema.ts';
import { isoTimeIfAny } from '../iso-time.ts';

/** What nodes did about a change, as the API has it. */
export function viewOutcomes(outcomes: readonly NodeOutcome[]): z.infer<typeof nodeOutcome>[] {
  return outcomes.map(({ name, state, confirmedAt, deafSince, closedBy }) => ({
    ...{ name, state },
    confirmedAt: isoTimeIfAny(confirmedAt),
    deafSince: isoTimeIfAny(deafSince),
    closedBy: isoTimeIfAny(closedBy),
  }));
}
