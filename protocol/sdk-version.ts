/** How a client states its software: a User Property of CONNECT (MQTT 5, section 3.1.2.11.8). */

export const SDK_VERSION_PROPERTY = 'sdk-version';

/** Name and version, each of at most 32 characters. */
const SDK_VERSION = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}\/[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$/;

/** `name/version`, such as `rollcall-device-sdk/0.1.0`; undefined for other text. */
export function parseSdkVersion(text: string): string | undefined {
  return SDK_VERSION.test(text) ? text : undefined;
}
