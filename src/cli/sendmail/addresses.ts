// Addresses that sendmail is given: on its command line, and in headers. Those without a domain are of this host.
import { formatMailbox, parseMailbox } from '../../message/address-spec.ts';
import { parseAddressList } from '../../message/addresses.ts';
import type { EnvelopeAddress } from '../../message/types.ts';
import { EX_DATAERR, Fatal } from '../sysexits.ts';

const LIMITS = { addressBytes: 1024 * 1024, addresses: 100_000 };
/** What the parser writes where there is no domain, or nothing but one. */
const MISSING = 'MISSING_DOMAIN';
const NO_MAILBOX = 'MISSING_MAILBOX';

/** The addresses of a list (`Ana <ana@example.com>, info`), groups opened, domains added. @throws Fatal EX_DATAERR for what is no address */
export function readRecipients(text: string, myorigin: string): string[] {
  return parseAddressList(text, LIMITS).flatMap(({ mailbox, host }) => {
    if (mailbox === null || host === null) return [];
    const domain = host === MISSING ? '' : host;
    if (mailbox === NO_MAILBOX || !standsIn(text, mailbox, domain)) throw new Fatal(EX_DATAERR, `bad address: ${shown(text)}`);
    return [fullAddress(formatMailbox(mailbox, domain), myorigin)];
  });
}

/** The list's reader makes something of everything (`Ana ana@example.com` would be one address): what it says is to be there as such. */
function standsIn(text: string, local: string, domain: string): boolean {
  const at = domain === '' ? '' : `@${domain}`;
  return [formatMailbox(local, ''), `"${local}"`].some((written) => text.includes(written + at));
}

/** A sender: `<>` and nothing are the null one. @throws Fatal EX_DATAERR */
export function readSender(text: string, myorigin: string): string {
  const bare = text.trim();
  if (bare === '' || bare === '<>') return '';
  const [one, more] = readRecipients(bare, myorigin);
  if (one === undefined || more !== undefined) throw new Fatal(EX_DATAERR, `bad sender address: ${shown(text)}`);
  return one;
}

function fullAddress(text: string, myorigin: string): string {
  const mailbox = parseMailbox(text);
  if (!mailbox) throw new Fatal(EX_DATAERR, `bad address: ${shown(text)}`);
  return mailbox.domain === '' ? formatMailbox(mailbox.local, myorigin) : mailbox.address;
}

/** A field's list with domains added to its addresses; undefined when all have one. Names stay as they were written (latin1 or text). */
export function qualifiedList(value: string, myorigin: string): string | undefined {
  const list = parseAddressList(value, LIMITS);
  if (!list.some(({ host }) => host === MISSING)) return undefined;
  let out = '';
  let first = true;
  for (const entry of list) {
    if (entry.mailbox === null) {
      out += ';';
      first = false;
      continue;
    }
    if (!first) out += ', ';
    first = false;
    if (entry.host === null) {
      out += `${phrase(entry.mailbox)}:`;
      out += ' ';
      first = true;
    } else out += addressText(entry, myorigin);
  }
  return out;
}

function addressText({ name, mailbox, host }: EnvelopeAddress, myorigin: string): string {
  const address = formatMailbox(mailbox ?? '', host === MISSING ? myorigin : (host ?? ''));
  return name === null ? address : `${phrase(name)} <${address}>`;
}

/** A display name (RFC 5322 section 3.2.5), quoted where it must be. RFC 2047 words stay bare. */
export function phrase(name: string): string {
  if (/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \u0080-\uffff-]*$/.test(name)) return name;
  return `"${name.replace(/["\\]/g, '\\$&')}"`;
}

const shown = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
