import { backoffDelay } from '@rollcall/device-sdk/building-blocks';
import type { EstAnswer, EstDoor, newKey } from './est-client.ts';
import type { Crew } from './shard-context.ts';
import type { LineIdentity } from './tls-connections.ts';

export interface FirstRequest {
  readonly id: string;
  readonly token: string;
  readonly key: ReturnType<typeof newKey>;
  readonly random: () => number;
  /** Asks when it is this device's turn. */
  readonly ask: (act: (door: EstDoor) => Promise<EstAnswer>) => Promise<EstAnswer>;
  /** False when nobody waits for it any more. */
  readonly isWanted: () => boolean;
}

const RETRY = { base: 1_000, cap: 30_000, refusalFloor: 5_000 };

/** Undefined when it is not wanted any more; counts and measures as it goes. */
export async function firstCertificate(
  { id, token, key, random, ask, isWanted }: FirstRequest,
  { tally, now, agenda }: Crew,
): Promise<LineIdentity | 'refused' | undefined> {
  for (let earlier = 0; isWanted(); earlier += 1) {
    let wait: number;
    try {
      const answer = await ask(async (door) => {
        const began = now();
        const certificate = await door.enroll(id, token, key);
        if (!('refused' in certificate)) tally.record('enroll', now() - began);
        return certificate;
      });
      if (!('refused' in answer)) {
        tally.count('enrolled');
        return answer.identity;
      }
      tally.error(answer.refused);
      if (answer.retryAfter === undefined) {
        tally.count('refused');
        return 'refused';
      }
      wait = answer.retryAfter * 1_000 * (1 + random());
    } catch (error) {
      tally.error(causeOf(error));
      wait = backoffDelay({ kind: 'lost', earlier }, random, RETRY);
    }
    await new Promise<void>((resolve) => agenda.at(now() + wait, resolve));
  }
  return undefined;
}

export function causeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message ?? 'unknown';
}
