/** The credentials of a service on disk, without MQTT: for the command line. Their renewal is in the device SDK. */

export { openServiceDirectory, SERVICE_FILE, type ServiceAddresses, serviceFileText } from './service-directory.ts';
export type { ServiceIdentity } from './service-identity.ts';
