// An SPF record (RFC 7208 sections 4.5, 4.6, 5, 6 and 12), parsed as a whole before any of it is evaluated: an error anywhere in it is a permerror,
// also behind a term that would have matched.
import { isIPv6 } from 'node:net';
import { addressBytes } from './address.ts';
import { parseDomainSpec, parseMacroString, SpfSyntaxError, type MacroString } from './macro.ts';

export type Qualifier = '+' | '-' | '~' | '?';

export type Mechanism =
  | { readonly kind: 'all' }
  | { readonly kind: 'include' | 'exists'; readonly target: MacroString }
  | { readonly kind: 'ptr'; readonly target: MacroString | undefined }
  | { readonly kind: 'a' | 'mx'; readonly target: MacroString | undefined; readonly bits4: number; readonly bits6: number }
  | { readonly kind: 'ip4' | 'ip6'; readonly network: readonly number[]; readonly bits: number };

export interface Directive {
  readonly qualifier: Qualifier;
  readonly mechanism: Mechanism;
  /** As written. */
  readonly text: string;
}

export interface SpfRecord {
  readonly directives: readonly Directive[];
  readonly redirect?: MacroString;
  readonly explanation?: MacroString;
}

/** Whether a TXT record is one of SPF's: the version ends at a space or with the record. */
export const isSpfRecord = (text: string): boolean => /^v=spf1(?: |$)/i.test(text);

/** @throws SpfSyntaxError */
export function parseSpfRecord(text: string): SpfRecord {
  const directives: Directive[] = [];
  const modifiers: { redirect?: MacroString; explanation?: MacroString } = {};
  for (const term of text.split(' ').slice(1)) {
    if (term === '') continue;
    const modifier = /^([^:/=]*)=(.*)$/s.exec(term);
    if (!modifier) directives.push(directive(term));
    else modify(modifiers, modifier[1] ?? '', modifier[2] ?? '');
  }
  return { directives, ...modifiers };
}

function modify(modifiers: { redirect?: MacroString; explanation?: MacroString }, written: string, value: string): void {
  if (!/^[a-z][a-z0-9_.-]*$/i.test(written)) throw new SpfSyntaxError('a modifier without a name');
  const name = written.toLowerCase();
  if (name !== 'redirect' && name !== 'exp') return void parseMacroString(value, false, true);
  const key = name === 'exp' ? 'explanation' : 'redirect';
  if (modifiers[key]) throw new SpfSyntaxError(`${name}= more than once`);
  modifiers[key] = parseDomainSpec(value);
}

function directive(text: string): Directive {
  const [, sign = '', name = '', rest = ''] = /^([-+~?]?)([^:/]*)(.*)$/s.exec(text) ?? [];
  return { qualifier: sign === '' ? '+' : (sign as Qualifier), mechanism: mechanism(name.toLowerCase(), rest), text };
}

function mechanism(kind: string, rest: string): Mechanism {
  switch (kind) {
    case 'all':
      if (rest !== '') throw new SpfSyntaxError('something behind all');
      return { kind };
    case 'include':
    case 'exists':
      return { kind, target: targetOf(rest) };
    case 'ptr':
      return { kind, target: rest === '' ? undefined : targetOf(rest) };
    case 'a':
    case 'mx': {
      // domain-spec may have slashes: only what ends the term can be a length.
      const [, spec, bits4, bits6] = /^(|:.+?)(?:\/(\d+))?(?:\/\/(\d+))?$/s.exec(rest) ?? [];
      if (spec === undefined) throw new SpfSyntaxError(`what is behind ${kind} is no domain`);
      const target = spec === '' ? undefined : targetOf(spec);
      return { kind, target, bits4: prefixLength(bits4, 32), bits6: prefixLength(bits6, 128) };
    }
    case 'ip4':
    case 'ip6': {
      const [, address = '', bits] = /^:([^/]*)(?:\/(.*))?$/s.exec(rest) ?? [];
      const valid = kind === 'ip4' ? isQuad(address) : /^[0-9a-f:.]+$/i.test(address) && isIPv6(address);
      if (!valid) throw new SpfSyntaxError(`what is behind ${kind} is no address`);
      return { kind, network: addressBytes(address), bits: prefixLength(bits, kind === 'ip4' ? 32 : 128) };
    }
    default:
      throw new SpfSyntaxError('an unknown mechanism');
  }
}

function targetOf(rest: string): MacroString {
  if (!rest.startsWith(':')) throw new SpfSyntaxError('a domain is missing');
  return parseDomainSpec(rest.slice(1));
}

/** No zeros at the front (RFC 7208 section 12). */
function prefixLength(text: string | undefined, most: number): number {
  if (text === undefined) return most;
  if (!/^(?:0|[1-9]\d{0,2})$/.test(text) || Number(text) > most) throw new SpfSyntaxError('a prefix length that is none');
  return Number(text);
}

const isQuad = (text: string): boolean =>
  /^(?:\d{1,3}\.){3}\d{1,3}$/.test(text) && text.split('.').every((part) => String(Number(part)) === part && Number(part) < 256);
