#!/usr/bin/env bash
# Signs what a token file holds, as CloudHSM's documentation says, and puts the signatures in.
# sign-tokens FILE KEY: each token of a second factor or of a registration
# sign-tokens FILE KEY USERNAME ROLE: a token that others approve
set -euo pipefail
file=$1 key=$2
until [ -s "$file" ]; do sleep 0.05; done
sign() {
  base64 -d > token.bin
  openssl pkeyutl -sign -inkey "$key" -pkeyopt digest:sha256 -keyform PEM -in token.bin -out sig.bin
  base64 -w0 sig.bin
}
if [ $# -gt 2 ]; then
  signature=$(jq -r .token "$file" | sign)
  jq --arg username "$3" --arg role "$4" --arg signature "$signature" \
    '.signatures += [{username: $username, role: $role, signature: $signature}]' "$file" > signed.json
else
  signed='[]'
  for token in $(jq -r '.tokens[].unsigned' "$file"); do
    signed=$(jq --arg one "$(sign <<< "$token")" '. + [$one]' <<< "$signed")
  done
  jq --argjson signed "$signed" \
    '.tokens = [.tokens, $signed] | .tokens |= (transpose | map(.[0] + {signed: .[1]}))' \
    "$file" > signed.json
fi
cat signed.json > "$file"
rm signed.json
