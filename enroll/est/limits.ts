/**
 * How much the enroll server takes at once and per second, by default. Every limit is an option, and 0 means none: a
 * fleet that is simulated from one address would otherwise be throttled by mistake.
 */

export interface EnrollLimits {
  /** First certificates asked for, per second, from everyone together. */
  readonly enrollmentsPerSecond: number;
  readonly enrollmentsPerSecondPerAddress: number;
  /** Renewals asked for with a certificate that is good, per second. */
  readonly renewalsPerSecond: number;
  readonly renewalsPerSecondPerAddress: number;
  /** New TCP connections per second; decided before the TLS handshake. */
  readonly connectionsPerSecond: number;
  readonly connectionsPerSecondPerAddress: number;
  /** Connections open at one time. */
  readonly openConnections: number;
  readonly openConnectionsPerAddress: number;
  /** Connections whose TLS handshake has not finished. */
  readonly halfOpenConnections: number;
  readonly halfOpenConnectionsPerAddress: number;
  /** Requests for a certificate that wait for those before them. */
  readonly waiting: number;
}

export const DEFAULT_ENROLL_LIMITS: EnrollLimits = {
  enrollmentsPerSecond: 20,
  enrollmentsPerSecondPerAddress: 5,
  renewalsPerSecond: 20,
  renewalsPerSecondPerAddress: 5,
  connectionsPerSecond: 200, // a quarter of the handshakes that one core does
  connectionsPerSecondPerAddress: 20,
  openConnections: 2_000,
  openConnectionsPerAddress: 100,
  halfOpenConnections: 500,
  halfOpenConnectionsPerAddress: 20,
  waiting: 200, // some two seconds of work
};

export const NO_ENROLL_LIMITS: EnrollLimits = {
  enrollmentsPerSecond: 0,
  enrollmentsPerSecondPerAddress: 0,
  renewalsPerSecond: 0,
  renewalsPerSecondPerAddress: 0,
  connectionsPerSecond: 0,
  connectionsPerSecondPerAddress: 0,
  openConnections: 0,
  openConnectionsPerAddress: 0,
  halfOpenConnections: 0,
  halfOpenConnectionsPerAddress: 0,
  waiting: 0,
};
