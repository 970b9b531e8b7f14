// CHECK (RFC 3501 section 6.4.1): everything is synced before it is answered anyway; told like NOOP.
import { ok } from '../status.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

export const check: CommandHandler = {
  states: SELECTED,
  sync: 'all',
  async run(_session, { args }) {
    args.end();
    return ok('Check completed');
  },
};
