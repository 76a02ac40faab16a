/** The options of `rollcall simulate` about a broker that is not the fleet's own. */

import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { FLEET_NAMES, type TargetBroker } from '../../simulator/index.ts';

export interface TargetOptions {
  readonly target?: string;
  readonly targetCa?: string;
  readonly targetName?: string;
  readonly topic?: string;
  readonly clientId?: string;
  readonly serviceClientId?: string;
}

const FLAGS = {
  targetCa: '--target-ca',
  targetName: '--target-name',
  topic: '--topic',
  clientId: '--client-id',
  serviceClientId: '--service-client-id',
} as const;

/** Undefined without `--target`. Problem `usage` for options that need it, and for a file without certificates. */
export function targetBrokerOf(options: TargetOptions): TargetBroker | undefined {
  if (options.target === undefined) {
    const alone = (Object.keys(FLAGS) as (keyof typeof FLAGS)[]).find((name) => options[name] !== undefined);
    if (alone === undefined) return undefined;
    throw new Problem('usage', { reason: `expected --target mqtts://HOST:PORT with ${FLAGS[alone]}` });
  }
  const { targetCa, targetName, topic, clientId, serviceClientId } = options;
  return {
    ...(targetCa !== undefined && { caPem: readCa(targetCa) }),
    ...(targetName !== undefined && { serverName: targetName }),
    ...(serviceClientId !== undefined && { serviceClientId }),
    names: { topic: topic ?? FLEET_NAMES.topic, clientId: clientId ?? FLEET_NAMES.clientId },
  };
}

function readCa(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Problem('usage', {
      reason: `--target-ca ${file} could not be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`,
    });
  }
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw new Problem('usage', { reason: `expected CA certificates in PEM in --target-ca ${file}` });
}
