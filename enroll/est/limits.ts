/**
 * The default limits of the EST server. Every limit is an option and 0 means no limit, for a fleet that is simulated from
 * one address, for example.
 */

export interface EnrollLimits {
  /** Enrollments per second, in total. */
  readonly enrollmentsPerSecond: number;
  readonly enrollmentsPerSecondPerAddress: number;
  /** Renewals per second with a good certificate, in total. */
  readonly renewalsPerSecond: number;
  readonly renewalsPerSecondPerAddress: number;
  /** New TCP connections per second; checked before the TLS handshake. */
  readonly connectionsPerSecond: number;
  readonly connectionsPerSecondPerAddress: number;
  /** Connections open at one time. */
  readonly openConnections: number;
  readonly openConnectionsPerAddress: number;
  /** Connections whose TLS handshake has not finished. */
  readonly halfOpenConnections: number;
  readonly halfOpenConnectionsPerAddress: number;
  /** Requests for a certificate that wait in the work queue. */
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
  waiting: 200, // about two seconds of work
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
