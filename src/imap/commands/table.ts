// All commands and the states they are allowed in (RFC 3501 section 6).
import type { ImapCommand, State } from '../session.ts';
import { append } from './append.ts';
import { authenticate, login } from './login.ts';
import { capability, enable, id, logout, namespace, noop, starttls } from './any-state.ts';
import { close, expunge, uidExpunge, unselect } from './close.ts';
import { copy, move, uidCopy, uidMove } from './copy.ts';
import { fetch, uidFetch } from './fetch.ts';
import { idle } from './idle.ts';
import { list, lsub } from './list.ts';
import { create, delete_, rename, status, subscribe, unsubscribe } from './mailboxes.ts';
import { search, uidSearch } from './search.ts';
import { examine, select } from './select.ts';
import { store, uidStore } from './store.ts';

const ANY: readonly State[] = ['unauthenticated', 'authenticated', 'selected'];
const BEFORE: readonly State[] = ['unauthenticated'];
const AFTER: readonly State[] = ['authenticated', 'selected'];
const SELECTED: readonly State[] = ['selected'];

export const COMMANDS: ReadonlyMap<string, ImapCommand> = new Map<string, ImapCommand>([
  ['CAPABILITY', { states: ANY, run: capability }],
  ['NOOP', { states: ANY, run: noop }],
  ['CHECK', { states: SELECTED, run: noop }],
  ['LOGOUT', { states: ANY, run: logout }],
  ['ID', { states: ANY, run: id }],
  ['STARTTLS', { states: BEFORE, run: starttls }],
  ['AUTHENTICATE', { states: BEFORE, run: authenticate }],
  ['LOGIN', { states: BEFORE, run: login }],
  ['ENABLE', { states: AFTER, run: enable }],
  ['NAMESPACE', { states: AFTER, run: namespace }],
  ['SELECT', { states: AFTER, run: select }],
  ['EXAMINE', { states: AFTER, run: examine }],
  ['CREATE', { states: AFTER, run: create }],
  ['DELETE', { states: AFTER, run: delete_ }],
  ['RENAME', { states: AFTER, run: rename }],
  ['SUBSCRIBE', { states: AFTER, run: subscribe }],
  ['UNSUBSCRIBE', { states: AFTER, run: unsubscribe }],
  ['LIST', { states: AFTER, run: list }],
  ['LSUB', { states: AFTER, run: lsub }],
  ['STATUS', { states: AFTER, run: status }],
  ['APPEND', { states: AFTER, run: append }],
  ['IDLE', { states: AFTER, run: idle }],
  ['CLOSE', { states: SELECTED, run: close }],
  ['UNSELECT', { states: SELECTED, run: unselect }],
  ['EXPUNGE', { states: SELECTED, run: expunge }],
  ['UID EXPUNGE', { states: SELECTED, run: uidExpunge }],
  ['SEARCH', { states: SELECTED, run: search, mayExpunge: false }],
  ['UID SEARCH', { states: SELECTED, run: uidSearch }],
  ['FETCH', { states: SELECTED, run: fetch, mayExpunge: false }],
  ['UID FETCH', { states: SELECTED, run: uidFetch }],
  ['STORE', { states: SELECTED, run: store, mayExpunge: false }],
  ['UID STORE', { states: SELECTED, run: uidStore }],
  ['COPY', { states: SELECTED, run: copy }],
  ['UID COPY', { states: SELECTED, run: uidCopy }],
  ['MOVE', { states: SELECTED, run: move }],
  ['UID MOVE', { states: SELECTED, run: uidMove }],
]);
