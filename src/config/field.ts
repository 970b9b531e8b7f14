// One setting: a zod schema that carries its own description, default and example, from which the settings are read and
// docs/settings.md is written.
import { z } from 'zod';
import { ValueError } from './values.ts';

export interface FieldInfo {
  /** How the value is written, for docs/settings.md. */
  readonly type: string;
  readonly description: string;
  /** As it would stand in the file (`$name` allowed); undefined when there is none. */
  readonly default?: unknown;
  /** As it would stand in the file. */
  readonly example: unknown;
  /** A change is taken at the next start only, not by a reload. */
  readonly restart?: boolean;
}

/** A setting that `read` turns from what YAML gave into its value; `read` throws ValueError. */
export function field<T>(info: FieldInfo, read: (value: unknown) => T): z.ZodType<T> {
  const schema = z.unknown().transform((value, context): T => {
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      context.addIssue({ code: 'custom', message: `${error.message}; write ${error.right}` });
      return z.NEVER;
    }
  });
  return schema.meta({ ...info });
}

/** A setting of several named parts, each a field of its own, or a list of such groups. */
export function group<T extends z.ZodType>(info: FieldInfo, schema: T): T {
  return schema.meta({ ...info });
}

/** What `field` or `group` was given. */
export function fieldInfo(schema: z.core.$ZodType): FieldInfo {
  let at = schema;
  while (z.globalRegistry.get(at) === undefined && (at instanceof z.ZodOptional || at instanceof z.ZodPrefault)) at = at.unwrap();
  return z.globalRegistry.get(at) as unknown as FieldInfo;
}

/** The schema inside of optional and prefault wrappers. */
export function innermost(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let at = schema;
  while (at instanceof z.ZodOptional || at instanceof z.ZodPrefault) at = at.unwrap();
  return at;
}
