#!/usr/bin/env bash
# The initialization ceremony of a CloudHSM cluster as AWS's User Guide has it, typed against Keyspan:
#
#     npx keyspan up --no-cluster --detach
#     eval "$(npx keyspan env)"
#     bash docs/ceremony.sh          # `npx keyspan ceremony rehearse` does the same
#
# It asks what openssl asks: a pass phrase for the CA's key, and the CA's name. Files go to the
# folder that it is started in. What AWS has at other places is marked with "here:".
set -euo pipefail

export AWS_PAGER=
# here: AWS CLIs before 2.13 do not read AWS_ENDPOINT_URL
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

say() { printf '\n# %s\n' "$*"; }

describe() {
  aws cloudhsmv2 describe-clusters --filters clusterIds="${2:-$ID}" --output text --query "$1"
}

await() { until [ "$(describe "$1" "${3:-}")" = "$2" ]; do sleep 0.2; done; }

# `keyspan ceremony rehearse` shows each command before it runs
[ -z "${SHOW:-}" ] || set -v

say 'Create a cluster, and its first HSM'
ID=$(aws cloudhsmv2 create-cluster --hsm-type hsm2m.medium \
  --subnet-ids subnet-0aaaaaaaaaaaaaaaa subnet-0bbbbbbbbbbbbbbbb subnet-0cccccccccccccccc \
  --query Cluster.ClusterId --output text)
await 'Clusters[].State' UNINITIALIZED
aws cloudhsmv2 create-hsm --cluster-id "$ID" --availability-zone "${AWS_REGION}a"
await 'Clusters[].Hsms[].State' ACTIVE

say 'Get the CSR and the certificates'
describe 'Clusters[].Certificates.ClusterCsr' > "${ID}_ClusterCsr.csr"
describe 'Clusters[].Certificates.HsmCertificate' > "${ID}_HsmCertificate.crt"
describe 'Clusters[].Certificates.AwsHardwareCertificate' > "${ID}_AwsHardwareCertificate.crt"
describe 'Clusters[].Certificates.ManufacturerHardwareCertificate' \
  > "${ID}_ManufacturerHardwareCertificate.crt"

say 'Get the root certificates'
# here: they are emulated ones of this installation, under the names that AWS and the maker use
for root in AWS_CloudHSM_Root-G1.crt liquid_security_certificate.crt; do
  curl --silent --show-error --fail --output "$root" "$AWS_ENDPOINT_URL/public/$root"
done

say 'Verify that AWS and the maker of the hardware speak for the HSM'
cat "${ID}_AwsHardwareCertificate.crt" AWS_CloudHSM_Root-G1.crt > "${ID}_AWS_chain.crt"
openssl verify -CAfile "${ID}_AWS_chain.crt" "${ID}_HsmCertificate.crt"
cat "${ID}_ManufacturerHardwareCertificate.crt" liquid_security_certificate.crt \
  > "${ID}_manufacturer_chain.crt"
openssl verify -CAfile "${ID}_manufacturer_chain.crt" "${ID}_HsmCertificate.crt"

say 'Verify that the CSR has the public key of the HSM'
openssl x509 -in "${ID}_HsmCertificate.crt" -pubkey -noout > "${ID}_HsmCertificate.pub"
openssl req -in "${ID}_ClusterCsr.csr" -pubkey -noout > "${ID}_ClusterCsr.pub"
diff "${ID}_HsmCertificate.pub" "${ID}_ClusterCsr.pub"

say 'Make a CA and sign the CSR'
openssl genrsa -aes256 -out customerCA.key 2048
openssl req -new -x509 -days 3652 -key customerCA.key -out customerCA.crt
openssl x509 -req -days 3652 -in "${ID}_ClusterCsr.csr" \
  -CA customerCA.crt -CAkey customerCA.key -CAcreateserial \
  -out "${ID}_CustomerHsmCertificate.crt"
openssl verify -purpose sslserver -CAfile customerCA.crt "${ID}_CustomerHsmCertificate.crt"

say 'Initialize the cluster'
aws cloudhsmv2 initialize-cluster --cluster-id "$ID" \
  --signed-cert "file://${ID}_CustomerHsmCertificate.crt" \
  --trust-anchor file://customerCA.crt
await 'Clusters[].State' INITIALIZED

say 'Activate it: the admin gets a password'
cloudhsm-cli cluster activate --cluster-id "$ID" --password "${ADMIN_PASSWORD:-changeme-please}"
await 'Clusters[].State' ACTIVE

say 'Two more HSMs'
aws cloudhsmv2 create-hsm --cluster-id "$ID" --availability-zone "${AWS_REGION}b"
aws cloudhsmv2 create-hsm --cluster-id "$ID" --availability-zone "${AWS_REGION}c"
await 'length(Clusters[].Hsms[?State==`ACTIVE`][])' 3

say 'The first one goes, and the cluster serves on'
FIRST=$(describe "Clusters[].Hsms[?AvailabilityZone=='${AWS_REGION}a'][].HsmId")
aws cloudhsmv2 delete-hsm --cluster-id "$ID" --hsm-id "$FIRST"
await 'length(Clusters[].Hsms[])' 2
cloudhsm-cli user list --cluster-id "$ID"

say 'All HSMs go: the cluster stays active, and what it held is in its latest backup'
for hsm in $(describe 'Clusters[].Hsms[].HsmId'); do
  aws cloudhsmv2 delete-hsm --cluster-id "$ID" --hsm-id "$hsm"
done
await 'length(Clusters[].Hsms[])' 0
aws cloudhsmv2 create-hsm --cluster-id "$ID" --availability-zone "${AWS_REGION}b"
await 'Clusters[].Hsms[].State' ACTIVE
cloudhsm-cli user list --cluster-id "$ID"

say 'A second cluster is made from a backup: it has the same certificate, users and keys'
aws cloudhsmv2 describe-backups --filters clusterIds="$ID",states=READY
BACKUP=$(aws cloudhsmv2 describe-backups --filters clusterIds="$ID",states=READY \
  --query 'Backups[0].BackupId' --output text)
SECOND=$(aws cloudhsmv2 create-cluster --hsm-type hsm2m.medium --source-backup-id "$BACKUP" \
  --subnet-ids subnet-0aaaaaaaaaaaaaaaa subnet-0bbbbbbbbbbbbbbbb \
  --query Cluster.ClusterId --output text)
await 'Clusters[].State' ACTIVE "$SECOND"
aws cloudhsmv2 create-hsm --cluster-id "$SECOND" --availability-zone "${AWS_REGION}a"
await 'Clusters[].Hsms[].State' ACTIVE "$SECOND"
cloudhsm-cli user list --cluster-id "$SECOND"
say "Cluster $SECOND is $(describe 'Clusters[].State' "$SECOND")"
say "Cluster $ID is $(describe 'Clusters[].State')"
