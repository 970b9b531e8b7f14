// SELECT and EXAMINE (RFC 3501 sections 6.3.1, 6.3.2).
import { readMailboxName } from '../mailbox-name.ts';
import type { ImapSession } from '../session.ts';
import { ok } from '../status.ts';
import { writeKeywords } from '../untagged.ts';
import { MailboxView } from '../view.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

function writeSelected(session: ImapSession, view: MailboxView): void {
  const { mailbox } = view;
  writeKeywords(session.writer, view);
  session.untagged(`${view.exists} EXISTS`);
  session.untagged(`${view.recentCount} RECENT`);
  const unseen = view.firstUnseen;
  if (unseen !== undefined) session.untagged(`OK [UNSEEN ${unseen}] First unseen`);
  session.untagged(`OK [UIDVALIDITY ${mailbox.uidValidity}] UIDs valid`);
  session.untagged(`OK [UIDNEXT ${mailbox.uidNext}] Predicted next UID`);
}

export const select = (readOnly: boolean): CommandHandler => ({
  states: AUTHENTICATED,
  sync: 'none',
  async run(session, { args }) {
    args.space();
    const name = readMailboxName(args);
    args.end();
    // A SELECT that fails leaves no mailbox selected (RFC 3501 6.3.1).
    if (session.selected) {
      await session.unselect();
      session.untagged('OK [CLOSED] Previous mailbox closed');
    }
    const mailbox = await session.store.open(session.path(name));
    let view;
    try {
      view = await MailboxView.open(mailbox, readOnly);
    } catch (error) {
      await mailbox.close();
      throw error;
    }
    await session.select(view);
    writeSelected(session, view);
    return readOnly ? ok('Examine completed', 'READ-ONLY') : ok('Select completed', 'READ-WRITE');
  },
});
