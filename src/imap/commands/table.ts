// Every command, by name.
import { append } from './append.ts';
import { authenticate } from './authenticate.ts';
import { capability } from './capability.ts';
import { check } from './check.ts';
import { close } from './close.ts';
import { copy } from './copy.ts';
import { create } from './create.ts';
import { deleteMailbox } from './delete.ts';
import { enable } from './enable.ts';
import { expunge, uidExpunge } from './expunge.ts';
import { fetch } from './fetch.ts';
import type { CommandHandler } from './handler.ts';
import { id } from './id.ts';
import { idle } from './idle.ts';
import { list } from './list.ts';
import { login } from './login.ts';
import { logout } from './logout.ts';
import { lsub } from './lsub.ts';
import { move } from './move.ts';
import { namespace } from './namespace.ts';
import { noop } from './noop.ts';
import { rename } from './rename.ts';
import { search } from './search.ts';
import { select } from './select.ts';
import { startTls } from './starttls.ts';
import { status } from './status.ts';
import { store } from './store.ts';
import { subscribe, unsubscribe } from './subscribe.ts';
import { unselect } from './unselect.ts';

const COMMANDS: Readonly<Record<string, CommandHandler>> = {
  APPEND: append,
  AUTHENTICATE: authenticate,
  CAPABILITY: capability,
  CHECK: check,
  CLOSE: close,
  COPY: copy(false),
  CREATE: create,
  DELETE: deleteMailbox,
  ENABLE: enable,
  EXAMINE: select(true),
  EXPUNGE: expunge,
  FETCH: fetch(false),
  ID: id,
  IDLE: idle,
  LIST: list,
  LOGIN: login,
  LOGOUT: logout,
  LSUB: lsub,
  MOVE: move(false),
  NAMESPACE: namespace,
  NOOP: noop,
  RENAME: rename,
  SEARCH: search(false),
  SELECT: select(false),
  STARTTLS: startTls,
  STATUS: status,
  STORE: store(false),
  SUBSCRIBE: subscribe,
  'UID COPY': copy(true),
  'UID EXPUNGE': uidExpunge,
  'UID FETCH': fetch(true),
  'UID MOVE': move(true),
  'UID SEARCH': search(true),
  'UID STORE': store(true),
  UNSELECT: unselect,
  UNSUBSCRIBE: unsubscribe,
};

/** `name` in upper case; `UID FETCH` for the UID forms. */
export function commandNamed(name: string): CommandHandler | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
}
