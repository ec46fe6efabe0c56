import type { Call } from '../../core/call.js';
import { LIMITS } from '../../core/limits.js';
import { CKM } from '../../core/pkcs11.js';
import { DigestOperation } from './digest-operation.js';
import { fail } from './failure.js';
import type { HeldObject } from './held-object.js';
import { HsmStream, inChunks, type InputBudget } from './hsm-stream.js';
import { keyBytes } from './key-use.js';
import { MECHANISMS, type HashName, type MechanismFacts } from './mechanism-table.js';
import { macBytes, type FrameMechanism } from './parameters.js';
import type { TokenView } from './token-view.js';

const DIGEST_OF: Readonly<Record<HashName, number>> = {
  sha1: CKM.SHA_1,
  sha224: CKM.SHA224,
  sha256: CKM.SHA256,
  sha384: CKM.SHA384,
  sha512: CKM.SHA512,
};
/** What precedes the digest in a DigestInfo (RFC 8017, 9.2). */
const DIGEST_INFO: Readonly<Record<HashName, string>> = {
  sha1: '3021300906052b0e03021a05000414',
  sha224: '302d300d06096086480165030402040500041c',
  sha256: '3031300d060960864801650304020105000420',
  sha384: '3041300d060960864801650304020205000430',
  sha512: '3051300d060960864801650304020305000440',
};

interface Given {
  readonly view: TokenView;
  readonly key: HeldObject;
  readonly facts: MechanismFacts;
  readonly mechanism: FrameMechanism;
  readonly purpose: 'sign' | 'verify';
  readonly budget: InputBudget;
}

/** A signature or MAC that a session has begun, to make one or to check one. */
export class SignOperation {
  readonly #given: Given;
  /** what a signature with a hash is made of, when the data is long */
  #digest: DigestOperation | undefined;
  /** what a MAC is made of */
  #mac: HsmStream | undefined;
  isMultiPart = false;

  constructor(given: Given) {
    this.#given = given;
  }

  /** bytes of the signature */
  get length(): number {
    const { facts, key, mechanism } = this.#given;
    if (facts.family === 'rsa') return keyBytes(key);
    if (facts.family === 'ec' || facts.family === 'edwards') return 2 * keyBytes(key);
    return mechanism.macLength ?? macBytes(facts);
  }

  /** @throws P11Failure FUNCTION_NOT_SUPPORTED for a mechanism that takes the data as a whole */
  async update(data: Uint8Array, call: Call): Promise<void> {
    const { facts } = this.#given;
    if (facts.pieces !== 'hashed') throw fail('FUNCTION_NOT_SUPPORTED');
    this.isMultiPart = true;
    if (facts.family === 'aes' || facts.family === 'generic-secret') {
      return await this.#macStream().push(data, call);
    }
    await this.#digestOf().update(data, call);
  }

  /** Signs what came, or this data alone. */
  async sign(call: Call, data?: Uint8Array): Promise<Uint8Array> {
    const { view, key } = this.#given;
    if (data && data.length > LIMITS.p11_chunk_max_bytes) await this.#updateAll(data, call);
    else if (data) return (await this.#run('p11-sign', data, call)).signature;
    if (this.#mac) {
      const whole = this.#short(this.#mac);
      if (whole) return (await this.#run('p11-sign', whole, call)).signature;
      return (await this.#mac.finish(call)).value as Uint8Array;
    }
    const { mechanism, data: digest } = await this.#digested(call);
    const fields = { keyId: key.id, mechanism, data: digest };
    return (await view.line.run('p11-sign', fields, call, key.id)).signature;
  }

  /** Whether a signature is that of what came, or of this data alone. */
  async verify(call: Call, signature: Uint8Array, data?: Uint8Array): Promise<boolean> {
    const { view, key } = this.#given;
    if (data && data.length > LIMITS.p11_chunk_max_bytes) await this.#updateAll(data, call);
    else if (data) return (await this.#run('p11-verify', data, call, signature)).valid;
    if (this.#mac) {
      const whole = this.#short(this.#mac);
      if (whole) return (await this.#run('p11-verify', whole, call, signature)).valid;
      return (await this.#mac.finish(call, signature)).valid === true;
    }
    const { mechanism, data: digest } = await this.#digested(call);
    const fields = { keyId: key.id, mechanism, data: digest, signature };
    return (await view.line.run('p11-verify', fields, call, key.id)).valid;
  }

  close(): void {
    this.#digest?.close();
    this.#mac?.close();
  }

  async #updateAll(data: Uint8Array, call: Call): Promise<void> {
    if (this.#given.facts.pieces !== 'hashed') throw fail('DATA_LEN_RANGE');
    for (const chunk of inChunks([data])) await this.update(chunk, call);
  }

  #short(stream: HsmStream): Uint8Array | undefined {
    const whole = stream.whole();
    if (!whole || whole.length > LIMITS.p11_chunk_max_bytes) return undefined;
    stream.close();
    return whole;
  }

  #run(
    operation: 'p11-sign',
    data: Uint8Array,
    call: Call,
  ): Promise<{ readonly signature: Uint8Array }>;
  #run(
    operation: 'p11-verify',
    data: Uint8Array,
    call: Call,
    signature: Uint8Array,
  ): Promise<{ readonly valid: boolean }>;
  #run(
    operation: 'p11-sign' | 'p11-verify',
    data: Uint8Array,
    call: Call,
    signature: Uint8Array = new Uint8Array(0),
  ): Promise<unknown> {
    const { view, key, mechanism } = this.#given;
    const { line } = view;
    if (operation === 'p11-sign') {
      return line.run(operation, { keyId: key.id, mechanism, data }, call, key.id);
    }
    return line.run(operation, { keyId: key.id, mechanism, data, signature }, call, key.id);
  }

  #macStream(): HsmStream {
    const { view, key, mechanism, purpose, budget } = this.#given;
    const open = { purpose, mechanism, keyId: key.id };
    return (this.#mac ??= new HsmStream(() => view.line, open, budget));
  }

  #digestOf(): DigestOperation {
    const { view, facts, budget } = this.#given;
    const type = DIGEST_OF[facts.hash ?? 'sha256'];
    const digest = MECHANISMS.get(type) as MechanismFacts;
    return (this.#digest ??= new DigestOperation(view, digest, budget));
  }

  /** The digest, and the mechanism that signs one. */
  async #digested(call: Call): Promise<{ mechanism: FrameMechanism; data: Uint8Array }> {
    const { facts, mechanism } = this.#given;
    // nothing came: C_SignFinal without C_SignUpdate
    const digest = await this.#digestOf().final(call);
    const hash = facts.hash ?? 'sha256';
    if (facts.family === 'ec') return { mechanism: { type: CKM.ECDSA }, data: digest };
    if (facts.parameter === 'pss') {
      return { mechanism: { ...mechanism, type: CKM.RSA_PKCS_PSS }, data: digest };
    }
    const info = Buffer.concat([Buffer.from(DIGEST_INFO[hash], 'hex'), digest]);
    return { mechanism: { type: CKM.RSA_PKCS }, data: info };
  }
}
