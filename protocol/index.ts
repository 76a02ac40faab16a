/** Definitions that devices and servers share: identities, topics, token text, EST paths, problem codes, policies. Imports no other module. */

export { ADDRESS_NETWORK_RULE, type AddressNetwork, parseAddressNetwork } from './address-network.ts';
export {
  type BootstrapToken,
  formatBootstrapToken,
  parseBootstrapToken,
  TOKEN_SECRET_BYTES,
} from './bootstrap-token.ts';
export { parseDecimal, parseFraction } from './decimal.ts';
export {
  CRL_PATH,
  CRL_PATH_PATTERN,
  CSR_BODY_MAX,
  EST_MEDIA_TYPES,
  EST_PATHS,
  GENERIC_USER_NAMES,
  MQTT_URL_HEADER,
} from './est.ts';
export {
  DEFAULT_GROUP,
  type DeviceId,
  formatIdentity,
  type GroupName,
  type Identity,
  identityName,
  identityUri,
  isTrustDomain,
  NAME_RULE,
  parseDeviceId,
  parseGroupName,
  parseIdentity,
  parseIdentityUri,
  parseServiceName,
  type ServiceName,
} from './identity.ts';
export {
  isLifecycleType,
  LIFECYCLE_MEDIA_TYPE,
  LIFECYCLE_TYPES,
  type LifecycleEvent,
  type LifecycleType,
  type LifecycleValue,
  UNKNOWN_NAME,
} from './lifecycle.ts';
export { addressOptions, isLocalhost, isLoopbackHost, LOOPBACK_ADDRESSES, listenAddress } from './localhost.ts';
export { isMediaType } from './media-type.ts';
export type { MessageProperties, UserProperty } from './message-properties.ts';
export {
  type EncryptedKeys,
  NODE_ANSWER_MAX,
  NODE_NAME,
  NODE_NAME_RULE,
  NODE_PATHS,
  NODE_REQUEST_MAX,
  NODE_ROLES,
  type NodeAuthority,
  type NodeCertificateAnswer,
  type NodeCertificateRequest,
  type NodeJoinAnswer,
  type NodeJoinRequest,
  type NodeRole,
  nodeUri,
} from './node-join.ts';
export {
  DEFAULT_DEVICE_POLICY,
  DEFAULT_DEVICE_SCOPE,
  DEFAULT_SERVICE_POLICY,
  DEFAULT_SERVICE_SCOPE,
  type PolicyDocument,
  type PolicyScope,
  policyScopes,
  QUARANTINE_POLICY,
  QUARANTINE_SCOPE,
} from './policy.ts';
export {
  asProblem,
  isProblemCode,
  PROBLEM_MEDIA_TYPE,
  PROBLEMS,
  Problem,
  type ProblemCode,
  problemDocument,
} from './problem.ts';
export { sendProblem } from './problem-response.ts';
export { ReasonCode, reasonName } from './reason-codes.ts';
export { parseSdkVersion, SDK_VERSION_PROPERTY } from './sdk-version.ts';
export {
  parseRenewalNotice,
  parseServerTime,
  RENEWAL_INFO_PATH,
  type RenewalNotice,
  type RenewalReason,
  type ServerTime,
  TIME_PATH,
} from './server-notices.ts';
export {
  canonicalHost,
  defaultMqttUrl,
  formatHostPort,
  parseEnrollUrl,
  parseMqttUrl,
  serverUrl,
  urlHost,
} from './server-urls.ts';
export {
  ALL_RESPONSES_FILTER,
  ALL_TELEMETRY_FILTER,
  broadcastFilter,
  broadcastTopic,
  commandFilter,
  commandTopic,
  type DeviceTopic,
  deviceTopicPrefix,
  eventFilter,
  eventTopic,
  filterCovers,
  filterMatches,
  isDeviceTopic,
  isMessageKey,
  isServerTopic,
  isShared,
  isTopicFilter,
  isTopicName,
  LEVEL_RULE,
  lengthWithoutKey,
  lifecycleFilter,
  lifecycleTopic,
  parseBroadcastTopic,
  parseDeviceTopic,
  parseShare,
  renewalNoticeTopic,
  reportedFilter,
  responseTopic,
  serverNoticeFilter,
  type TopicLimits,
  TRUST_BUNDLE_TOPIC,
  telemetryFilter,
  telemetryTopic,
  topicLevels,
  twinTopic,
  withKey,
} from './topics.ts';
export { ROOT_CRLS_PATH, TRUST_STATEMENT_OID } from './trust-statement.ts';
export {
  asTwinObject,
  mergeTwin,
  readTwinState,
  type TwinObject,
  type TwinState,
  twinDifference,
} from './twin-state.ts';
