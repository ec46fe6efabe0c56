#!/usr/bin/env bash
# An operator's day with the users and keys of a cluster, with the commands of AWS CloudHSM:
#
#     npx keyspan up --detach
#     eval "$(npx keyspan env)"
#     bash docs/operators.sh                         # on the cluster that `up` made
#     ADMIN_PASSWORD=… bash docs/operators.sh ID     # on one that you made, as docs/ceremony.sh does
#
# Files go to the folder that it is started in. docs/operators.md tells of it step by step.
set -euo pipefail

export AWS_PAGER=
# AWS CLIs before 2.13 do not read AWS_ENDPOINT_URL
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
say() { printf '\n# %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2 && exit 1; }

OWN=$(keyspan status --json | jq -r '.cluster.id // empty')
ID=${1:-$OWN}
ADMIN_PASSWORD=${ADMIN_PASSWORD:-$(keyspan credentials --json | jq -r .admin.password)}
ALICE_PASSWORD=alice-has-this-one
BOB_PASSWORD=bob-has-another

# One command of a user. Passwords go by the environment and by pipes: a command line can be read
# by everybody on the machine.
admin() { CLOUDHSM_ROLE=admin CLOUDHSM_PIN="admin:$ADMIN_PASSWORD" cloudhsm-cli "$@"; }
alice() { CLOUDHSM_ROLE=crypto-user CLOUDHSM_PIN="alice:$ALICE_PASSWORD" cloudhsm-cli "$@"; }
bob() { CLOUDHSM_ROLE=crypto-user CLOUDHSM_PIN="bob:$BOB_PASSWORD" cloudhsm-cli "$@"; }
on() { "$1" "${@:2}" --cluster-id "$ID"; }

create_user() {
  printf '%s\n%s\n' "$3" "$3" | on admin user create --username "$1" --role "$2"
}

active() { cloudhsm-cli cluster hsm-info --cluster-id "${1:-$ID}" | jq '.data.hsms | length'; }
await_active() { until [ "$(active "${2:-$ID}")" = "$1" ]; do sleep 0.2; done; }
describe() {
  aws cloudhsmv2 describe-clusters --filters "clusterIds=$1" --output text --query "$2"
}
# add_hsms CLUSTER COUNT: each in another zone
add_hsms() {
  local zone
  for zone in $(describe "$1" "keys(Clusters[0].SubnetMapping)[:$2]"); do
    aws cloudhsmv2 create-hsm --cluster-id "$1" --availability-zone "$zone"
  done
}

say 'A cluster of at least two HSMs: what follows needs one that can be away'
if [ "$(active)" -lt 2 ]; then
  add_hsms "$ID" 2
  await_active 3
fi
HSMS=$(active)

say 'Two crypto-users'
create_user alice crypto-user "$ALICE_PASSWORD"
create_user bob crypto-user "$BOB_PASSWORD"
cloudhsm-cli user list --cluster-id "$ID" |
  jq -r '.data.users[] | [.username, .role, .["cluster-coverage"]] | @tsv'

say 'Alice makes a key and shares it with Bob, who signs with it'
on alice key generate-asymmetric-pair rsa --modulus-size-bits 2048 --public-exponent 65537 \
  --public-label signing-public --public-attributes verify=true \
  --private-label signing --private-attributes sign=true | jq -c '.data.private_key."key-info"'
on alice key share --filter attr.label=signing --username bob --role crypto-user
printf 'an order for 100 pieces\n' > order.txt
on bob crypto sign rsa-pkcs --key-filter attr.label=signing --hash-function sha256 \
  --data-path order.txt | jq -r .data.signature | openssl base64 -d -A > order.sig

say 'Anybody verifies the signature with OpenSSL'
on alice key generate-file --encoding pem --path signing.pem --filter attr.label=signing-public
openssl dgst -sha256 -verify signing.pem -signature order.sig order.txt

say 'Alice takes the key back: Bob cannot even see it'
on alice key unshare --filter attr.label=signing --username bob --role crypto-user
seen=$(on bob key list --filter attr.label=signing | jq .data.total_key_count)
[ "$seen" = 0 ] || fail "Bob sees $seen keys"

say 'A key that leaves the cluster under a trusted key alone'
on alice key generate-symmetric aes --label kek --key-length-bytes 32 \
  --attributes wrap=true unwrap=true > kek.json
on alice key generate-symmetric aes --label payload --key-length-bytes 32 \
  --attributes wrap-with-trusted=true > payload.json
wrap() {
  on alice key wrap aes-gcm --tag-length-bits 128 --payload-filter attr.label=payload \
    --wrapping-filter attr.label=kek --path payload.wrapped
}
if wrap; then fail 'a key that nobody trusts has wrapped'; fi
KEK=$(jq -r '.data.key."key-reference"' kek.json)
on admin key set-attribute --filter "key-reference=$KEK" --name trusted --value true
IV=$(wrap | jq -r .data.iv)

say 'A related cluster, from a backup: it has the same masking keys'
BACKUP=$(aws cloudhsmv2 describe-backups --filters "clusterIds=$ID,states=READY" \
  --query 'Backups[0].BackupId' --output text)
RELATED=$(aws cloudhsmv2 create-cluster --hsm-type hsm2m.medium --source-backup-id "$BACKUP" \
  --subnet-ids subnet-0ddddddddddddddd --query Cluster.ClusterId --output text)
until [ "$(describe "$RELATED" 'Clusters[].State')" = ACTIVE ]; do sleep 0.2; done
add_hsms "$RELATED" 1
await_active 1 "$RELATED"

say 'Alice and the trusted key go there; the payload comes wrapped'
to_related() {
  DESTINATION_CLOUDHSM_ROLE=admin DESTINATION_CLOUDHSM_PIN="admin:$ADMIN_PASSWORD" \
    admin "$@" --source-cluster-id "$ID" --destination-cluster-id "$RELATED"
}
# a backup that was taken after Alice came has her already
names() { cloudhsm-cli user list --cluster-id "$RELATED" | jq -r '.data.users[].username'; }
if ! names | grep -qx alice; then
  to_related user replicate --username alice --role crypto-user
fi
to_related key replicate --filter "key-reference=$KEK"
alice key unwrap aes-gcm --tag-length-bits 128 --iv "$IV" --filter attr.label=kek \
  --data-path payload.wrapped --label payload --key-type-class aes --cluster-id "$RELATED" \
  > unwrapped.json
check_value() { jq -r '.data.key.attributes."check-value"' "$1"; }
[ "$(check_value payload.json)" = "$(check_value unwrapped.json)" ] || fail 'another key came'

say 'A user is made while an HSM is away, and is not on it'
AWAY=$(cloudhsm-cli cluster hsm-info --cluster-id "$ID" | jq -r '.data.hsms[-1]."hsm-id"')
coverage() {
  cloudhsm-cli user list --cluster-id "$ID" |
    jq -r --arg user "$1" '.data.users[] | select(.username == $user) | .["cluster-coverage"]'
}
keyspan hsm stop "$AWAY"
await_active $((HSMS - 1))
create_user erin crypto-user erin-came-later
keyspan hsm start "$AWAY"
await_active "$HSMS"
[ "$(coverage erin)" = inconsistent ] || fail 'the HSM has heard of the user'

say 'The same command repairs it'
create_user erin crypto-user erin-came-later
[ "$(coverage erin)" = full ] || fail 'the user is not repaired'

# A dialogue: tokens of approvals are good within one login.
begin() {
  mkfifo questions answers
  cloudhsm-cli interactive --cluster-id "$ID" < questions > answers &
  exec 3> questions 4< answers
  rm questions answers
  ask "login --username $1 --role admin" "$2"
}
# ask COMMAND [LINE…]: also what the command asks for
ask() {
  local line answer=
  printf '%s\n' "$@" >&3
  while IFS= read -r line <&4; do
    answer+=$line$'\n'
    [ "$line" != '}' ] || break
  done
  printf '%s' "$answer"
  [ "$(jq .error_code <<< "$answer")" = 0 ] || fail "refused: $1"
}
end() {
  printf 'quit\n' >&3
  exec 3>&- 4<&-
  wait
}

# What a person does with a key that is their own: signs the hash that the file shows.
sign() {
  openssl base64 -d -A > token.bin
  openssl pkeyutl -sign -inkey "$1.key" -pkeyopt digest:sha256 -in token.bin | openssl base64 -A
}

say 'Two more admins, each with a key of their own to approve with'
for user in carol dave; do
  create_user "$user" admin "$user-approves"
  openssl genrsa -out "$user.key" 2048
  openssl rsa -in "$user.key" -pubout -out "$user.pem"
  begin "$user" "$user-approves"
  ask "quorum token-sign generate --service registration --token $user.json"
  # one token for each HSM
  for at in $(jq '.tokens | keys[]' "$user.json"); do
    signed=$(jq -r ".tokens[$at].unsigned" "$user.json" | sign "$user")
    jq ".tokens[$at].signed = \"$signed\"" "$user.json" > next.json
    mv next.json "$user.json"
  done
  ask "user change-quorum token-sign register --public-key $user.pem --signed-token $user.json"
  end
done

# approve FILE USER…: each signs
approve() {
  local user
  for user in "${@:2}"; do
    signed=$(jq -r .token "$1" | sign "$user")
    jq ".signatures += [{username: \"$user\", role: \"admin\", signature: \"$signed\"}]" "$1" > next.json
    mv next.json "$1"
  done
}

say 'From now on two admins approve what is done with users'
begin admin "$ADMIN_PASSWORD"
ask 'quorum token-sign set-quorum-value --service quorum --value 2'
ask 'quorum token-sign generate --service quorum --token change-quorum.json'
approve change-quorum.json carol dave
ask 'quorum token-sign set-quorum-value --service user --value 2 --approval change-quorum.json'
ask 'quorum token-sign list-quorum-values'

say "Bob's password is changed: not by one admin alone, but with the approval of two others"
CHANGE='user change-password --username bob --role crypto-user'
if (ask "$CHANGE" bob-starts-anew bob-starts-anew); then fail 'one admin was enough'; fi
ask 'quorum token-sign generate --service user --token change-password.json'
approve change-password.json carol dave
ask "$CHANGE --approval change-password.json" bob-starts-anew bob-starts-anew
end
BOB_PASSWORD=bob-starts-anew
on bob key list | jq -c .error_code
say 'Done'
