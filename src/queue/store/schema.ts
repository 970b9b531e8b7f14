// queue.db: what the queue files say, in an order in which it can be found, and what only time can tell (tries, failures, turns).
//
// message    one for each message in the queue. serial: those that came together lie together
// recipient  one for each recipient that waits, by its message's serial and its number there: `ready` (to be tried now), `deferred` (until next_attempt), `held`. That these are states, and not
//            a comparison with the time, keeps the search for work as short as the work: promote moves those whose time has come.
//            turn, party: who comes next at a destination (turns.ts). place: where in the queue file its mark is.
// gone       messages that have left lately: their files may still be there, and are not taken up again
// meta       `recovering` = 1 while not all files have been looked at since the database was made
export const APPLICATION_ID = 0x427a7175; // "Bzqu"
export const SCHEMA_VERSION = 1;

export const SCHEMA = `
CREATE TABLE message (
  serial INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  arrived INTEGER NOT NULL,
  size INTEGER NOT NULL,
  sender TEXT NOT NULL,
  envelope TEXT NOT NULL
);
CREATE INDEX message_arrived ON message (arrived, id, size);

CREATE TABLE recipient (
  message INTEGER NOT NULL,
  number INTEGER NOT NULL,
  address TEXT NOT NULL,
  domain TEXT NOT NULL,
  destination TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('ready', 'deferred', 'held')),
  turn INTEGER NOT NULL,
  party TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt INTEGER NOT NULL,
  failure TEXT,
  orcpt TEXT,
  notify TEXT,
  delay_reported INTEGER NOT NULL DEFAULT 0,
  place INTEGER NOT NULL,
  PRIMARY KEY (message, number)
) WITHOUT ROWID;
CREATE INDEX recipient_turn ON recipient (destination, turn, message, number) WHERE state = 'ready';
CREATE INDEX recipient_party ON recipient (destination, party, turn) WHERE state = 'ready';
CREATE INDEX recipient_due ON recipient (next_attempt, message, number) WHERE state = 'deferred';
CREATE INDEX recipient_state ON recipient (destination, state);

CREATE TABLE gone (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('recovering', 1);
`;
