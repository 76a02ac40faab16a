import { ReasonCode } from '@rollcall/protocol';

/** The CONNACK return code of MQTT 3.1.1 (table 3.1) for a reason code of MQTT 5. */
export function connackReturnCode(reason: ReasonCode): 1 | 2 | 3 | 5 {
  switch (reason) {
    case ReasonCode.unsupportedProtocolVersion:
      return 1;
    case ReasonCode.clientIdentifierNotValid:
      return 2;
    case ReasonCode.unspecifiedError:
    case ReasonCode.serverUnavailable:
    case ReasonCode.serverBusy:
    case ReasonCode.serverShuttingDown:
    case ReasonCode.quotaExceeded:
    case ReasonCode.connectionRateExceeded:
      return 3;
    default:
      return 5;
  }
}
