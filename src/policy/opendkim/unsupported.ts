// Parameters of opendkim.conf(5) that are not done here. Those that change what is signed are told by `buzon check`, the others mean nothing to this server
// or are its own business (sockets, logs, verifying).

interface Told {
  /** Whether this value makes a difference. */
  readonly applies: (value: string) => boolean;
  readonly text: string;
  readonly right: string;
}

const always = (text: string, right: string): Told => ({ applies: () => true, text, right });
const AUTHOR = 'who signs is decided by the From field and by who may send (log-in, mynetworks, InternalHosts)';
const FIELDS = 'the fields that are signed are fixed (From, To, Subject, Date and what else makes a message what it is)';

/** By name in lower case. */
export const UNSUPPORTED: Readonly<Record<string, Told>> = {
  bodylengthdbfile: always('signatures never leave out a part of the body (l=)', 'nothing'),
  dontsignmailto: always('mail to these is signed, too', 'nothing, or transport_maps to a host of its own'),
  exemptdomains: always('mail from these domains is signed where they have a key', 'no key for them'),
  finalpolicyscript: always('scripts are not run', 'what it does into the tables'),
  macrolist: always(AUTHOR, 'nothing'),
  mta: always(AUTHOR, 'nothing'),
  omitheaders: always(FIELDS, 'nothing'),
  peerlist: always(AUTHOR, 'nothing'),
  popdbfile: always(AUTHOR, 'log-ins'),
  requiresafekeys: {
    applies: (value) => /^[fn0]/i.test(value),
    text: 'a key that others can read is refused all the same',
    right: 'yes, and mode 0600 on the keys',
  },
  resignall: always('forwarded mail of others is not signed anew', 'nothing'),
  resignmailto: always('forwarded mail of others is not signed anew', 'nothing'),
  screenpolicyscript: always('scripts are not run', 'what it does into the tables'),
  senderheaders: {
    applies: (value) => value.trim().toLowerCase() !== 'from',
    text: AUTHOR,
    right: 'SenderHeaders From',
  },
  sendermacro: always(AUTHOR, 'nothing'),
  setuppolicyscript: always('scripts are not run', 'what it does into the tables'),
  signaturealgorithm: {
    applies: (value) => value.trim().toLowerCase() === 'rsa-sha1',
    text: 'rsa-sha1 is not made (RFC 8301): the key says which algorithm, always with SHA-256',
    right: 'rsa-sha256',
  },
  signaturettl: always('signatures do not expire', 'nothing'),
  signheaders: always(FIELDS, 'nothing'),
};

/** What is done, or has no meaning beside what is. */
export const IGNORED_SILENTLY: ReadonlySet<string> = new Set([
  'domain',
  'externalignorelist',
  'internalhosts',
  'keyfile',
  'keytable',
  'mode',
  'multiplesignatures',
  'oversignheaders',
  'selector',
  'signingtable',
  'subdomains',
]);
