/** `rollcall doctor`: why a device does not work, and what to do. */

import type { DeviceId } from '@rollcall/protocol';
import { Command } from 'commander';
import { deviceId, instant, runWithServer, withServerOptions } from '../command-line.ts';
import { deviceFindings, diagnosisText } from '../device-findings.ts';
import { EXIT, printJson, printResult } from '../terminal.ts';

interface DoctorOptions {
  readonly device: DeviceId;
  readonly token?: string;
  readonly since?: number;
}

const doctor = runWithServer<DoctorOptions>(async (server, { options, form }) => {
  const { device: id, token, since } = options;
  const diagnosis = await server.diagnoseDevice({
    id,
    ...(token !== undefined && { token }),
    ...(since !== undefined && { since: new Date(since).toISOString() }),
  });
  const findings = deviceFindings(diagnosis);
  if (form === 'json') printJson({ ...diagnosis, findings });
  else printResult(diagnosisText(diagnosis));
  if (findings.some(({ outcome }) => outcome === 'failed')) process.exitCode = EXIT.failed;
});

export function doctorCommand(): Command {
  return withServerOptions(new Command('doctor').description('find out why a device does not work, and what to do'))
    .requiredOption(
      '--device <id>',
      'examine this device: status, certificates, and the last refusals in sentences',
      deviceId,
    )
    .option('--token <id>', 'refusals of this bootstrap token count as well')
    .option('--since <time>', 'refusals since then (default: 7d)', instant)
    .action(doctor);
}
