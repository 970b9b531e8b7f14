// How much an account may send (account_send_limits, account_send_limit_maps): said at RCPT, counted when the message is there.
import type { LookupTable } from '../config/lookup.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { lookupKeys, splitAddress } from './address-keys.ts';
import { lookUp } from './look-up.ts';
import { DAY_MS, HOUR_MS, type Amount, type SendCounts, type Usage } from './send-counts.ts';
import type { SendMeter } from './types.ts';

const KINDS = {
  messages_per_hour: { amount: 'messages', window: 'hour', text: 'messages an hour' },
  messages_per_day: { amount: 'messages', window: 'day', text: 'messages a day' },
  recipients_per_hour: { amount: 'recipients', window: 'hour', text: 'recipients an hour' },
  recipients_per_day: { amount: 'recipients', window: 'day', text: 'recipients a day' },
  new_recipients_per_hour: { amount: 'fresh', window: 'hour', text: 'new recipients an hour' },
  new_recipients_per_day: { amount: 'fresh', window: 'day', text: 'new recipients a day' },
} as const;
type LimitName = keyof typeof KINDS;
const NAMES = Object.keys(KINDS) as readonly LimitName[];

/** 0 for no limit. */
export type Limits = Readonly<Record<LimitName, number>>;
export const UNLIMITED: Limits = Object.fromEntries(NAMES.map((name) => [name, 0])) as Record<LimitName, number>;

export interface SendLimitOptions {
  readonly counts: SendCounts;
  readonly limits: Limits;
  readonly maps: readonly LookupTable[];
  readonly logger: Logger;
}

export class SendLimits {
  readonly #o: SendLimitOptions;

  constructor(options: SendLimitOptions) {
    this.#o = options;
  }

  /** For a message of this account; undefined when nothing limits it. @throws MailError temporary when a map cannot be read */
  async begin(account: string): Promise<SendMeter | undefined> {
    const limits = await this.#limitsOf(account);
    if (NAMES.every((name) => limits[name] === 0)) return undefined;
    return new Meter(account, limits, this.#o);
  }

  async #limitsOf(account: string): Promise<Limits> {
    const { maps, limits, logger } = this.#o;
    const found = maps.length > 0 ? await lookUp(maps, lookupKeys(splitAddress(account, ''), false)) : undefined;
    if (!found) return limits;
    const read = parseLimits(found.value, limits);
    if (typeof read !== 'string') return read;
    logger.error('send-limit.bad', { account, value: found.value, error: read });
    return limits;
  }
}

/** `unlimited`, or `recipients_per_day=5000 messages_per_hour=0`; what is not named is as in `standard`. Gives what is wrong with it as text. */
export function parseLimits(value: string, standard: Limits): Limits | string {
  if (value.trim().toLowerCase() === 'unlimited') return UNLIMITED;
  const limits = { ...standard };
  for (const word of value.split(/[\s,]+/).filter((one) => one !== '')) {
    const [, name = '', count = ''] = /^([a-z_]+)=(\d{1,9})$/.exec(word) ?? [];
    if (!Object.hasOwn(KINDS, name)) return `"${word}" is no limit; write unlimited, or NAME=COUNT with ${NAMES.join(', ')}`;
    limits[name as LimitName] = Number(count);
  }
  return limits;
}

class Meter implements SendMeter {
  readonly #account: string;
  readonly #limits: Limits;
  readonly #o: SendLimitOptions;
  readonly #recipients = new Set<string>();
  #fresh = 0;

  constructor(account: string, limits: Limits, options: SendLimitOptions) {
    this.#account = account;
    this.#limits = limits;
    this.#o = options;
  }

  async recipient(address: string): Promise<void> {
    const key = address.toLowerCase();
    if (this.#recipients.has(key)) return;
    const { counts } = this.#o;
    const fresh = this.#countsNew && (await counts.isNew(this.#account, key)) ? 1 : 0;
    const amount = { messages: 1, recipients: this.#recipients.size + 1, fresh: this.#fresh + fresh };
    const over = this.#over(await counts.usage(this.#account), amount);
    if (over) throw await this.#refusal(over);
    this.#recipients.add(key);
    this.#fresh += fresh;
  }

  async charge(): Promise<() => Promise<void>> {
    const { counts } = this.#o;
    const amount = { messages: 1, recipients: this.#recipients.size, fresh: this.#fresh };
    const known = this.#countsNew ? [...this.#recipients] : [];
    const over = await counts.add(this.#account, amount, known, (usage) => this.#over(usage, amount));
    if (over) throw await this.#refusal(over);
    return () => counts.subtract(this.#account, amount);
  }

  get #countsNew(): boolean {
    return this.#limits.new_recipients_per_hour > 0 || this.#limits.new_recipients_per_day > 0;
  }
  #over(usage: Usage, more: Amount): LimitName | undefined {
    return NAMES.find((name) => {
      const { amount, window } = KINDS[name];
      return this.#limits[name] > 0 && usage[window][amount] + more[amount] > this.#limits[name];
    });
  }

  async #refusal(name: LimitName): Promise<MailError> {
    const { counts, logger } = this.#o;
    const { window, text } = KINDS[name];
    const limit = this.#limits[name];
    if (await counts.firstIn(this.#account, name, window === 'hour' ? HOUR_MS : DAY_MS))
      logger.error('send-limit.reached', { account: this.#account, limit: name, allowed: limit });
    return new MailError('too-many', 'SEND_LIMIT', `Sending limit reached (${limit} ${text}), try again later`);
  }
}
