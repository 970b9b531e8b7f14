// check_host() of SPF (RFC 7208), with its limits: 11 terms that ask DNS, or a third answer that is empty, are a permerror (sections 4.6.4, 11.1); a DNS
// failure anywhere, also inside include and redirect, is a temperror. mailauth's own evaluator refuses domains with an underscore.
import { unmapped } from '../../config/networks.ts';
import { aLabels } from '../../dns/a-labels.ts';
import type { Resolver } from '../../dns/resolver.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { addressBytes, dottedForm, inNetwork } from './address.ts';
import { expandMacros, isTopLabel, parseMacroString, SpfSyntaxError, usesMacro, type MacroString } from './macro.ts';
import { isSpfRecord, parseSpfRecord, type Mechanism, type Qualifier, type SpfRecord } from './record.ts';

export type SpfCode = 'pass' | 'fail' | 'softfail' | 'neutral' | 'none' | 'temperror' | 'permerror';

export interface SpfQuestion {
  /** The client's address. */
  readonly ip: string;
  /** MAIL FROM; empty for the null path, which makes the HELO name the one that is checked (section 2.4). */
  readonly sender: string;
  readonly helo: string;
  /** Our name, `%{r}`. */
  readonly receiver: string;
  /** Milliseconds since the epoch, `%{t}`. */
  readonly now: number;
}

export interface SpfResult {
  readonly result: SpfCode;
  readonly identity: 'mailfrom' | 'helo';
  /** Whose record was asked for; A-labels. */
  readonly domain: string;
  /** What was wrong, our words: for temperror and permerror. */
  readonly reason?: string;
  /** The directive that matched, as its record has it. */
  readonly mechanism?: string;
  /** What the domain's owner has to say of a fail (section 6.2), printable ASCII. */
  readonly explanation?: string;
}

const MAX_TERMS = 10;
const MAX_VOIDS = 2;
/** Names of one MX or PTR answer whose addresses are looked up (section 4.6.4). */
const MAX_NAMES = 10;
/** Characters of an explanation, and of the text with macros that it is made of. */
const MAX_EXPLANATION = 500;
const MAX_NAME = 253;

const RESULTS: Readonly<Record<Qualifier, SpfCode>> = { '+': 'pass', '-': 'fail', '~': 'softfail', '?': 'neutral' };

/** Never rejects. */
export async function checkSpf(question: SpfQuestion, resolver: Resolver): Promise<SpfResult> {
  return new Evaluation(question, resolver).run();
}

/** Ends an evaluation. */
class Stop extends Error {
  readonly result: 'temperror' | 'permerror';
  constructor(result: 'temperror' | 'permerror', reason: string) {
    super(reason);
    this.result = result;
  }
}

interface Outcome {
  readonly result: SpfCode;
  readonly mechanism?: string;
  /** Whose explanation a fail has. */
  readonly explain?: { readonly spec: MacroString; readonly domain: string };
}

class Evaluation {
  readonly #question: SpfQuestion;
  readonly #resolver: Resolver;
  readonly #address: readonly number[];
  /** With a local part, its domain in A-labels. */
  readonly #local: string;
  readonly #senderDomain: string;
  #terms = 0;
  #voids = 0;

  constructor(question: SpfQuestion, resolver: Resolver) {
    this.#question = question;
    this.#resolver = resolver;
    this.#address = addressBytes(question.ip);
    const sender = question.sender === '' ? `postmaster@${question.helo}` : question.sender;
    const at = sender.lastIndexOf('@');
    this.#local = at > 0 ? sender.slice(0, at) : 'postmaster';
    this.#senderDomain = asked(sender.slice(at + 1));
  }

  async run(): Promise<SpfResult> {
    const about = {
      identity: this.#question.sender === '' ? 'helo' : 'mailfrom',
      domain: this.#senderDomain.toLowerCase(),
    } as const;
    try {
      const { result, mechanism, explain } = await this.#host(this.#senderDomain);
      const explanation = result === 'fail' && explain ? await this.#explanation(explain.spec, explain.domain) : undefined;
      return {
        result,
        ...about,
        ...(mechanism === undefined ? {} : { mechanism }),
        ...(explanation === undefined ? {} : { explanation }),
      };
    } catch (error) {
      if (error instanceof Stop) return { result: error.result, ...about, reason: error.message };
      return { result: 'temperror', ...about, reason: `the check failed (${errnoOf(error) ?? 'internal'})` };
    }
  }

  /** check_host(): sections 4.3 to 4.7. */
  async #host(domain: string): Promise<Outcome> {
    if (!isFullName(domain)) return { result: 'none' };
    const record = await this.#record(domain);
    if (!record) return { result: 'none' };
    for (const { qualifier, mechanism, text } of record.directives)
      if (await this.#matches(mechanism, domain))
        return {
          result: RESULTS[qualifier],
          mechanism: text,
          ...(record.explanation ? { explain: { spec: record.explanation, domain } } : {}),
        };
    return record.redirect ? this.#other('redirect', record.redirect, domain) : { result: 'neutral' };
  }

  async #record(domain: string): Promise<SpfRecord | undefined> {
    const records = (await this.#ask(domain, (resolver, name) => resolver.txt(name))).filter(isSpfRecord);
    const [only] = records;
    if (only === undefined) return undefined;
    if (records.length > 1) throw new Stop('permerror', `more than one SPF record at ${domain}`);
    try {
      return parseSpfRecord(only);
    } catch (error) {
      if (error instanceof SpfSyntaxError) throw new Stop('permerror', `the SPF record of ${domain} has ${error.message}`);
      throw error;
    }
  }

  /** include and redirect: that there is nothing to include is an error of who wrote it (sections 5.2, 6.1). */
  async #other(what: 'include' | 'redirect', spec: MacroString, domain: string): Promise<Outcome> {
    this.#term();
    const target = await this.#target(spec, domain);
    // RFC 8616 section 4.
    if (target === undefined) return { result: 'neutral' };
    const outcome = await this.#host(target);
    if (outcome.result === 'none') throw new Stop('permerror', `${what} of a domain without SPF record`);
    return outcome;
  }

  async #matches(mechanism: Mechanism, domain: string): Promise<boolean> {
    switch (mechanism.kind) {
      case 'all':
        return true;
      case 'ip4':
      case 'ip6':
        return inNetwork(this.#address, mechanism.network, mechanism.bits);
      case 'include':
        return (await this.#other('include', mechanism.target, domain)).result === 'pass';
    }
    this.#term();
    const target = mechanism.target ? await this.#target(mechanism.target, domain) : domain;
    // Section 4.3 is for include and redirect: here a name that cannot be asked for does not match.
    if (target === undefined || !isFullName(target)) return false;
    switch (mechanism.kind) {
      case 'a':
        return this.#near(await this.#addresses(target, true), mechanism);
      case 'mx':
        return this.#mx(target, mechanism);
      case 'exists':
        return this.#counted(await this.#ask(target, (resolver, name) => resolver.a(name))).length > 0;
      case 'ptr':
        return (await this.#validatedNames()).some((name) => name === target.toLowerCase() || isBelow(name, target));
    }
  }

  async #mx(target: string, bits: { readonly bits4: number; readonly bits6: number }): Promise<boolean> {
    const hosts = this.#counted(await this.#ask(target, (resolver, name) => resolver.mx(name)))
      .map(({ exchange }) => exchange)
      .filter((exchange) => exchange !== '');
    for (const host of hosts.slice(0, MAX_NAMES))
      if (isFullName(host) && this.#near(await this.#addresses(host, false), bits)) return true;
    if (hosts.length > MAX_NAMES) throw new Stop('permerror', `more than ${MAX_NAMES} MX records at ${target}`);
    return false;
  }

  async #addresses(name: string, counted: boolean): Promise<string[]> {
    const v4 = this.#address.length === 4;
    const found = await this.#ask(name, (resolver, host) => (v4 ? resolver.a(host) : resolver.aaaa(host)));
    return counted ? this.#counted(found) : found;
  }
  #near(addresses: readonly string[], { bits4, bits6 }: { readonly bits4: number; readonly bits6: number }): boolean {
    const bits = this.#address.length === 4 ? bits4 : bits6;
    return addresses.some((address) => inNetwork(this.#address, addressBytes(address), bits));
  }

  /** Names of the client that lead back to it, lower case (section 5.5); none where DNS fails. */
  async #validatedNames(): Promise<string[]> {
    const names = await this.#ptrNames();
    const valid: string[] = [];
    for (const name of names.slice(0, MAX_NAMES)) {
      const addresses = isFullName(name) ? await this.#quietly(() => this.#addresses(name, false)) : [];
      if (addresses.some((address) => inNetwork(this.#address, addressBytes(address), 128))) valid.push(name.toLowerCase());
    }
    return valid;
  }
  async #ptrNames(): Promise<string[]> {
    let asked = false;
    const names = await this.#quietly(async () => {
      const found = await this.#ask(this.#question.ip, (resolver) => resolver.ptr(plainAddress(this.#question.ip)));
      asked = true;
      return found;
    });
    return asked ? this.#counted(names) : names;
  }
  async #quietly(ask: () => Promise<string[]>): Promise<string[]> {
    return ask().catch((error: unknown) => {
      if (error instanceof Stop && error.result === 'temperror') return [];
      throw error;
    });
  }

  /** A term that asks DNS. */
  #term(): void {
    if (++this.#terms > MAX_TERMS) throw new Stop('permerror', `more than ${MAX_TERMS} DNS look-ups`);
  }
  #counted<T>(answer: T[]): T[] {
    if (answer.length === 0 && ++this.#voids > MAX_VOIDS) throw new Stop('permerror', `more than ${MAX_VOIDS} empty DNS answers`);
    return answer;
  }
  async #ask<T>(name: string, ask: (resolver: Resolver, name: string) => Promise<T[]>): Promise<T[]> {
    try {
      return await ask(this.#resolver, name);
    } catch (error) {
      if (error instanceof MailError) throw new Stop('temperror', `DNS: ${error.code} for ${name}`);
      throw error;
    }
  }

  /** The name that a domain-spec gives; undefined for one that cannot match: a local part that is not ASCII (RFC 8616 section 4). */
  async #target(spec: MacroString, domain: string): Promise<string | undefined> {
    if (usesMacro(spec, 'sl') && !isAscii(this.#local)) return undefined;
    const name = asked(await this.#expand(spec, domain)).replace(/\.$/, '');
    // Section 7.3: whole labels are left out on the left.
    return name.length > MAX_NAME ? name.slice(name.indexOf('.', name.length - MAX_NAME - 1) + 1) : name;
  }

  async #expand(spec: MacroString, domain: string): Promise<string> {
    let validated = 'unknown';
    if (usesMacro(spec, 'p')) {
      this.#term();
      const names = await this.#validatedNames();
      const wanted = domain.toLowerCase();
      validated = names.find((name) => name === wanted) ?? names.find((name) => isBelow(name, wanted)) ?? names[0] ?? 'unknown';
    }
    const { ip, helo, receiver, now } = this.#question;
    const values: Readonly<Record<string, string>> = {
      s: `${this.#local}@${this.#senderDomain}`,
      l: this.#local,
      o: this.#senderDomain,
      d: domain,
      i: dottedForm(this.#address),
      p: validated,
      v: this.#address.length === 4 ? 'in-addr' : 'ip6',
      h: helo,
      c: plainAddress(ip).toLowerCase(),
      r: receiver,
      t: String(Math.floor(now / 1000)),
    };
    return expandMacros(spec, (letter) => values[letter] ?? '');
  }

  /** Whatever is wrong with an explanation, there is none then (section 6.2). It is nobody's term: its look-ups are not counted. */
  async #explanation(spec: MacroString, domain: string): Promise<string | undefined> {
    try {
      this.#terms = 0;
      const target = await this.#target(spec, domain);
      if (target === undefined || !isFullName(target)) return undefined;
      const [only, more] = await this.#resolver.txt(target);
      if (only === undefined || more !== undefined || only.length > MAX_EXPLANATION) return undefined;
      const text = await this.#expand(parseMacroString(only, true), domain);
      return /^[\x20-\x7e]+$/.test(text) ? text.slice(0, MAX_EXPLANATION) : undefined;
    } catch {
      return undefined;
    }
  }
}

const isAscii = (text: string): boolean => !/[^\x00-\x7f]/.test(text);
const isBelow = (name: string, domain: string): boolean => name.toLowerCase().endsWith(`.${domain.toLowerCase()}`);
/** RFC 8616 section 4; the name itself where it cannot be converted. */
const asked = (name: string): string => (isAscii(name) ? name : aLabels(name));
const plainAddress = (ip: string): string => unmapped(ip).replace(/%.*$/, '');

/** Section 4.3: at least two labels, none empty or over 63 octets, and no address at its end; what else is in it DNS may answer for. */
function isFullName(name: string): boolean {
  const labels = name.replace(/\.$/, '').split('.');
  if (labels.length < 2 || name.length > 254) return false;
  return labels.every((label) => /^[\x20-\x2d\x2f-\x7e]{1,63}$/.test(label)) && isTopLabel(labels.at(-1) ?? '');
}
