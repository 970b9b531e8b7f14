// Local delivery: each mailbox exactly once, whatever fails and whatever is sent again.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Intents } from '../../src/delivery/intents.ts';
import { LocalDelivery } from '../../src/delivery/local-delivery.ts';
import type { EnvelopeRecipient, ReceivedMessage } from '../../src/delivery/types.ts';
import { MailError } from '../../src/lib/errors.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import type { AccountStore, PreparedDelivery } from '../../src/storage/types.ts';
import { captureLog, type LogEvent } from '../support/log-capture.ts';
import { sourceOf } from '../support/store.ts';
import { tempFolder } from '../support/temp-folder.ts';

const BODY = 'Subject: x\r\n\r\nbody\r\n';
/** What may go wrong: asked with the account's name. */
interface Faults {
  prepare?: (name: string) => void;
  commit?: (name: string) => void;
  enqueue?: () => void;
  now?: number;
}

class House {
  readonly folder: string;
  readonly faults: Faults = {};
  readonly queued: string[][] = [];
  readonly events: LogEvent[];
  readonly #mail: MailStore;
  readonly #logger;
  intents: Intents;
  delivery: LocalDelivery;

  private constructor(folder: string) {
    this.folder = folder;
    const { logger, events } = captureLog();
    this.#logger = logger;
    this.events = events;
    this.#mail = new MailStore({ logger, hostname: 'mx' });
    [this.intents, this.delivery] = this.#make();
  }
  static async make(t: TestContext): Promise<House> {
    const house = new House(await tempFolder(t));
    t.after(() => house.#mail.close());
    return house;
  }
  /** As after a new start: what was known in memory is not. */
  restart(): void {
    [this.intents, this.delivery] = this.#make();
  }
  #make(): [Intents, LocalDelivery] {
    const now = (): number => this.faults.now ?? Date.now();
    const intents = new Intents(join(this.folder, 'data'), now, this.#logger);
    const delivery = new LocalDelivery({
      directory: {
        find: async (address) => {
          const name = address.split('@')[0] ?? '';
          if (name === 'gone') return undefined;
          return {
            address,
            home: this.maildir(name),
            maildir: this.maildir(name),
            quota: name === 'small' ? { bytes: 100, messages: 1 } : {},
          };
        },
      },
      storeOf: (location) => this.#faulty(this.#mail.account(location), location.address.split('@')[0] ?? ''),
      queue: {
        available: true,
        enqueue: async (_message, recipients) => {
          this.faults.enqueue?.();
          this.queued.push(recipients.map(({ address }) => address));
        },
      },
      intents,
      logger: this.#logger,
      now,
    });
    return [intents, delivery];
  }
  #faulty(store: AccountStore, name: string): AccountStore {
    const prepareDelivery = async (...args: Parameters<AccountStore['prepareDelivery']>): Promise<PreparedDelivery> => {
      this.faults.prepare?.(name);
      const prepared = await store.prepareDelivery(...args);
      return {
        temporaryPath: prepared.temporaryPath,
        abort: () => prepared.abort(),
        commit: async () => {
          this.faults.commit?.(name);
          return prepared.commit();
        },
      };
    };
    return {
      location: store.location,
      list: () => store.list(),
      create: (...args) => store.create(...args),
      delete: (path) => store.delete(path),
      rename: (...args) => store.rename(...args),
      subscribe: (path) => store.subscribe(path),
      unsubscribe: (path) => store.unsubscribe(path),
      status: (path) => store.status(path),
      open: (path) => store.open(path),
      append: (...args) => store.append(...args),
      deliver: (...args) => store.deliver(...args),
      quota: () => store.quota(),
      prepareDelivery,
    };
  }
  maildir(name: string): string {
    return join(this.folder, 'example.test', name);
  }
  async copies(...names: string[]): Promise<number[]> {
    return Promise.all(names.map(async (name) => (await readdir(join(this.maildir(name), 'new')).catch(() => [])).length));
  }
  async waiting(...names: string[]): Promise<number> {
    const found = await Promise.all(names.map((name) => readdir(join(this.maildir(name), 'tmp')).catch(() => [])));
    return found.flat().length;
  }
  files(): Promise<string[]> {
    return readdir(join(this.folder, 'data', 'deliveries')).catch(() => []);
  }
  accept(
    to: readonly (string | EnvelopeRecipient)[],
    options: { body?: string; sender?: string; deliveredTo?: string[] } = {},
  ): Promise<void> {
    return this.delivery.accept(message(to, options));
  }
}

function message(
  to: readonly (string | EnvelopeRecipient)[],
  { body = BODY, sender = 'eva@remote.test', deliveredTo = [] }: { body?: string; sender?: string; deliveredTo?: string[] },
): ReceivedMessage {
  const recipients = to.map((entry): EnvelopeRecipient => {
    if (typeof entry !== 'string') return entry;
    const address = `${entry}@example.test`;
    const account = `${entry.split('+')[0]}@example.test`;
    return { address, route: { kind: 'deliver', targets: [{ kind: 'mailbox', address: account, recipient: address }] } };
  });
  return {
    id: 'ABC',
    envelope: { sender, recipients, smtpUtf8: false, bodyType: '8BITMIME' },
    source: sourceOf(`Received: by mx\r\n${body}`),
    original: sourceOf(body),
    deliveredTo,
  };
}
const REMOTE: EnvelopeRecipient = { address: 'out@remote.test', route: { kind: 'relay' }, notify: ['NEVER'], orcpt: 'rfc822;x' };
const THREE = ['ana', 'eva', 'info'];
const failFor = (name: string) => (asked: string) => {
  if (asked === name) throw Object.assign(new Error('input/output error'), { code: 'EIO' });
};

test('each copy has Return-Path, X-Original-To and Delivered-To as virtual(8) writes them; the null sender is <>', async (t) => {
  const house = await House.make(t);
  await house.accept(['ana+shop'], { sender: '' });
  const [name = ''] = await readdir(join(house.maildir('ana'), 'new'));
  assert.equal(
    await readFile(join(house.maildir('ana'), 'new', name), 'latin1'),
    'Return-Path: <>\nX-Original-To: ana+shop@example.test\nDelivered-To: ana+shop@example.test\nReceived: by mx\nSubject: x\n\nbody\n',
  );
});

const junk = (name: string): EnvelopeRecipient => ({
  ...(message([name], {}).envelope.recipients[0] as EnvelopeRecipient),
  junk: true,
});

test('junk goes into the mailbox that clients take for it: the one that is there, else a new one that they see', async (t) => {
  const house = await House.make(t);
  const spam = join(house.maildir('info'), '.Spam');
  await house.accept(['info']);
  for (const sub of ['', 'cur', 'new', 'tmp']) await mkdir(join(spam, sub));
  await house.accept([junk('ana'), 'eva', junk('info')]);
  await house.accept([junk('ana')]);
  assert.deepEqual(await house.copies('ana', 'eva', 'info', 'ana/.Junk', 'info/.Spam'), [0, 1, 1, 2, 1]);
  assert.match(await readFile(join(house.maildir('ana'), 'subscriptions'), 'utf8'), /^Junk$/m);
  assert.deepEqual(
    house.events.filter(({ event }) => event === 'delivery.stored').map(({ fields }) => fields['mailbox']),
    [undefined, 'Junk', undefined, 'Spam', 'Junk'],
  );
});

test('junk for one of several, interrupted: the repeat reaches each once', async (t) => {
  const house = await House.make(t);
  house.faults.commit = failFor('eva');
  await assert.rejects(house.accept([junk('ana'), 'eva']), { kind: 'temporary' });
  delete house.faults.commit;
  house.restart();
  await house.accept([junk('ana'), 'eva']);
  assert.deepEqual(await house.copies('ana', 'eva', 'ana/.Junk'), [0, 1, 1]);
});

test('several recipients each get it once, also when two lead to one mailbox; the log has a line for each', async (t) => {
  const house = await House.make(t);
  await house.accept([...THREE, 'ana+x', 'eva']);
  assert.deepEqual(await house.copies(...THREE), [1, 1, 1]);
  assert.equal(house.events.filter(({ event }) => event === 'delivery.stored').length, 3);
  assert.deepEqual([await house.files(), await house.waiting(...THREE)], [[], 0]);
  assert.deepEqual(house.queued, []);
});

test('the same message again, after its 250, is delivered again: nothing of the first is remembered', async (t) => {
  const house = await House.make(t);
  await house.accept(THREE);
  await house.accept(THREE);
  assert.deepEqual(await house.copies(...THREE), [2, 2, 2]);
});

test('one that cannot be written: none gets it, nothing is left, and the repeat reaches all', async (t) => {
  const house = await House.make(t);
  house.faults.prepare = failFor('eva');
  await assert.rejects(house.accept(THREE), { kind: 'temporary', code: 'EIO' });
  assert.deepEqual([await house.copies(...THREE), await house.waiting(...THREE), await house.files()], [[0, 0, 0], 0, []]);
  delete house.faults.prepare;
  await house.accept(THREE);
  assert.deepEqual(await house.copies(...THREE), [1, 1, 1]);
});

test('one whose commit fails: the others have it, the repeat reaches only that one, and then all is forgotten', async (t) => {
  const house = await House.make(t);
  house.faults.commit = failFor('eva');
  await assert.rejects(house.accept(THREE), { kind: 'temporary', code: 'EIO' });
  assert.deepEqual([await house.copies(...THREE), await house.waiting(...THREE)], [[1, 0, 1], 0]);
  await assert.rejects(house.accept(THREE), { kind: 'temporary' });
  assert.deepEqual(await house.copies(...THREE), [1, 0, 1]);
  delete house.faults.commit;
  house.restart();
  await house.accept(THREE);
  assert.deepEqual([await house.copies(...THREE), await house.files()], [[1, 1, 1], []]);
});

test('the repeat may come in parts: a single recipient who has his copy gets no second one', async (t) => {
  const house = await House.make(t);
  house.faults.commit = failFor('eva');
  await assert.rejects(house.accept(THREE), { kind: 'temporary' });
  delete house.faults.commit;
  await house.accept(['ana']);
  await house.accept(['eva']);
  assert.deepEqual(await house.copies(...THREE), [1, 1, 1]);
  await house.accept(['info']);
  assert.deepEqual([await house.copies(...THREE), await house.files()], [[1, 1, 1], []]);
});

test('another message to the same people is none of it', async (t) => {
  const house = await House.make(t);
  house.faults.commit = failFor('eva');
  await assert.rejects(house.accept(THREE));
  delete house.faults.commit;
  await house.accept(THREE, { body: `${BODY}more\r\n` });
  await house.accept(THREE, { sender: 'other@remote.test' });
  assert.deepEqual(await house.copies(...THREE), [3, 2, 3]);
});

test('the queue that takes nothing: no mailbox gets it, and nothing claims so', async (t) => {
  const house = await House.make(t);
  house.faults.enqueue = () => {
    throw new MailError('temporary', 'NO_QUEUE', 'not now');
  };
  for (const to of [[...THREE, REMOTE], ['ana', REMOTE], [REMOTE]])
    await assert.rejects(house.accept(to), { kind: 'temporary', code: 'NO_QUEUE' });
  assert.deepEqual([await house.copies(...THREE), await house.waiting(...THREE), await house.files()], [[0, 0, 0], 0, []]);
  delete house.faults.enqueue;
  house.restart();
  await house.accept([...THREE, REMOTE]);
  assert.deepEqual(await house.copies(...THREE), [1, 1, 1]);
  assert.deepEqual(house.queued, [['out@remote.test']]);
});

test('a crash while copies wait: at the start those that are there are delivered, the others are removed', async (t) => {
  const house = await House.make(t);
  house.faults.commit = failFor('nobody');
  const key = await house.intents.key('eva@remote.test', sourceOf(BODY));
  // As a server leaves it that was killed between the first rename and the second.
  const waiting: Record<string, string> = {};
  for (const name of THREE) {
    for (const sub of ['tmp', 'new', 'cur']) await mkdir(join(house.maildir(name), sub), { recursive: true });
    waiting[`${name}@example.test`] = join(house.maildir(name), 'tmp', '1.x');
    await writeFile(join(house.maildir(name), 'tmp', '1.x'), BODY);
  }
  await house.intents.record(key, new Set(), waiting);
  await rename(join(house.maildir('ana'), 'tmp', '1.x'), join(house.maildir('ana'), 'new', '1.x'));
  house.restart();
  await house.intents.recover();
  assert.equal(await house.waiting(...THREE), 0);
  // Even if tmp/ is cleared and the server starts again before the client comes.
  house.restart();
  await house.accept(THREE);
  assert.deepEqual([await house.copies(...THREE), await house.files()], [[1, 1, 1], []]);
});

test('intents: one that proves nothing any more delivers twice rather than never; old and unreadable ones go', async (t) => {
  const house = await House.make(t);
  await house.accept(THREE);
  const data = join(house.folder, 'data', 'deliveries');
  const key = await house.intents.key('eva@remote.test', sourceOf(BODY));
  const old = new Date(Date.now() - 25 * 3_600_000);
  await house.intents.record(key, new Set(['ana@example.test']), { 'eva@example.test': '/nonexistent/tmp/1' });
  await utimes(join(data, key), old, old);
  house.restart();
  await house.accept(THREE);
  assert.deepEqual(await house.copies(...THREE), [1, 2, 2]);
  for (const text of ['', '{', '[]', '{"delivered":1,"waiting":{}}', '{"delivered":[],"waiting":{"a":1}}', 'null']) {
    await writeFile(join(data, key), text);
    house.restart();
    await house.accept(THREE);
    assert.deepEqual(await house.files(), [], text);
  }
  assert.equal((await house.copies('ana'))[0], 7);
  await house.intents.record(key, new Set(['ana@example.test']), {});
  const older = new Date(Date.now() - 7 * 86_400_000);
  await utimes(join(data, key), older, older);
  await writeFile(join(data, `${key}.tmp`), 'cut');
  house.restart();
  await house.intents.recover();
  assert.deepEqual(await house.files(), []);
});

test('the same message twice at once: one after the other, each mailbox whole', async (t) => {
  const house = await House.make(t);
  await Promise.all([house.accept(THREE), house.accept(THREE)]);
  assert.deepEqual([await house.copies(...THREE), await house.waiting(...THREE), await house.files()], [[2, 2, 2], 0, []]);
});

test('an intent that cannot be written: nothing is delivered', async (t) => {
  const house = await House.make(t);
  await writeFile(join(house.folder, 'data'), 'no folder');
  await assert.rejects(house.accept(THREE), { name: 'MailError', kind: 'temporary' });
  assert.deepEqual([await house.copies(...THREE), await house.waiting(...THREE)], [[0, 0, 0], 0]);
  await rm(join(house.folder, 'data'));
  await house.accept(THREE);
  assert.deepEqual(await house.copies(...THREE), [1, 1, 1]);
});

test('row 28: our own Delivered-To is a loop: 554 5.4.6, and nobody gets it', async (t) => {
  const house = await House.make(t);
  await assert.rejects(house.accept(THREE, { deliveredTo: ['eva@example.test'] }), { kind: 'mail-loop' });
  assert.deepEqual(await house.copies(...THREE), [0, 0, 0]);
  await house.accept(['ana'], { deliveredTo: ['eva@example.test', 'ana+x@example.test'] });
  assert.deepEqual(await house.copies('ana'), [1]);
});

test('a full mailbox is told at RCPT, and refused with the others when the message does not fit', async (t) => {
  const house = await House.make(t);
  await house.delivery.checkMailbox('small@example.test');
  await house.accept(['small'], { body: 'a\r\n\r\n' }).catch(() => undefined);
  await assert.rejects(house.accept(['ana', 'small'], { body: BODY.repeat(20) }), { kind: 'over-quota', code: 'NEVER_FITS' });
  assert.deepEqual(await house.copies('ana', 'small'), [0, 0]);
  await mkdir(join(house.maildir('small'), 'new'), { recursive: true });
  await writeFile(join(house.maildir('small'), 'new', '1.x,S=90'), 'x');
  await rm(join(house.maildir('small'), 'maildirsize'));
  await assert.rejects(house.delivery.checkMailbox('small@example.test'), { kind: 'over-quota' });
  await assert.rejects(house.delivery.checkMailbox('gone@example.test'), { kind: 'temporary' });
});
