import { decryptStream } from '../../client/client.js';
import { findHome } from '../../core/home.js';
import { connectToCluster } from '../cluster-client.js';
import { openInput, writeOutput } from '../file-stream.js';
import { EXIT, printJson } from '../output.js';
import { withProgress } from '../progress.js';
import type { SharedOptions } from '../global-options.js';

export interface DecryptOptions extends SharedOptions {
  readonly file: string;
  readonly output?: string;
  readonly key?: string;
  readonly context?: Readonly<Record<string, string>>;
}

/**
 * An output file appears only when the whole input was genuine. To standard output only verified
 * pieces are written, but whether the input was whole is known at its end, by the exit code.
 */
export async function decrypt(options: DecryptOptions): Promise<number> {
  const input = await openInput(options.file);
  const client = await connectToCluster(findHome(options.home));
  try {
    const source = withProgress(input.stream, input.totalBytes);
    const opened = decryptStream(client.kms, source, {
      context: options.context ?? {},
      ...(options.key === undefined ? {} : { keyId: options.key }),
    });
    const bytes = await writeOutput(opened, options.output);
    if (options.json && options.output !== undefined) printJson({ output: options.output, bytes });
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
