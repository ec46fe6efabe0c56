/**
 * The small language in which the members of AWS requests are described. What the shapes
 * mean to TypeScript is derived from the same table; aws-parser.ts follows a description.
 */
export type Shape =
  | StringShape
  | IntegerShape
  | BooleanShape
  | TimestampShape
  | BlobShape
  | ListShape
  | MapShape
  | StructureShape;

export interface StringShape<V extends string = string> {
  readonly kind: 'string';
  /** UTF-16 units */
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: Pattern;
  readonly values?: readonly V[];
  /** the value is not repeated in an error */
  readonly secret?: boolean;
}

export interface IntegerShape {
  readonly kind: 'integer';
  readonly min?: number;
  readonly max?: number;
}

export interface BooleanShape {
  readonly kind: 'boolean';
}

/** seconds since 1970, with fractions */
export interface TimestampShape {
  readonly kind: 'timestamp';
}

export interface BlobShape {
  readonly kind: 'blob';
  /** bytes */
  readonly min?: number;
  readonly max?: number;
}

export interface ListShape<S extends Shape = Shape> {
  readonly kind: 'list';
  readonly of: S;
  readonly min?: number;
  readonly max?: number;
}

export interface MapShape<S extends Shape = Shape> {
  readonly kind: 'map';
  /** of the names; absent: any */
  readonly key?: StringShape;
  /** of the values; absent: strings without bounds (EncryptionContextType) */
  readonly of?: S;
  /** pairs */
  readonly max?: number;
}

export interface StructureShape<M extends Members = Members> {
  readonly kind: 'structure';
  readonly members: M;
}

export type Member = Shape & { readonly required?: true };
export interface Members {
  readonly [name: string]: Member;
}

/** A regular expression, with the text that AWS prints. */
export interface Pattern {
  readonly text: string;
  readonly regexp: RegExp;
}

/** A pattern that covers the whole value. */
export const pattern = (text: string): Pattern => ({
  text,
  regexp: new RegExp(`^(?:${text})$`, 'u'),
});

/** A pattern that is found somewhere in the value. */
export const unanchored = (text: string): Pattern => ({ text, regexp: new RegExp(text, 'u') });

export const string = (bounds: Omit<StringShape, 'kind' | 'values'> = {}): StringShape => ({
  kind: 'string',
  ...bounds,
});
export const oneOf = <const V extends string>(...values: readonly V[]): StringShape<V> => ({
  kind: 'string',
  values,
});
export const integer = (bounds: Omit<IntegerShape, 'kind'> = {}): IntegerShape => ({
  kind: 'integer',
  ...bounds,
});
export const blob = (bounds: Omit<BlobShape, 'kind'> = {}): BlobShape => ({
  kind: 'blob',
  ...bounds,
});
export const list = <S extends Shape>(
  of: S,
  bounds: { readonly min?: number; readonly max?: number } = {},
): ListShape<S> => ({ kind: 'list', of, ...bounds });
export const structure = <M extends Members>(members: M): StructureShape<M> => ({
  kind: 'structure',
  members,
});
export const required = <S extends Shape>(shape: S): S & { readonly required: true } => ({
  ...shape,
  required: true,
});
export const BOOLEAN: BooleanShape = { kind: 'boolean' };
export const TIMESTAMP: TimestampShape = { kind: 'timestamp' };
export const STRING_MAP: MapShape<StringShape> = { kind: 'map' };
export const map = <S extends Shape>(
  key: StringShape,
  of: S,
  bounds: { readonly max?: number } = {},
): MapShape<S> => ({ kind: 'map', key, of, ...bounds });

/** What a value of a shape is after parsing. */
export type ValueOf<S> =
  S extends StringShape<infer V>
    ? V
    : S extends IntegerShape | TimestampShape
      ? number
      : S extends BooleanShape
        ? boolean
        : S extends BlobShape
          ? Uint8Array
          : S extends ListShape<infer Of>
            ? readonly ValueOf<Of>[]
            : S extends MapShape<infer Of>
              ? ReadonlyMap<string, ValueOf<Of>>
              : S extends StructureShape<infer M>
                ? ParamsOf<M>
                : never;

type RequiredName<M> = { [K in keyof M]: M[K] extends { required: true } ? K : never }[keyof M];

export type ParamsOf<M> = { readonly [K in RequiredName<M>]: ValueOf<M[K]> } & {
  readonly [K in Exclude<keyof M, RequiredName<M>>]?: ValueOf<M[K]>;
};

/** What an answer of a shape is made of: a map is a plain object there, as JSON has it. */
export type AnswerOf<S> =
  S extends ListShape<infer Of>
    ? readonly AnswerOf<Of>[]
    : S extends MapShape<infer Of>
      ? Readonly<Record<string, AnswerOf<Of>>>
      : S extends StructureShape<infer M>
        ? AnswerMembers<M>
        : ValueOf<S>;

/** The members of an answer. */
export type AnswerMembers<M> = { readonly [K in RequiredName<M>]: AnswerOf<M[K]> } & {
  readonly [K in Exclude<keyof M, RequiredName<M>>]?: AnswerOf<M[K]> | undefined;
};
