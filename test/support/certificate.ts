// Certificates for tests, made with the openssl of the host (what an administrator would have made), not with our own code.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A self-signed pair for these DNS names and IP addresses, valid for 30 days. */
export async function makeSelfSigned(names: readonly string[]): Promise<{ cert: string; key: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'buzon-cert-'));
  try {
    const cert = join(directory, 'cert.pem');
    const key = join(directory, 'key.pem');
    const alt = names.map((name) => (isIP(name) ? `IP:${name}` : `DNS:${name}`)).join(',');
    await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30'],
      ...['-subj', `/CN=${names[0]}`, '-addext', `subjectAltName=${alt}`, '-keyout', key, '-out', cert],
    ]);
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
