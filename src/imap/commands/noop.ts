// NOOP (RFC 3501 section 6.1.2): asks for what is new.
import { ok } from '../status.ts';
import { ANY_STATE, type CommandHandler } from './handler.ts';

export const noop: CommandHandler = {
  states: ANY_STATE,
  sync: 'all',
  async run(_session, { args }) {
    args.end();
    return ok('NOOP completed');
  },
};
