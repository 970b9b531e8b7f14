// DNS with its proof (RFC 4035 section 3.2.3, RFC 6840 section 5.7): what a validating resolver on this host says with the AD bit. Node's own resolver hides that bit. Only a
// resolver on loopback is believed: nobody can change its word on the way (RFC 7672 section 2.1).
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { systemClock, type Clock } from '../lib/clock.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import { isAnswerTo, parseAnswer, query, TYPES, type SecureAnswer } from './wire.ts';

/** An answer, validated or not; empty for a name or type that does not exist. @throws MailError temporary `DNS_FAILED`, `DNS_TIMEOUT`, in a bounded time */
export interface SecureResolver {
  ask(name: string, type: keyof typeof TYPES): Promise<SecureAnswer>;
}

export interface SecureResolverOptions {
  readonly address: string;
  readonly port: number;
  /** Milliseconds for one look-up in all. */
  readonly timeout: number;
  readonly clock?: Clock;
}

/** UDP is asked again after a third of the time. */
export function secureResolver({ address, port, timeout, clock = systemClock }: SecureResolverOptions): SecureResolver {
  return {
    async ask(name, type) {
      const stop = new AbortController();
      const stopTimer = clock.after(timeout, () => stop.abort());
      const question = query(randomInt(65_536), name, TYPES[type]);
      try {
        const reply = await udp(question, { address, port, again: timeout / 3, clock }, stop.signal);
        const answer = parseAnswer(reply, TYPES[type]);
        if (!answer.truncated) return answer;
        return parseAnswer(await tcp(question, address, port, stop.signal), TYPES[type]);
      } catch (error) {
        const code = stop.signal.aborted ? 'DNS_TIMEOUT' : 'DNS_FAILED';
        const why = errnoOf(error) ?? (error as Error).message;
        throw new MailError('temporary', code, 'Temporary DNS failure', { detail: `${type} ${name}: ${why}`, cause: error });
      } finally {
        stopTimer();
      }
    },
  };
}

interface UdpOptions {
  readonly address: string;
  readonly port: number;
  readonly again: number;
  readonly clock: Clock;
}

function udp(question: Buffer, { address, port, again, clock }: UdpOptions, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    let stopTimer: () => void = () => undefined;
    const finish = (result: () => void): void => {
      stopTimer();
      signal.removeEventListener('abort', onAbort);
      socket
        .removeAllListeners('message')
        .removeAllListeners('error')
        .on('error', () => undefined);
      socket.close();
      result();
    };
    const onAbort = (): void => finish(() => reject(new Error('no answer in time')));
    const send = (): void => {
      socket.send(question);
      stopTimer = clock.after(again, send);
    };
    socket.on('error', (error) => finish(() => reject(error)));
    // Anything else is somebody's attempt to be first.
    socket.on('message', (reply) => {
      if (isAnswerTo(reply, question)) finish(() => resolve(reply));
    });
    signal.addEventListener('abort', onAbort);
    socket.connect(port, address, () => {
      if (!signal.aborted) send();
    });
  });
}

function tcp(question: Buffer, address: string, port: number, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, signal });
    let input = Buffer.alloc(0);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(question.length);
    socket.write(Buffer.concat([length, question]));
    socket.on('error', reject).on('close', () => reject(new Error('the connection was closed')));
    // At most what two bytes of length can say.
    socket.on('data', (chunk) => {
      input = Buffer.concat([input, chunk]);
      const size = input.length < 2 ? Infinity : 2 + input.readUInt16BE(0);
      if (input.length < size) return;
      const reply = input.subarray(2, size);
      if (isAnswerTo(reply, question)) resolve(reply);
      else reject(new Error('an answer to something else'));
      socket.destroy();
    });
  });
}
