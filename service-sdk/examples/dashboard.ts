/**
 * Example: a program that prints the telemetry of all devices as lines of JSON, and runs past the end of its certificate.
 *
 *     node bin/pinned.js service-sdk/examples/dashboard.ts DIRECTORY
 */

// An application imports it from '@rollcall/service-sdk'.
import { Service } from '../index.ts';

const service = await Service.open({
  directory: process.argv[2] as string,
  onError: (error) => process.stderr.write(`${error.code}: ${error.message}\n`),
});
const { ready } = service.onTelemetry(({ device, stream, text }) => {
  process.stdout.write(`${JSON.stringify({ device, stream, text })}\n`);
});
await ready;
process.stdout.write('{"ready":true}\n');

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void service.close());
