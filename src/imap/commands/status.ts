// STATUS (RFC 3501 section 6.3.10).
import type { MailboxStatus } from '../../storage/types.ts';
import { fromPath, readMailboxName } from '../mailbox-name.ts';
import { ok } from '../status.ts';
import { astring } from '../syntax/quote.ts';
import { bad, type Scanner } from '../syntax/scanner.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

const ITEMS: ReadonlyMap<string, (status: MailboxStatus) => number> = new Map([
  ['MESSAGES', (s) => s.messages],
  ['RECENT', (s) => s.recent],
  ['UIDNEXT', (s) => s.uidNext],
  ['UIDVALIDITY', (s) => s.uidValidity],
  ['UNSEEN', (s) => s.unseen],
] as const);

function readStatus(args: Scanner): { name: string; items: string[] } {
  args.space();
  const name = readMailboxName(args);
  args.space();
  const items = new Set<string>();
  args.list(() => {
    const item = args.keyword();
    if (!ITEMS.has(item)) throw bad('Unknown STATUS item');
    items.add(item);
  });
  args.end();
  if (items.size === 0) throw bad('Expected STATUS items');
  return { name, items: [...items] };
}

export const status: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    const { name, items } = readStatus(args);
    const path = session.path(name);
    const found = await session.store.status(path);
    const values = items.map((item) => `${item} ${ITEMS.get(item)?.(found)}`);
    session.untagged(`STATUS ${astring(fromPath(path, session.namespace) ?? name)} (${values.join(' ')})`);
    return ok('Status completed');
  },
};
