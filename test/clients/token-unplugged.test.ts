/** The PKCS#11 token with the CA key (SoftHSM) is removed: enrollment is refused, and connected devices stay connected. */

import { expect, it, onTestFinished } from 'vitest';
import { SOFTHSM_MODULE } from '../fixtures/client-programs.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { softToken, TOKEN_LABEL } from '../fixtures/soft-token.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describeWithClients('a fleet whose CA signs in a token', ['softhsm2-util', 'pkcs11-addon'], () => {
  it('answers enrollment with 503 while the token is missing, and MQTT continues', async () => {
    const token = softToken(temporaryDirectory());
    Object.assign(process.env, token.environment);
    const keys = ['certificates', 'keys'];
    const fleet = await startFleet({
      settings: [
        [[...keys, 'home'], 'pkcs11'],
        [[...keys, 'pkcs11', 'module'], SOFTHSM_MODULE],
        [[...keys, 'pkcs11', 'token'], TOKEN_LABEL],
        [[...keys, 'pkcs11', 'pinFile'], token.pinFile],
      ],
    });
    onTestFinished(() => fleet.stop());
    const device = await connectMqtt(await fleet.enroll('dev-1'));
    const publish = () => device.publishAsync('devices/dev-1/telemetry/t', '1', { qos: 1 });
    await publish();

    token.unplug();
    await expect(fleet.enroll('dev-2')).rejects.toMatchObject({ code: 'signer_unavailable', status: 503 });
    await publish();
    expect((await fleet.operator.listSessions()).sessions).toHaveLength(1);

    token.plugIn();
    await connectMqtt(await fleet.enroll('dev-2'));
    await publish();
  });
});
