/** Accepts messages for ever, many at a time, and reports each as soon as the journal says that it is stored. */

import { pino } from 'pino';
import { openTelemetry } from '../../telemetry/open.ts';
import { message } from '../behaviour/telemetry-messages.ts';

const [directory = '', prefix = ''] = process.argv.slice(2);
const telemetry = await openTelemetry({ directory, now: Date.now, log: pino({ level: 'silent' }) });

async function publishForEver(device: string): Promise<never> {
  for (let number = 1; ; number += 1) {
    const text = `${prefix} ${device} ${number}`;
    await telemetry.accept(message(device, text));
    process.stdout.write(`${text}\n`);
  }
}

await Promise.all(Array.from({ length: 40 }, (_, i) => publishForEver(`pump-${i}`)));
