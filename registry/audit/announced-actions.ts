import { Problem } from '@rollcall/protocol';
import type { Registry } from '../registry.ts';
import type { AuditedAction } from './audit-store.ts';

export interface AnnouncedAction<Result> extends Pick<AuditedAction, 'actor' | 'subject' | 'details'> {
  /** Noun, dot, verb: `telemetry.prune`. Its entries are `….begun`, and `….failed` with the code when it throws. */
  readonly name: string;
  /** The entries of its outcome, one or more, of which the last one is its end. */
  readonly outcome: (result: Result) => readonly ActionOutcome[];
}

export interface ActionOutcome extends Pick<AuditedAction, 'action' | 'details'> {
  /** Subject of a part; that of the action unless given. */
  readonly subject?: string;
}

/** Throws what `work` throws. Without a registry that can write the intent, nothing is done: Problem `unavailable`. */
export async function performAnnouncedAction<Result>(
  registry: Pick<Registry, 'recordAction'>,
  action: AnnouncedAction<Result>,
  work: () => Promise<Result>,
): Promise<Result> {
  const { actor, name, subject, details } = action;
  const begun = await registry.recordAction({
    actor,
    action: `${name}.begun`,
    subject,
    outcome: 'done',
    ...(details !== undefined && { details }),
  });
  const end = (entry: ActionOutcome) =>
    registry.recordAction({ actor, subject, outcome: 'done', ...entry, details: { ...entry.details, begun } });
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    const code = error instanceof Problem ? error.code : 'internal';
    // The caller gets the original error, also when this entry cannot be written.
    await end({ action: `${name}.failed`, details: { code } }).catch(() => undefined);
    throw error;
  }
  for (const entry of action.outcome(result)) await end(entry);
  return result;
}
