/** `publish --wait`: also waits for an agent that is still starting, and says what it waits for when that takes long. */

import { asDeviceError, type DeviceError } from '../device-error.ts';
import { realTimers, uptime } from '../schedule.ts';
import type { AgentClient } from './agent-client.ts';
import type { PublishResponse } from './publish-request.ts';

export interface PublishAndWaitOptions {
  readonly client: AgentClient;
  readonly stream: string;
  readonly bytes: Buffer;
  /** Seconds, for all of it together. */
  readonly wait: number;
  /** Given one line of text at a time. */
  readonly tell: (text: string) => void;
}

const SAY_WAITING_MS = 2_000;
const NEXT_LOOK_MS = 250;

export async function publishAndWait(options: PublishAndWaitOptions): Promise<PublishResponse['body']> {
  const { client, stream, bytes, wait, tell } = options;
  const end = uptime() + wait * 1_000;
  let isAgentThere = true;
  const cancel = realTimers(SAY_WAITING_MS, () => {
    const awaited = isAgentThere ? 'the device to be enrolled and connected' : 'the agent to start';
    tell(`rollcall-device: waiting for ${awaited}, ${wait} s at most\n`);
  });
  try {
    for (;;) {
      const left = Math.ceil((end - uptime()) / 1_000);
      try {
        return await client.publish(stream, bytes, { wait: Math.max(left, 1) });
      } catch (thrown) {
        const error = asDeviceError(thrown, 'internal');
        if (!isAbsence(error) || uptime() + NEXT_LOOK_MS >= end) throw error;
      }
      isAgentThere = false;
      await new Promise<void>((resolve) => {
        realTimers(NEXT_LOOK_MS, resolve);
      });
    }
  } finally {
    cancel();
  }
}

/** Nobody listens at the socket, so nothing was handed over: only then is asking again safe. */
function isAbsence({ code, cause }: DeviceError): boolean {
  const { code: system } = (cause ?? {}) as NodeJS.ErrnoException;
  return code === 'agent_absent' && (system === 'ENOENT' || system === 'ECONNREFUSED');
}
