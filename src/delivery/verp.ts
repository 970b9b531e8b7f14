// Variable envelope return paths (Postfix's VERP_README): a sender of its own for each recipient, so that the address of a bounce tells who it is about.
//
//   owner-list@origin, user@domain, `+=` → owner-list+user=domain@origin
import { formatMailbox, parseMailbox } from '../message/address-spec.ts';

/** verp_delimiter_filter: what a client may choose. */
const ALLOWED = '-=+';

/** What XVERP says: two characters, which may be the same; undefined where they may not be used. */
export function readVerpDelimiters(value: string): string | undefined {
  return value.length === 2 && [...value].every((char) => ALLOWED.includes(char)) ? value : undefined;
}

/** The sender for this recipient; `sender` itself where it is `<>` or one of them is no full address, or the result would be none. */
export function verpSender(sender: string, recipient: string, delimiters: string): string {
  const from = parseMailbox(sender);
  const to = parseMailbox(recipient);
  if (!from || from.domain === '' || !to || to.domain === '') return sender;
  const address = formatMailbox(
    `${from.local}${delimiters.charAt(0)}${to.local}${delimiters.charAt(1)}${to.domain}`,
    sender.slice(sender.lastIndexOf('@') + 1),
  );
  return parseMailbox(address) ? address : sender;
}
