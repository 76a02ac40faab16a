/** The operators' HTTP API, and its client in `client.ts`. */

export type { OidcOptions } from './auth/oidc/oidc-options.ts';
export type { ChallengeUse, OtherChallenges } from './auth/passkey-challenges.ts';
export { type Console, createConsole } from './console.ts';
export type { ClientCertificateOptions } from './console-tls.ts';
export type { DeviceDiagnosis, DiagnosisOrder, Refusal } from './device-diagnosis.ts';
export type { CommandOrder, CommandResult, DesiredChange, TwinView } from './device-messages.ts';
export type { Finding, FleetExamination, ServerExamination } from './finding.ts';
export type { FleetTelemetry, NodeIntake, NodeTalkers, TalkersOrder } from './fleet-telemetry.ts';
export {
  type CreatedNodeToken,
  NODE_STATES,
  type NodeControl,
  type NodeDrainOrder,
  type NodeServerView,
  type NodeTokenView,
  type NodeView,
  type RemovedNode,
} from './node-control.ts';
export { createProbeServer } from './probes.ts';
export {
  isSelected,
  type PresentedCertificate,
  type RefusalControl,
  type RefusalFacts,
  type RefusalGroup,
  type RefusalKind,
  type RefusalList,
  type RefusalQuery,
  type RefusedParty,
} from './refusals.ts';
export type { SinkState } from './routes/sinks.ts';
export type { CaControl, ClockState, LiveSession, SessionPage, SessionQuery } from './server-controls.ts';
export type {
  FleetHistory,
  FleetOverview,
  JournalFigures,
  NodeFigures,
  NodeOverview,
  RefusalTotal,
  RefusedCounts,
  ServerHistory,
  ServerOverview,
  ServerRates,
  SinkFigures,
} from './server-overview.ts';
export type {
  ReadyScenario,
  SimulationControl,
  SimulationRun,
  SimulationSecond,
  SimulationState,
} from './simulation-control.ts';
export { exceedsDepth } from './untrusted-json.ts';
