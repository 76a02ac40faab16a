/** What a device meets, scripted: an authority, a broker and an EST server that belong together. For tests of the device's side. */

import { makeScriptedAuthority, type ScriptedAuthority } from './scripted-authority.ts';
import { type ScriptedBroker, startScriptedBroker } from './scripted-broker.ts';
import { type ScriptedEstServer, startScriptedEstServer } from './scripted-est-server.ts';

export interface ScriptedFleet {
  readonly authority: ScriptedAuthority;
  readonly broker: ScriptedBroker;
  readonly est: ScriptedEstServer;
  stop(): Promise<void>;
}

/** Whoever starts it stops it. */
export async function startScriptedFleet(): Promise<ScriptedFleet> {
  const authority = makeScriptedAuthority();
  const broker = await startScriptedBroker(authority);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl });
  return {
    authority,
    broker,
    est,
    async stop() {
      await est.close();
      await broker.close();
      authority.dispose();
    },
  };
}
