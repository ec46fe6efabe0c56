/** Options of every command. */
export interface SharedOptions {
  readonly home?: string;
  readonly json?: boolean;
}
