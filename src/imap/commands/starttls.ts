// STARTTLS (RFC 3501 section 6.2.1): what the client sent behind it in clear text is never run (RELIABILITY row 18).
import { badReply, formatCompletion, ok } from '../status.ts';
import { WireEnd } from '../wire/wire-end.ts';
import { NOT_AUTHENTICATED, type CommandHandler } from './handler.ts';

export const startTls: CommandHandler = {
  states: NOT_AUTHENTICATED,
  sync: 'none',
  async run(session, { tag, args }) {
    args.end();
    const { startTls: handshake } = session.options;
    if (session.encrypted) return badReply('TLS is active already');
    if (!handshake) return badReply('TLS is not available');
    const lastWords = formatCompletion(tag, ok('Begin TLS negotiation now'));
    const cancel = session.clock.after(session.limits.loginTimeout, () => session.transport.destroy());
    const dropped = await session.transport
      .startTls(handshake, lastWords)
      .catch((error: unknown) => {
        session.logger.info('imap.tls.failed', { error: error instanceof Error ? error.message : String(error) });
        throw new WireEnd('closed');
      })
      .finally(cancel);
    if (dropped > 0) session.logger.warn('imap.starttls.injection', { bytes: dropped });
    session.secured();
    return undefined;
  },
};
