/** The CA's key lies in a token (SoftHSM), and somebody unplugs it: nobody new comes in, and whoever is in stays. */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startFleet } from '../testkit/fleet.ts';
import { connectMqtt } from '../testkit/mqtt.ts';
import { describeWithClients, succeed } from '../testkit/real-client.ts';
import { temporaryDirectory } from '../testkit/temporary.ts';

describeWithClients('a fleet whose CA signs in a token', ['softhsm2-util'], () => {
  it('answers 503 to enrollment while the token is away, and MQTT goes on', async () => {
    const directory = temporaryDirectory();
    const tokens = join(directory, 'tokens');
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text, { mode: 0o600 });
      return join(directory, name);
    };
    mkdirSync(tokens);
    const conf = file('softhsm2.conf', `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`);
    process.env.SOFTHSM2_CONF = conf;
    const environment = { SOFTHSM2_CONF: conf };
    const init = ['--init-token', '--free', '--label', 'fleet', '--so-pin', '5678', '--pin', '1234'];
    await succeed('softhsm2-util', init, { directory, environment });
    const keys = ['certificates', 'keys'];
    const fleet = await startFleet({
      settings: [
        [[...keys, 'home'], 'pkcs11'],
        [[...keys, 'pkcs11', 'module'], '/usr/lib/softhsm/libsofthsm2.so'],
        [[...keys, 'pkcs11', 'token'], 'fleet'],
        [[...keys, 'pkcs11', 'pinFile'], file('pin', '1234\n')],
      ],
    });
    onTestFinished(() => fleet.stop());
    const device = await connectMqtt(await fleet.enroll('dev-1'));
    const speak = () => device.publishAsync('devices/dev-1/telemetry/t', '1', { qos: 1 });
    await speak();

    renameSync(tokens, `${tokens}-away`);
    await expect(fleet.enroll('dev-2')).rejects.toMatchObject({ code: 'signer_unavailable', status: 503 });
    await speak();
    expect(await fleet.operator.listSessions()).toHaveLength(1);

    renameSync(`${tokens}-away`, tokens);
    await connectMqtt(await fleet.enroll('dev-2'));
    await speak();
  });
});
