// NAMESPACE (RFC 2342): one personal namespace.
import { ok } from '../status.ts';
import { quoted } from '../syntax/quote.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

export const namespace: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    args.end();
    const { prefix, separator } = session.namespace;
    session.untagged(`NAMESPACE ((${quoted(prefix)} ${quoted(separator)})) NIL NIL`);
    return ok('Namespace completed');
  },
};
