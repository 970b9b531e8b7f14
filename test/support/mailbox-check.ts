// Whether what a mailbox says through IMAP, its uidlist and its files are one and the same, and whether UIDs were only ever given once. One
// object watches one mailbox over all of a test's crashes.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImapClient } from './imap-script.ts';

interface Listed {
  readonly uidValidity: number;
  readonly next: number;
  /** UID by base name. */
  readonly uids: ReadonlyMap<string, number>;
}

export interface Seen {
  readonly uidValidity: number;
  readonly uidNext: number;
  /** Base name by UID. */
  readonly messages: ReadonlyMap<number, string>;
}

const baseOf = (name: string): string => name.split(':', 1)[0] ?? name;

/** The uidlist of a folder, read by other code than the server's. @throws when a line of it is none, or UIDs do not ascend */
export async function readUidlist(folder: string): Promise<Listed> {
  const text = await readFile(join(folder, 'dovecot-uidlist'), 'utf8');
  const [head = '', ...lines] = text.split('\n');
  assert.equal(lines.pop(), '', 'the list ends with a whole line');
  const fields = head.split(' ');
  assert.equal(fields[0], '3');
  const number = (letter: string): number => Number(fields.find((field) => field.startsWith(letter))?.slice(1));
  const uids = new Map<string, number>();
  let last = 0;
  for (const line of lines) {
    const uid = Number.parseInt(line, 10);
    assert.ok(uid > last && line.includes(' :'), `the list's line ${line}`);
    last = uid;
    uids.set(baseOf(line.slice(line.indexOf(' :') + 2)), uid);
  }
  return { uidValidity: number('V'), next: Math.max(number('N'), last + 1), uids };
}

/** Base names of the messages in a folder. */
export async function messagesIn(folder: string): Promise<Set<string>> {
  const names = await Promise.all(['new', 'cur'].map((sub) => readdir(join(folder, sub))));
  return new Set(names.flat().map(baseOf));
}

export class MailboxCheck {
  readonly #folder: string;
  /** `<UIDVALIDITY> <UID>` → base name: what was ever said. */
  readonly #given = new Map<string, string>();
  #last: Seen | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Looks through IMAP (plain, on loopback) and at the files. @throws AssertionError when they do not agree, or not with what was said before */
  async check(imapPort: number, user: string, password: string, mailbox = 'INBOX'): Promise<Seen> {
    const client = await ImapClient.connect(imapPort);
    try {
      await client.response();
      const login = await client.command('a', `LOGIN "${user}" "${password}"`);
      assert.match(login.at(-1) ?? '', /^a OK/);
      const selected = (await client.command('b', `EXAMINE "${mailbox}"`)).join('\n');
      const fetched = await client.command('c', 'UID FETCH 1:* (UID RFC822.SIZE)');
      const uids = fetched.flatMap((line) => Number(/UID (\d+)/.exec(line)?.[1] ?? 0) || []);
      client.line('d LOGOUT');
      return await this.#compare({
        uidValidity: Number(/UIDVALIDITY (\d+)/.exec(selected)?.[1]),
        uidNext: Number(/UIDNEXT (\d+)/.exec(selected)?.[1]),
        uids,
      });
    } finally {
      client.socket.destroy();
    }
  }

  async #compare({
    uidValidity,
    uidNext,
    uids,
  }: {
    uidValidity: number;
    uidNext: number;
    uids: readonly number[];
  }): Promise<Seen> {
    const listed = await readUidlist(this.#folder);
    const files = await messagesIn(this.#folder);
    assert.equal(uidValidity, listed.uidValidity);
    const live = [...listed.uids].filter(([base]) => files.has(base));
    assert.equal(live.length, files.size, 'every file is in the list');
    assert.deepEqual(
      uids,
      live.map(([, uid]) => uid),
      'what IMAP shows is what the list says of the files',
    );
    assert.ok(uidNext > Math.max(0, ...listed.uids.values()), 'UIDNEXT is above all');
    for (const [base, uid] of live) {
      const key = `${uidValidity} ${uid}`;
      assert.equal(this.#given.get(key) ?? base, base, `UID ${uid} was another message's`);
      this.#given.set(key, base);
    }
    if (this.#last?.uidValidity === uidValidity) {
      assert.ok(uidNext >= this.#last.uidNext, 'UIDNEXT never falls');
      for (const [uid, base] of this.#last.messages)
        if (files.has(base)) assert.equal(listed.uids.get(base), uid, `the UID of ${base}`);
    } else if (this.#last) assert.ok(uidValidity > this.#last.uidValidity, 'UIDVALIDITY only grows');
    this.#last = { uidValidity, uidNext, messages: new Map(live.map(([base, uid]) => [uid, base])) };
    return this.#last;
  }
}
