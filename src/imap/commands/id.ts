// ID (RFC 2971): who the client says it is goes to the log; who we are goes back.
import { ok } from '../status.ts';
import { bad, type Scanner } from '../syntax/scanner.ts';
import { ANY_STATE, type CommandHandler } from './handler.ts';

/** RFC 2971 section 3.3. */
const MAX_PAIRS = 30;
const MAX_FIELD = 30;
const MAX_VALUE = 1024;

function readId(args: Scanner): Map<string, string> {
  const pairs = new Map<string, string>();
  args.space();
  if (args.next !== '(') {
    args.expect('NIL');
    args.end();
    return pairs;
  }
  args.list(() => {
    const field = args.string().toString('latin1').toLowerCase();
    args.space();
    const value = args.nstring()?.toString('utf8') ?? '';
    if (field.length > MAX_FIELD || value.length > MAX_VALUE || pairs.size >= MAX_PAIRS) throw bad('Too much in ID');
    pairs.set(field, value);
  });
  args.end();
  return pairs;
}

export const id: CommandHandler = {
  states: ANY_STATE,
  sync: 'flags',
  async run(session, { args }) {
    const pairs = readId(args);
    session.logger.info('imap.id', { name: pairs.get('name'), version: pairs.get('version'), os: pairs.get('os') });
    session.untagged('ID ("name" "Buzon")');
    return ok('ID completed');
  },
};
