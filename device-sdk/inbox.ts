import {
  type DeviceId,
  type GroupName,
  parseBroadcastTopic,
  parseDeviceTopic,
  parseRenewalNotice,
  renewalNoticeTopic,
  TRUST_BUNDLE_TOPIC,
} from '@rollcall/protocol';
import type { BroadcastDispatcher } from './broadcasts.ts';
import type { CommandDispatcher } from './commands.ts';
import type { DeviceLog } from './device-state.ts';
import type { IdentityManager } from './identity-manager.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';
import type { Twin } from './twin.ts';

export interface InboxOptions {
  readonly deviceId: DeviceId;
  readonly group: GroupName;
  readonly commands: CommandDispatcher;
  readonly broadcasts: BroadcastDispatcher;
  readonly twin: Twin<never, never>;
  readonly identityManager: IdentityManager;
  readonly log: DeviceLog;
}

export class Inbox {
  readonly #options: InboxOptions;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /** Resolves when the message may be acknowledged; undefined if it may be at once. */
  received(topic: string, payload: Buffer, properties: PacketProperties | undefined): Promise<void> | undefined {
    const { deviceId, group, commands, broadcasts, twin, identityManager } = this.#options;
    if (topic === TRUST_BUNDLE_TOPIC) return identityManager.applyTrustBundle(payload.toString('latin1'));
    if (topic === renewalNoticeTopic(deviceId)) {
      this.#receiveRenewalNotice(payload.toString('utf8'));
      return undefined;
    }
    const parsed = parseDeviceTopic(topic);
    if (parsed !== undefined && parsed.device !== deviceId) return undefined;
    if (parsed?.kind === 'command') return commands.deliver(parsed.name, parsed.requestId, payload, properties);
    if (parsed?.kind === 'twin' && parsed.side === 'desired') return twin.receive(payload);
    const broadcast = parseBroadcastTopic(topic);
    if (broadcast?.group === group) void broadcasts.deliver(broadcast.name, payload, properties);
    return undefined;
  }

  #receiveRenewalNotice(text: string): void {
    const notice = text === '' ? undefined : parseRenewalNotice(text);
    if (notice === undefined && text !== '') {
      this.#options.log.warn({ reason: 'not a notice' }, 'renewal notice not understood');
      return;
    }
    this.#options.identityManager.applyRenewalNotice(notice);
  }
}
