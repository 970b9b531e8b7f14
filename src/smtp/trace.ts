// The Received field that we add (RFC 5321 section 4.4), in Postfix's form.
import { formatRfc5322 } from '../message/date.ts';

export interface Hop {
  readonly helo: string;
  readonly clientName?: string;
  readonly clientAddress: string;
  readonly hostname: string;
  readonly id: string;
  /** RFC 3848 and RFC 6531: ESMTP, ESMTPS, ESMTPSA, UTF8SMTPSA … */
  readonly protocol: string;
  readonly tls?: { readonly version: string; readonly cipher: string; readonly bits: number };
  /** Told when there is only one (RFC 5321 7.2: others must not learn of each other). */
  readonly recipient?: string;
  readonly at: number;
  /** The message may hold UTF-8 in its header (RFC 6531). */
  readonly utf8: boolean;
}

/** What a peer said of itself, fit for a header: RFC 5321 allows less than this. */
const clean = (text: string, utf8: boolean): string =>
  text
    .replace(utf8 ? /[^\x21-\x7e\xa0-\uffff]/g : /[^\x21-\x7e]/g, '?')
    .replace(/[()<>\\]/g, '?')
    .slice(0, 255);

/** The field with its line ends. */
export function receivedField(hop: Hop): string {
  const tls = hop.tls
    ? `\r\n\t(using ${hop.tls.version} with cipher ${hop.tls.cipher} (${hop.tls.bits}/${hop.tls.bits} bits))`
    : '';
  const address = hop.clientAddress.includes(':') ? `IPv6:${hop.clientAddress}` : hop.clientAddress;
  // An address was parsed, and written so that it can be read again.
  const to = hop.recipient === undefined ? '' : `\r\n\tfor <${hop.recipient.replace(/[\x00-\x1f\x7f-\x9f]/g, '?')}>`;
  return `Received: from ${clean(hop.helo, hop.utf8) || 'unknown'} (${clean(hop.clientName ?? 'unknown', hop.utf8)} [${address}])${tls}\r\n\tby ${hop.hostname} (Buzon) with ${hop.protocol} id ${hop.id}${to};\r\n\t${formatRfc5322(hop.at)}\r\n`;
}

/** `with` keyword. */
export function protocolName(options: { esmtp: boolean; tls: boolean; auth: boolean; utf8: boolean }): string {
  if (!options.esmtp) return 'SMTP';
  return `${options.utf8 ? 'UTF8SMTP' : 'ESMTP'}${options.tls ? 'S' : ''}${options.auth ? 'A' : ''}`;
}
