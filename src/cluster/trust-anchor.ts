export async function checkClaim(options: {
  signedCert: string;
  trustAnchor: string;
  publicKey: Uint8Array;
  nowMs: number;
}): Promise<{ certificate: string; trustAnchor: string }> {
  return { certificate: options.signedCert, trustAnchor: options.trustAnchor };
}
