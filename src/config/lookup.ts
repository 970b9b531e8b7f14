/** A Postfix lookup table (postconf's `type:name`): `hash:`, `texthash:`, `inline:`, `static:`, `regexp:`, `pcre:`. */
export interface LookupTable {
  /** As in the settings: `hash:/etc/postfix/vmailbox`. */
  readonly spec: string;
  /** True for regexp and pcre: asked with whole addresses only, never with parts of them (virtual(5), regexp_table(5)). */
  readonly whole: boolean;
  /** The value for exactly this key, already lower-cased by the caller where the table wants it. @throws MailError temporary when the file cannot be read */
  get(key: string): Promise<string | undefined>;
  /** Every key and value, where the type can tell them (not for static, regexp, pcre: empty). */
  entries(): Promise<readonly (readonly [key: string, value: string])[]>;
}
