/** Credentials of a service and their renewal, without MQTT: for the command line. */

export { openServiceDirectory, SERVICE_FILE, type ServiceAddresses, serviceFileText } from './service-directory.ts';
export type { ServiceIdentity } from './service-identity.ts';
