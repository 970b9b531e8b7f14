// IDLE (RFC 2177): what happens in the mailbox is told as it happens.
import type { ImapSession } from '../session.ts';
import { badReply, ok } from '../status.ts';
import { WireEnd } from '../wire/wire-end.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

/** One who waits, woken by whatever happens; a call while nobody waits is not lost. */
class Bell {
  #rung = false;
  #wake: (() => void) | undefined;
  readonly ring = (): void => {
    this.#rung = true;
    this.#wake?.();
  };
  async wait(): Promise<void> {
    if (!this.#rung) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
    this.#rung = false;
  }
}

/** Tells changes until the client's line has come (or reading has failed). */
async function tell(session: ImapSession, bell: Bell, done: () => boolean): Promise<void> {
  const view = session.selected;
  let stillHere = false;
  let cancel = (): void => undefined;
  const arm = (): void => {
    cancel = session.clock.after(session.limits.idleNotify, () => {
      stillHere = true;
      bell.ring();
    });
  };
  arm();
  if (view) view.onChange = bell.ring;
  try {
    await session.sync({ refresh: true, expunge: true });
    while (!done() && !session.ending) {
      if (stillHere) {
        stillHere = false;
        session.untagged('OK Still here');
        arm();
      }
      await session.writer.flush();
      await bell.wait();
      await session.sync({ refresh: false, expunge: true });
    }
  } finally {
    cancel();
    if (view) view.onChange = undefined;
  }
}

export const idle: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'all',
  async run(session, { args }) {
    args.end();
    await session.proceed('idling');
    const bell = new Bell();
    let finished = false;
    const line = session.line(session.limits.lineBeforeLogin, session.limits.idleTimeout).finally(() => {
      finished = true;
      bell.ring();
    });
    // It is awaited below; until then a failure is not unheard.
    line.catch(() => undefined);
    await tell(session, bell, () => finished);
    // The mailbox is gone: nobody waits for DONE any more.
    if (session.ending) throw new WireEnd('interrupted');
    const word = (await line).toString('latin1');
    return word.toUpperCase() === 'DONE' ? ok('Idle completed') : badReply('Expected DONE');
  },
};
