// UNSELECT (RFC 3691): CLOSE without expunging.
import { ok } from '../status.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

export const unselect: CommandHandler = {
  states: SELECTED,
  sync: 'none',
  async run(session, { args }) {
    args.end();
    await session.unselect();
    return ok('Unselect completed');
  },
};
