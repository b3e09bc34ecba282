//! The script that builds a machine again from what was kept: for a person to read, and to run step by step.
//!
//! It lies beside the lists it reads, so it needs nothing but a POSIX shell and the tools of the system it sets
//! up. It does nothing without being told which steps; with `-n` it only says what it would do; disks are never
//! touched by a step that is not asked for by its own name.

use super::Part;

/// The script of a machine.
pub(super) fn script(machine: &str, parts: &[Part]) -> String {
    let steps: Vec<&str> = parts.iter().map(|part| part.word()).filter(|w| *w != "etc").collect();
    // The name is only printed: what a shell would take for more than a word is left out.
    let name: String = machine.chars().filter(|c| c.is_alphanumeric() || "-_. ".contains(*c)).collect();
    SCRIPT.replace("@MACHINE@", &name).replace("@STEPS@", &steps.join(" "))
}

const SCRIPT: &str = r##"#!/bin/sh
# How to build "@MACHINE@" again.
#
# 1. Boot a fresh system of the same distribution (or a rescue system, with the new root under --root).
# 2. lifeboat restore SNAPSHOT --target /mnt/kept     brings back this script, its lists, and the settings.
# 3. sh rebuild.sh -n all                             says what would be done. Read it.
# 4. sh rebuild.sh users packages units crontabs      does it. Then copy what is yours from etc/.
#
# Usage: rebuild.sh [-n] [--root DIR] [--files DIR] [--disk DEVICE] STEP...
#   -n           say what would be done, do nothing
#   --root DIR   the system to set up (default /)
#   --files DIR  where the kept settings (etc/ ...) were restored (default: the folder above this script)
#   --disk DEV   the disk that the step `partitions` writes a table to; all that is on it is lost
# Steps: @STEPS@; all = every step but partitions, boot and network, which need a person.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=/
files=$(dirname "$here")
disk=
dry=no

fail() { echo "rebuild: $*" >&2; exit 1; }
say() { echo "== $*"; }
run() {
  if [ "$dry" = yes ]; then echo "would run: $*"; else echo "+ $*"; "$@"; fi
}
inside() {
  if [ "$root" = / ]; then run "$@"; else run chroot "$root" "$@"; fi
}
have() { [ -s "$here/$1" ]; }

# Appends the lines of a kept file whose first field (up to the colon) the target's file does not have.
merge() {
  kept=$1 target=$2 mode=$3
  [ -f "$kept" ] || return 0
  [ -f "$target" ] || { [ "$dry" = yes ] || { : > "$target"; chmod "$mode" "$target"; }; }
  new=$(mktemp)
  awk -F: 'FILENAME == ARGV[1] && NR == FNR { there[$1] = 1; next } !($1 in there)' "$target" "$kept" > "$new" 2>/dev/null ||
    cat "$kept" > "$new"
  if [ -s "$new" ]; then
    if [ "$dry" = yes ]; then
      sed "s|^\([^:]*\):.*|would add to $target: \1|" "$new"
    else
      cat "$new" >> "$target"
      echo "+ $(wc -l < "$new") lines added to $target"
    fi
  fi
  rm -f "$new"
}

step_users() {
  say "users and groups that are missing"
  top=${root%/}
  merge "$files/etc/group" "$top/etc/group" 644
  merge "$files/etc/passwd" "$top/etc/passwd" 644
  merge "$files/etc/gshadow" "$top/etc/gshadow" 640
  merge "$files/etc/shadow" "$top/etc/shadow" 640
  merge "$files/etc/subuid" "$top/etc/subuid" 644
  merge "$files/etc/subgid" "$top/etc/subgid" 644
}

step_packages() {
  say "packages"
  top=${root%/}
  if have packages/dpkg.tsv; then
    for part in etc/apt usr/share/keyrings; do
      [ -d "$files/$part" ] && run mkdir -p "$top/$part" && run cp -a "$files/$part/." "$top/$part/"
    done
    inside apt-get update
    list=$(awk -F'\t' '$3 ~ /^[ih]i/ { print $1 "=" $2 }' "$here/packages/dpkg.tsv")
    exact= any=
    for package in $list; do
      name=${package%%=*}
      if [ "$dry" = no ] && [ -z "$(chroot "$root" apt-cache show "$package" 2>/dev/null | head -n 1)" ]; then
        any="$any $name"
      else
        exact="$exact $package"
      fi
    done
    # shellcheck disable=SC2086
    [ -z "$exact" ] || inside apt-get install -y --no-install-recommends --allow-downgrades $exact
    for name in $any; do
      inside apt-get install -y --no-install-recommends "$name" || echo "not available: $name"
    done
    if have packages/manual.txt; then
      # shellcheck disable=SC2046
      inside apt-mark auto $(awk -F'\t' '$3 ~ /^[ih]i/ { print $1 }' "$here/packages/dpkg.tsv")
      # shellcheck disable=SC2046
      inside apt-mark manual $(cat "$here/packages/manual.txt")
    fi
    # shellcheck disable=SC2046
    ! have packages/holds.txt || inside apt-mark hold $(cat "$here/packages/holds.txt")
  fi
  if have packages/rpm.txt; then
    # shellcheck disable=SC2046
    inside dnf install -y $(awk -F'\t' '$1 != "gpg-pubkey" { print $1 }' "$here/packages/rpm.txt")
  fi
  if have packages/pacman.txt; then
    # shellcheck disable=SC2046
    inside pacman -Sy --needed --noconfirm $(awk '{ print $1 }' "$here/packages/pacman.txt")
  fi
  if have packages/apk.txt; then
    echo "install with apk, from packages/apk.txt and $files/etc/apk/world"
  fi
  if have packages/flatpak.txt; then
    awk '{ print $1, $3 }' "$here/packages/flatpak.txt" | while read -r application origin; do
      inside flatpak install -y "$origin" "$application"
    done
  fi
}

step_units() {
  say "services and timers"
  top=${root%/}
  if [ -d "$files/etc/systemd/system" ]; then
    run mkdir -p "$top/etc/systemd/system"
    run cp -a "$files/etc/systemd/system/." "$top/etc/systemd/system/"
  fi
  if have units/enabled.txt; then
    while read -r unit _; do
      case $unit in *@.*) continue ;; esac
      run systemctl --root="$root" enable "$unit" || echo "not enabled: $unit"
    done < "$here/units/enabled.txt"
  fi
  if have units/masked.txt; then
    while read -r unit _; do
      run systemctl --root="$root" mask "$unit" || echo "not masked: $unit"
    done < "$here/units/masked.txt"
  fi
}

step_crontabs() {
  say "crontabs"
  top=${root%/}
  for part in var/spool/cron etc/cron.d; do
    [ -d "$files/$part" ] || continue
    run mkdir -p "$top/$part"
    run cp -a "$files/$part/." "$top/$part/"
  done
  [ ! -f "$files/etc/crontab" ] || run cp -a "$files/etc/crontab" "$top/etc/crontab"
}

step_partitions() {
  say "disks as they were"
  ! have partitions/lsblk.txt || cat "$here/partitions/lsblk.txt"
  if [ -z "$disk" ]; then
    echo "Partition tables that were kept:"
    ls "$here/partitions/" | grep '\.sfdisk$' || echo "none"
    echo "Write one with: sh rebuild.sh --disk /dev/NEW partitions   (the first table; all on the disk is lost)"
  else
    [ -b "$disk" ] || [ -f "$disk" ] || fail "$disk is no disk"
    table=
    for candidate in "$here/partitions/$(basename "$disk").sfdisk" "$here"/partitions/*.sfdisk; do
      if [ -s "$candidate" ]; then table=$candidate; break; fi
    done
    [ -n "$table" ] || fail "no partition table was kept"
    echo "table: $table"
    if [ "$dry" = yes ]; then echo "would run: sfdisk $disk < $table"; else sfdisk "$disk" < "$table"; fi
  fi
  if have partitions/mdadm.txt; then
    echo "RAID arrays (make them with mdadm --create, the same level and devices):"
    cat "$here/partitions/mdadm.txt"
  fi
  for group in "$here"/partitions/*.vgcfg; do
    [ -s "$group" ] || continue
    name=$(basename "$group" .vgcfg)
    echo "volume group $name: pvcreate --uuid ... --restorefile $group DEVICE; vgcfgrestore -f $group $name; vgchange -ay $name"
  done
  for volume in "$here"/partitions/*.luks.txt; do
    [ -s "$volume" ] || continue
    echo "encrypted volume $(basename "$volume" .luks.txt): see $volume"
  done
  [ ! -f "$files/etc/fstab" ] || { echo "file systems:"; grep -v '^#' "$files/etc/fstab" || true; }
}

step_boot() {
  say "boot"
  ! have boot/kernel.txt || echo "kernel: $(cat "$here/boot/kernel.txt")"
  ! have boot/cmdline.txt || echo "command line: $(cat "$here/boot/cmdline.txt")"
  ! have boot/efi.txt || cat "$here/boot/efi.txt"
  echo "After the packages are installed, inside the new system: update-initramfs -u -k all; grub-install DISK; update-grub"
}

step_network() {
  say "network as it was"
  for list in addresses.json routes.json nft.txt iptables.txt; do
    if have "network/$list"; then echo "-- $list"; cat "$here/network/$list"; echo; fi
  done
  echo "Settings are in $files/etc (network, netplan, NetworkManager, systemd/network): compare the names of the devices."
}

[ $# -gt 0 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2; }
steps=
while [ $# -gt 0 ]; do
  case $1 in
    -n) dry=yes ;;
    --root | --files | --disk)
      [ $# -gt 1 ] || fail "$1 needs a value"
      case $1 in --root) root=$2 ;; --files) files=$2 ;; --disk) disk=$2 ;; esac
      shift ;;
    all) steps="$steps users packages units crontabs" ;;
    users | packages | units | crontabs | partitions | boot | network) steps="$steps $1" ;;
    *) fail "there is no step $1" ;;
  esac
  shift
done
[ -d "$root" ] || fail "$root is no folder"
for step in $steps; do
  case " @STEPS@ " in
    *" $step "*) "step_$step" ;;
    *) echo "== $step was not kept" ;;
  esac
done
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_machine_is_no_shell() {
        let script = script("atlas\"; rm -rf /\n$(x)`y`", &Part::ALL);
        assert!(script.contains("# How to build \"atlas rm -rf xy\" again."));
    }
}
