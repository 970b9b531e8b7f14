// ENABLE (RFC 5161): nothing that is announced needs enabling, so that the answer lists nothing.
import { ok } from '../status.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

export const enable: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    do {
      args.space();
      args.atom();
      args.count();
    } while (!args.atEnd);
    session.untagged('ENABLED');
    return ok('Enable completed');
  },
};
