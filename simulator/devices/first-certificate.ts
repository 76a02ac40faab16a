import { enrollRetryDelay } from './enroll-retry.ts';
import type { EstClient, EstResponse, newKey } from './est-client.ts';
import type { ShardContext } from './shard-context.ts';
import type { TlsIdentity } from './tls-connections.ts';

export interface FirstCertificateRequest {
  readonly id: string;
  readonly token: string;
  readonly key: ReturnType<typeof newKey>;
  readonly random: () => number;
  /** Asks when it is this device's turn. */
  readonly ask: (act: (estClient: EstClient) => Promise<EstResponse>) => Promise<EstResponse>;
  /** False once the device needs no certificate any more. */
  readonly isWanted: () => boolean;
}

/** Undefined when the device needs none any more; counts requests, errors and latency. */
export async function requestFirstCertificate(
  { id, token, key, random, ask, isWanted }: FirstCertificateRequest,
  { counters, now, timers, pacer }: ShardContext,
): Promise<TlsIdentity | 'refused' | undefined> {
  for (let earlier = 0; isWanted(); earlier += 1) {
    let wait: number;
    try {
      const answer = await ask(async (estClient) => {
        const began = now();
        const certificate = await estClient.enroll(id, token, key);
        if ('refused' in certificate) {
          if (certificate.retryAfter !== undefined) pacer.throttled(certificate.retryAfter);
        } else {
          pacer.succeeded();
          counters.record('enroll', now() - began);
        }
        return certificate;
      });
      if (!('refused' in answer)) {
        counters.count('enrolled');
        return answer.identity;
      }
      counters.error(answer.refused);
      if (answer.retryAfter === undefined) {
        counters.count('refused');
        return 'refused';
      }
      counters.count('throttled');
      wait = enrollRetryDelay({ retryAfter: answer.retryAfter, earlier }, random);
    } catch (error) {
      const cause = errorCause(error);
      counters.error(`enroll_${cause}`);
      if (isClosedEarly(cause)) {
        pacer.throttled(undefined);
        counters.count('throttled');
      }
      wait = enrollRetryDelay({ retryAfter: undefined, earlier }, random);
    }
    await new Promise<void>((resolve) => timers.at(now() + wait, resolve));
  }
  return undefined;
}

export function errorCause(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message ?? 'unknown';
}

/** A server that limits connections closes those over its limit before TLS, without a response. */
export function isClosedEarly(cause: string | undefined): boolean {
  return cause === 'ECONNRESET' || cause === 'EPIPE';
}
