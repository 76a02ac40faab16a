import { Problem } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { type AnnouncedAction, performAnnouncedAction } from './announced-actions.ts';
import type { AuditedAction } from './audit-store.ts';

const ACT: AnnouncedAction<number> = {
  actor: 'operator/test',
  name: 'sink.replay',
  subject: 'sink/bus',
  details: { position: 7 },
  outcome: (moved) => [{ action: 'sink.replayed', details: { moved } }],
};

/** Takes so many entries, and then none. */
function auditOf(entries = Number.POSITIVE_INFINITY) {
  const acts: AuditedAction[] = [];
  return {
    acts,
    recordAction: async (act: AuditedAction) => {
      if (acts.length >= entries) throw new Problem('unavailable');
      return acts.push(act);
    },
  };
}

describe('an announced action', () => {
  it('is recorded before it is performed, and its outcome names that entry', async () => {
    const audit = auditOf();
    let before: readonly AuditedAction[] = [];
    const result = await performAnnouncedAction(audit, ACT, async () => {
      before = [...audit.acts];
      return 3;
    });
    const same = { actor: 'operator/test', subject: 'sink/bus', outcome: 'done' };
    const begun = { ...same, action: 'sink.replay.begun', details: { position: 7 } };
    expect(result).toBe(3);
    expect(before).toEqual([begun]);
    expect(audit.acts).toEqual([begun, { ...same, action: 'sink.replayed', details: { moved: 3, begun: 1 } }]);
  });

  it('is not performed when it cannot be recorded first', async () => {
    let isDone = false;
    const work = async () => {
      isDone = true;
      return 1;
    };
    await expect(performAnnouncedAction(auditOf(0), ACT, work)).rejects.toMatchObject({ code: 'unavailable' });
    expect(isDone).toBe(false);
  });

  it('that fails is recorded with a code, and throws its error even when that cannot be recorded', async () => {
    const fails = async () => {
      throw new Problem('sink_unknown', { reason: 'a secret of its own' });
    };
    const audit = auditOf();
    await expect(performAnnouncedAction(audit, ACT, fails)).rejects.toMatchObject({ code: 'sink_unknown' });
    expect(audit.acts[1]).toMatchObject({
      action: 'sink.replay.failed',
      details: { code: 'sink_unknown', begun: 1 },
    });
    await expect(performAnnouncedAction(auditOf(1), ACT, fails)).rejects.toMatchObject({ code: 'sink_unknown' });
  });

  it('throws when its outcome cannot be recorded, although it was performed', async () => {
    await expect(performAnnouncedAction(auditOf(1), ACT, async () => 1)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
