/** Fleets of virtual devices: scenarios, drills, their reports and verdicts. */

export {
  CLIENT_ID_TEMPLATE_RULE,
  FLEET_NAMES,
  isClientIdTemplate,
  isTopicTemplate,
  TOPIC_TEMPLATE_RULE,
} from './devices/broker-names.ts';
export type { DeviceReport } from './devices/device-report.ts';
export type { SequenceSet } from './devices/sequence-set.ts';
export { identityOf, type TlsIdentity } from './devices/tls-connections.ts';
export { drillCaCompromise } from './drill/ca-compromise.ts';
export {
  DRILL_GROUP,
  type DrillOperator,
  type DrillReport,
  type Theft,
  type TrustChange,
} from './drill/drill-options.ts';
export type { StolenCa } from './drill/forged-certificates.ts';
export { type FleetCounts, type Projection, projectRotation } from './drill/projection.ts';
export { Coordinator } from './hosts/coordinator.ts';
export { HOST_NAME_RULE, isHostName } from './hosts/host-messages.ts';
export { joinRun } from './hosts/joined-host.ts';
export { differences, evaluateGate, parseGate } from './report/compare.ts';
export { causeSentences, throttlingNote } from './report/error-causes.ts';
export { htmlReport } from './report/html.ts';
export { junitReport } from './report/junit.ts';
export { liveScreen, secondLine, verdictLines } from './report/lines.ts';
export { prometheusText, servePrometheus } from './report/prometheus.ts';
export { accelerated, scaled } from './run/device-list.ts';
export type { RunSnapshot } from './run/record.ts';
export { type RunResult, resultSchema } from './run/result.ts';
export { RunRefused, type TargetBroker } from './run/run-options.ts';
export { runScenario } from './run/scenario-run.ts';
export { causeLines, type FleetReport, type FleetSnapshot, SdkFleet } from './run/sdk-fleet.ts';
export type { OperatorAccess, ServerControl } from './run/server-access.ts';
export { localThreads, type PlacementStrategy } from './run/shard-placement.ts';
export { countMissing, readJournal } from './run/verification.ts';
export { MQTT_ARGUMENT_RULE, parseMqttVersions } from './scenario/mqtt-versions.ts';
export { describeFlaw, readScenario } from './scenario/read.ts';
export type { Scenario } from './scenario/schema.ts';
