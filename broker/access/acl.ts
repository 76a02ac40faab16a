import {
  deviceTopicPrefix,
  filterCovers,
  filterMatches,
  type GroupName,
  type Identity,
  identityName,
  isServerTopic,
  isShared,
  isTopicFilter,
  isTopicName,
  lengthWithoutKey,
  type PolicyDocument,
  parseDeviceTopic,
  parseShare,
  type TopicLimits,
  TRUST_BUNDLE_TOPIC,
} from '@rollcall/protocol';
export type PolicyVerb = 'connect' | 'publish' | 'subscribe' | 'receive' | 'retain';

/** The identity that a policy is applied to, with what its templates can refer to. */
export interface Subject {
  readonly identity: Identity;
  readonly group: GroupName;
  readonly labels: Readonly<Record<string, string>>;
  /** The quarantine policy then replaces all others. */
  readonly isQuarantined?: boolean;
}

export type AccessDecision =
  | { readonly allowed: true /** The template that grants it. */; readonly rule: string }
  | { readonly allowed: false; readonly reason: DenialReason };

export type DenialReason =
  | 'no_rule'
  | 'topic_malformed'
  | 'topic_reserved' // $SYS, $queue, $share except in SUBSCRIBE and, for writing, all of $fleet and devices/+/server
  | 'client_id_not_own';

const NO_RULE: AccessDecision = { allowed: false, reason: 'no_rule' };
const MALFORMED: AccessDecision = { allowed: false, reason: 'topic_malformed' };
const RESERVED: AccessDecision = { allowed: false, reason: 'topic_reserved' };
const NOT_OWN: AccessDecision = { allowed: false, reason: 'client_id_not_own' };

interface Rule {
  readonly text: string;
  readonly granted: AccessDecision;
}

export const VARIABLE = /\$\{([^}]*)\}/g;
export const LABEL_VARIABLE = /^device\.labels\.([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;
export const FLEET_EVENTS = '$fleet/events/#';
/** Receive decisions cached per session, by topic. */
const CACHED_TOPICS = 4_096;

/** The rights of one session. The rules of a verb are compiled at its first use. */
export class Rights {
  readonly #document: PolicyDocument;
  readonly #subject: Subject;
  readonly #limits: TopicLimits;
  readonly #rules: Partial<Record<PolicyVerb, readonly Rule[]>> = {};
  #lastPublished: string | undefined;
  #lastDecision: AccessDecision = NO_RULE;
  #received: Map<string, AccessDecision> | undefined;

  constructor(document: PolicyDocument, subject: Subject, limits: TopicLimits) {
    this.#document = document;
    this.#subject = subject;
    this.#limits = limits;
  }

  /** A device's client id is its device id and nothing else; a service's is its name or starts with `name-`. */
  mayConnect(clientId: string): AccessDecision {
    const { identity } = this.#subject;
    const name = identityName(identity);
    const own = clientId === name || (identity.kind === 'service' && clientId.startsWith(`${name}-`));
    if (!own) return NOT_OWN;
    for (const rule of this.#rulesOf('connect')) {
      const { text } = rule;
      if (text.endsWith('*') ? clientId.startsWith(text.slice(0, -1)) : clientId === text) return rule.granted;
    }
    return NO_RULE;
  }

  mayPublish(topic: string): AccessDecision {
    if (topic === this.#lastPublished) return this.#lastDecision;
    const decision = this.#mayWrite('publish', topic);
    this.#lastPublished = topic;
    this.#lastDecision = decision;
    return decision;
  }

  /** Whether a message may be retained. The right to publish it is a separate question. */
  mayRetain(topic: string): AccessDecision {
    return this.#mayWrite('retain', topic);
  }

  /** A shared subscription `$share/GROUP/FILTER` is decided by FILTER: a group changes who receives a message, not what may be read. */
  maySubscribe(requested: string): AccessDecision {
    const filter = isShared(requested) ? parseShare(requested)?.filter : requested;
    if (filter === undefined || !isTopicFilter(filter, this.#limits)) return MALFORMED;
    if (this.#isReservedForReading(filter)) return RESERVED;
    return find(this.#rulesOf('subscribe'), (rule) => filterCovers(rule, filter));
  }

  mayReceive(topic: string): AccessDecision {
    this.#received ??= new Map();
    const remembered = this.#received.get(topic);
    if (remembered !== undefined) return remembered;
    const decision = this.#isReservedForReading(topic)
      ? RESERVED
      : find(this.#rulesOf('receive'), (rule) => filterMatches(rule, topic));
    if (this.#received.size >= CACHED_TOPICS) this.#received.clear();
    this.#received.set(topic, decision);
    return decision;
  }

  may(verb: PolicyVerb, topic: string): AccessDecision {
    switch (verb) {
      case 'connect':
        return this.mayConnect(topic);
      case 'publish':
        return this.mayPublish(topic);
      case 'retain':
        return this.mayRetain(topic);
      case 'subscribe':
        return this.maySubscribe(topic);
      case 'receive':
        return isTopicName(topic, this.#limits) ? this.mayReceive(topic) : MALFORMED;
    }
  }

  #mayWrite(verb: 'publish' | 'retain', topic: string): AccessDecision {
    if (!isTopicName(topic, this.#limits)) return MALFORMED;
    if (isServerTopic(topic)) return RESERVED;
    const keyless = this.#keyless(topic);
    return keyless === undefined ? MALFORMED : find(this.#rulesOf(verb), (rule) => filterMatches(rule, keyless));
  }

  /** A key changes nothing about who may publish to a stream of its own; undefined for what has no key, or no stream, to be one. */
  #keyless(topic: string): string | undefined {
    const end = lengthWithoutKey(topic);
    const { identity } = this.#subject;
    if (end === topic.length || identity.kind !== 'device' || !topic.startsWith(deviceTopicPrefix(identity.id))) {
      return topic;
    }
    return parseDeviceTopic(topic) === undefined ? undefined : topic.slice(0, end);
  }

  /** Of all topics that start with `$`, only the fleet's events can be read, by services, and the trust bundle, by all. */
  #isReservedForReading(filter: string): boolean {
    if (!filter.startsWith('$') || filter === TRUST_BUNDLE_TOPIC) return false;
    return this.#subject.identity.kind !== 'service' || !filterCovers(FLEET_EVENTS, filter);
  }

  #rulesOf(verb: PolicyVerb): readonly Rule[] {
    const known = this.#rules[verb];
    if (known !== undefined) return known;
    const rules: Rule[] = [];
    for (const template of this.#document[verb]) {
      const text = fill(template, this.#subject);
      if (text !== undefined) rules.push({ text, granted: { allowed: true, rule: template } });
    }
    this.#rules[verb] = rules;
    return rules;
  }
}

export const DENY_ALL: PolicyDocument = { connect: [], publish: [], subscribe: [], receive: [], retain: [] };

function find(rules: readonly Rule[], grants: (rule: string) => boolean): AccessDecision {
  for (const rule of rules) if (grants(rule.text)) return rule.granted;
  return NO_RULE;
}

/** The template with its variables filled in; undefined when one has no value that can stand in a topic level. */
function fill(template: string, subject: Subject): string | undefined {
  let text = '';
  let from = 0;
  for (let at = template.indexOf('${'); at >= 0; at = template.indexOf('${', from)) {
    const end = template.indexOf('}', at);
    const value = end < 0 ? undefined : variableValue(template.slice(at + 2, end), subject);
    if (value === undefined || !isLevelText(value)) return undefined;
    text += template.slice(from, at) + value;
    from = end + 1;
  }
  return text + template.slice(from);
}

function variableValue(name: string, { identity, group, labels }: Subject): string | undefined {
  if (identity.kind === 'service') return name === 'service.name' ? identity.name : undefined;
  if (name === 'device.id') return identity.id;
  if (name === 'device.group') return group;
  const label = LABEL_VARIABLE.exec(name)?.[1];
  return label !== undefined && Object.hasOwn(labels, label) ? labels[label] : undefined;
}

/** A value from outside must not bring a level separator or a wildcard with it (CVE-2017-7650). */
function isLevelText(value: string): boolean {
  return /^[^+#/*$\p{Cc}]+$/u.test(value);
}
