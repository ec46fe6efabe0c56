import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  loadModuleProfile,
  prepareTokenDirectory,
  sweepTornFiles,
} from '../../src/token/softhsm.js';
import { Token } from '../../src/token/token.js';

/** A real SoftHSM token in a directory of its own. One is open in a process at a time. */
export class TokenFixture implements Disposable {
  readonly directory: string;
  readonly profile = loadModuleProfile();
  readonly soPin: Uint8Array = Buffer.from('officer-pin');
  readonly userPin: Uint8Array = Buffer.from('user-pin');
  readonly pins = { soPin: this.soPin, userPin: this.userPin };
  token: Token;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'keyspan-token-'));
    prepareTokenDirectory(this.directory);
    this.token = Token.open(this);
  }

  /** A token that is initialised and logged in. */
  static ready(): TokenFixture {
    const fixture = new TokenFixture();
    fixture.token.initialize({ label: 'fixture', ...fixture.pins });
    fixture.token.loginUser(fixture.userPin);
    return fixture;
  }

  /** Ends the module, sweeps and opens the token again, as a restart of the process does. */
  restart(): string[] {
    this.token[Symbol.dispose]();
    return this.reopen();
  }

  /** The second half of `restart`, after the token was disposed. */
  reopen(): string[] {
    const swept = sweepTornFiles(this.directory);
    this.token = Token.open(this);
    this.token.loginUser(this.userPin);
    return swept;
  }

  [Symbol.dispose](): void {
    this.token[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
