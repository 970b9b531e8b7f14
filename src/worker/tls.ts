// The server's half of a TLS handshake on a connection that is there already (RFC 8314: TLS first; STARTTLS: in the middle).
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { CertificateStore } from '../config/certificates.ts';

const HANDSHAKE_MS = 30_000;

/** Resolves with the encrypted stream. @throws when the handshake fails or takes over 30 s; the connection is gone then */
export function serverHandshake(socket: Duplex, certificates: CertificateStore): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const context = certificates.secureContextFor(undefined);
    const tls = new TLSSocket(socket, {
      isServer: true,
      ...(context ? { secureContext: context } : {}),
      SNICallback: certificates.sniCallback,
    });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      tls.destroy();
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(new Error('the handshake takes too long')), HANDSHAKE_MS);
    const onClose = (): void => fail(new Error('the connection was closed during the handshake'));
    tls.once('error', fail).once('close', onClose);
    tls.once('secure', () => {
      clearTimeout(timer);
      tls.off('error', fail).off('close', onClose);
      resolve(tls);
    });
  });
}
