#!/bin/sh
# Make, as root on a node of Proxmox VE, what Mission Control's inventory, or its tools, ask a cluster with: a role that may look at it, a user, and an API token.
#
#   sh proxmox-role.sh              nodes, guests, and addresses of containers
#   sh proxmox-role.sh --addresses  also the addresses that the QEMU guest agent tells; from Proxmox VE 9 on
#   sh proxmox-role.sh --tools      apart from these, a user for tools that start guests and shut them down
#
# It may run again. The value of the token is shown once, when it is made.
set -eu

role=MissionControlInventory
user=mission-control@pve
token=inventory
privileges="VM.Audit Sys.Audit"
comment="Inventory of Mission Control"
where=/

case "$*" in
  "") ;;
  --addresses)
    major=$(pveversion | sed 's|^pve-manager/\([0-9]*\).*|\1|')
    if [ "$major" -lt 9 ]; then
      echo "proxmox-role.sh: before Proxmox VE 9 whoever may ask the guest agent (VM.Monitor) may also run commands in guests: leave out --addresses." >&2
      exit 1
    fi
    privileges="$privileges VM.GuestAgent.Audit"
    ;;
  --tools)
    role=MissionControlTools
    user=mission-control-tools@pve
    token=tools
    privileges="VM.Audit VM.PowerMgmt"
    comment="Tools of Mission Control"
    where=/vms
    ;;
  *)
    echo "usage: proxmox-role.sh [--addresses | --tools]" >&2
    exit 2
    ;;
esac

pveum role add "$role" --privs "$privileges" 2>/dev/null || pveum role modify "$role" --privs "$privileges"
pveum user add "$user" --comment "$comment" 2>/dev/null || pveum user modify "$user" --enable 1
pveum acl modify "$where" --users "$user" --roles "$role"
if pveum user token list "$user" --output-format json | grep -q "\"tokenid\" *: *\"$token\""; then
  echo "The token $user!$token is there already; pveum user token remove $user $token takes it away."
else
  # Without privileges of its own it has those of its user, who has no others.
  pveum user token add "$user" "$token" --privsep 0
fi
