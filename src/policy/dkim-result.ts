// What becomes of one DKIM signature, and of a chain of ARC seals.

export interface DkimResult {
  /**
   * RFC 8601 section 2.7.1: `fail` for a message that was changed, `permerror` for a signature or key that can never hold, `neutral` for an algorithm that
   * we do not know, `policy` for what is too weak or too much.
   */
  readonly result: 'pass' | 'fail' | 'neutral' | 'policy' | 'temperror' | 'permerror';
  /** What is wrong, or is to be known of a pass. */
  readonly reason?: string;
  /** `d=`, `s=`, `i=`, `a=` and the beginning of `b=`, where there are such; as the sender wrote them. */
  readonly domain?: string;
  readonly selector?: string;
  readonly identity?: string;
  readonly algorithm?: string;
  readonly signature?: string;
  /** Octets at the body's end that anybody may have added (`l=`): such a pass vouches for nobody (RFC 6376 section 8.2). */
  readonly unsigned?: number;
}

export interface ArcResult {
  readonly result: 'none' | 'pass' | 'fail';
  readonly reason?: string;
  /** Sets in the chain. */
  readonly instance?: number;
  /** `d=` of every seal, the first one first; lower case. */
  readonly sealers?: readonly string[];
  /** What the first sealer saw of DMARC: the result, and whose From it was. */
  readonly dmarc?: { readonly result: string; readonly domain: string };
}
