// Whose message it is: the domain of the From field (RFC 5322 section 3.6.2, RFC 9989 section 5.3.1). A header in which readers may see different
// authors has none, and says which domains it names: it must never be the better for that (RFC 7489 section 6.6.1).
import { aLabels } from '../dns/a-labels.ts';
import { extractAddresses } from '../message/addresses.ts';
import { fieldValue, type HeaderField } from '../message/headers.ts';

export type Author =
  /** A-labels, lower case; an address literal with its brackets. */
  { readonly domain: string } | { readonly problem: string; readonly domains: readonly string[] };

/** Octets of a From field: longer ones are nobody's. */
const MAX_FROM = 10_240;
/** Domains that are told of a From field with a problem. */
const MAX_DOMAINS = 5;

export function authorOf(header: Buffer, fields: readonly HeaderField[]): Author {
  const from = fields.filter(({ name }) => name === 'from');
  const texts = from
    .slice(0, MAX_DOMAINS)
    .map((field) => Buffer.from(fieldValue(header, field, MAX_FROM), 'latin1').toString('utf8'));
  const [text] = texts;
  if (text === undefined) return { problem: 'no From field', domains: [] };
  if (from.length > 1) return { problem: 'more than one From field', domains: visibleDomains(texts) };
  // Not by its text: that has lost the blanks at its end.
  if (from.some(({ valueStart, end }) => end - valueStart > MAX_FROM))
    return { problem: 'the From field is too long', domains: visibleDomains(texts) };
  const authors = extractAddresses(text);
  const domains = authors ? [...new Set(authors.map(({ domain }) => domainName(domain)))] : visibleDomains(texts);
  const [domain] = domains;
  if (domain === undefined || domain === '') return { problem: 'no author in the From field', domains: [] };
  // What is written badly but can only mean one domain is that domain's.
  return domains.length === 1
    ? { domain }
    : { problem: 'authors of more than one domain', domains: domains.slice(0, MAX_DOMAINS) };
}

/** Whatever some reader may take for the domain of an address. */
function visibleDomains(texts: readonly string[]): string[] {
  const found = texts.flatMap((text) => [...text.matchAll(/@[ \t]{0,8}([^\x00-\x20\x7f<>()@,;:"\\]{1,255})/g)]);
  return [...new Set(found.map((match) => domainName(match[1] ?? '')))].filter((domain) => domain !== '').slice(0, MAX_DOMAINS);
}

const domainName = (domain: string): string => {
  const lower = domain.toLowerCase().replace(/\.$/, '');
  return /[^\x00-\x7f]/.test(lower) ? aLabels(lower) : lower;
};
