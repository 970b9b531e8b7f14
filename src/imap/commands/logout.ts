// LOGOUT (RFC 3501 section 6.1.3).
import { ok } from '../status.ts';
import { ANY_STATE, type CommandHandler } from './handler.ts';

export const logout: CommandHandler = {
  states: ANY_STATE,
  sync: 'none',
  async run(session, { args }) {
    args.end();
    session.untagged('BYE Logging out');
    session.finish();
    return ok('Logout completed');
  },
};
