import type { DeviceId, ServiceName } from '@rollcall/protocol';
import type { Steps, Transaction } from '../transaction.ts';

/** Whether a service may use this device id as a client id. Revoked services keep their names. */
export function* belongsToService(tx: Transaction, id: DeviceId): Steps<boolean> {
  for (const name of owners(id)) if (yield* isService(tx, name)) return true;
  return false;
}

/** Whether a service of this name would share a client id with a device or another service. */
export function* overlapsOthers(tx: Transaction, name: ServiceName): Steps<boolean> {
  for (const owner of owners(name)) if (owner !== name && (yield* isService(tx, owner))) return true;
  return (
    (yield* tx.get(`SELECT 1 FROM services WHERE name >= @from AND name < @to LIMIT 1`, below(name))) !== undefined ||
    (yield* tx.get(`SELECT 1 FROM devices WHERE id = @name`, { name })) !== undefined ||
    (yield* tx.get(`SELECT 1 FROM devices WHERE id >= @from AND id < @to LIMIT 1`, below(name))) !== undefined
  );
}

/** The service names that own this client id: itself, and each prefix before a hyphen. */
function owners(clientId: string): readonly string[] {
  const names = [clientId];
  for (let at = clientId.indexOf('-'); at >= 0; at = clientId.indexOf('-', at + 1)) names.push(clientId.slice(0, at));
  return names;
}

function* isService(tx: Transaction, name: string): Steps<boolean> {
  return (yield* tx.get(`SELECT 1 FROM services WHERE name = @name`, { name })) !== undefined;
}

/** Ids that begin with `name-`, as an index range: `.` is the character after `-`. */
function below(name: string): { readonly from: string; readonly to: string } {
  return { from: `${name}-`, to: `${name}.` };
}
