// LSUB (RFC 3501 section 6.3.9): subscribed names, also of mailboxes that are gone; `%` shows levels above them as \Noselect.
import { fromPath } from '../mailbox-name.ts';
import { matchesPattern, matchingParents } from '../list-pattern.ts';
import { ok } from '../status.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';
import { readPattern, writeEntry } from './list.ts';

export const lsub: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    const pattern = readPattern(args);
    const { namespace } = session;
    const told = new Map<string, readonly string[]>();
    for (const entry of await session.store.list()) {
      const name = entry.subscribed ? fromPath(entry.path, namespace) : undefined;
      if (name === undefined) continue;
      if (matchesPattern(pattern, name, namespace.separator)) told.set(name, entry.exists ? [] : ['\\Noselect']);
      if (!pattern.includes('%')) continue;
      for (const length of matchingParents(pattern, name, namespace.separator))
        if (!told.has(name.slice(0, length))) told.set(name.slice(0, length), ['\\Noselect']);
    }
    for (const [name, attributes] of told) {
      writeEntry(session, 'LSUB', attributes, name);
      await session.writer.breathe();
    }
    return ok('Lsub completed');
  },
};
