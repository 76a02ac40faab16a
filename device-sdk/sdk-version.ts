/** What the SDK tells the broker about itself. The version is that of `package.json`. */
export const SDK_VERSION = 'rollcall-device-sdk/0.1.0';
