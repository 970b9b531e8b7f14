// The parts of mailauth that mailauth-adapter.ts uses. It has no types for them: they are its own inner parts, as they are in the version that
// package.json names.

interface MailauthTag {
  value: unknown;
}
interface MailauthFieldValue {
  /** By tag name. */
  parsed: Record<string, MailauthTag | undefined>;
  original: Buffer;
}
interface MailauthSignatureField extends MailauthFieldValue {
  type?: 'DKIM' | 'ARC';
  /** Set by prepareSignature: why it cannot hold. */
  invalid?: string;
  skip?: string;
  signingDomain: string;
  selector: string;
  bodyCanon: string;
  hashAlgo: string;
  maxBodyLength: number | '';
  bodyHashKey?: string;
}
interface MailauthSignatureResult {
  signingDomain?: string;
  selector?: string;
  signature?: unknown;
  algo?: unknown;
  canonBodyLengthLimit?: number;
  canonBodyLengthTotal?: number;
  status: {
    result: string;
    comment?: string | false;
    underSized?: number;
    header?: { i?: string | false };
  };
}
interface MailauthBodyHasher {
  digest(encoding: string): string;
  getMimeStructureStart(): undefined;
  readonly bodyHashedBytes: number;
  readonly canonicalizedLength: number;
}
type MailauthArcSet = { i: number; messageSignature?: MailauthSignatureResult } & Record<
  'arc-seal' | 'arc-message-signature' | 'arc-authentication-results',
  MailauthSignatureField
>;
interface MailauthArcData {
  chain: MailauthArcSet[] | false;
  lastEntry?: MailauthArcSet;
  error?: unknown;
}
type MailauthResolver = (name: string, type: string) => Promise<unknown[]>;

declare module 'mailauth/lib/dkim/dkim-verifier.js' {
  export class DkimVerifier {
    constructor(options: { resolver: MailauthResolver; strict: boolean; minBitLength: number; curTime: Date });
    headers: { parsed: readonly { readonly key: string; readonly casedKey: string; readonly line: Buffer }[]; original: Buffer };
    arc: MailauthArcData;
    signatureHeaders: MailauthSignatureField[];
    bodyHashes: Map<string, MailauthBodyHasher>;
    results: MailauthSignatureResult[];
    prepareSignature(field: MailauthSignatureField): void;
    finalChunk(): Promise<void>;
  }
  const exported: { DkimVerifier: typeof DkimVerifier };
  export default exported;
}

declare module 'mailauth/lib/parse-dkim-headers.js' {
  const parse: (line: Buffer, options: { strict: boolean }) => MailauthSignatureField;
  export default parse;
}
