#!/bin/sh
# A whole Debian system - kernel, packages, a service of its own - is backed up, brought back by `lifeboat recover` onto an
# empty disk, started in an emulated machine, and asked whether it is the same: its service answers on a port, and
# `dpkg --verify` finds nothing.
#
# Usage: [LIFEBOAT=PROGRAM] [KEEP=yes] sh bare-machine.sh FOLDER
#   FOLDER is new, and gets about 1.5 GB. It is removed again unless KEEP is set.
# Needs root, Linux, and (Debian): debootstrap qemu-system-x86 fdisk e2fsprogs dosfstools mtools python3; with ovmf it is also started by UEFI.
# The only thing that comes from outside are Debian's packages.
set -eu

folder=${1:?name a folder that is made for this}
lifeboat=${LIFEBOAT:-lifeboat}
port=${PORT:-8461}
mirror=${MIRROR:-http://deb.debian.org/debian}
# The first network card of the emulated machine.
card=${CARD:-ens3}

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
begin() { started=$(date +%s); }
took() { printf 'took %s s: %s\n' "$(($(date +%s) - started))" "$*"; }

[ "$(id -u)" = 0 ] || fail "this needs root"
[ ! -e "$folder" ] || fail "$folder is there already"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root
machine=
tidy() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  for inner in mnt/repo dev sys proc; do umount "$root/$inner" 2>/dev/null || true; done
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$folder"
}
trap tidy EXIT
trap 'exit 1' INT TERM

say "a Debian system in a folder"
begin
if [ -n "${SYSTEM:-}" ]; then
  cp -a "$SYSTEM" "$root"
else
  debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,udev,dbus,iproute2,initramfs-tools,kmod,busybox,zstd,linux-image-cloud-amd64,grub-pc-bin,grub-efi-amd64-bin,grub2-common \
    bookworm "$root" "$mirror" > "$folder/debootstrap.log" 2>&1 || { tail -5 "$folder/debootstrap.log"; fail debootstrap; }
fi
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
uuid=$(cat /proc/sys/kernel/random/uuid)
echo atlas > "$root/etc/hostname"
echo "UUID=$uuid / ext4 errors=remount-ro 0 1" > "$root/etc/fstab"
echo 'GRUB_CMDLINE_LINUX="console=ttyS0"' > "$root/etc/default/grub"
mkdir -p "$root/etc/systemd/network" "$root/srv/answer"
printf '[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n' > "$root/etc/systemd/network/lan.network"
echo "$token" > "$root/srv/answer/index.html"
cat > "$root/etc/systemd/system/answer.service" <<'UNIT'
[Unit]
Description=Answers on a port, and tells whether all packages are as they should be
[Service]
ExecStartPre=/bin/sh -c 'rm -f /srv/answer/verify.txt'
ExecStart=/bin/busybox httpd -f -p 80 -h /srv/answer
ExecStartPost=/bin/sh -c '(dpkg --verify; echo "dpkg ended with $?") > /run/verify 2>&1; mv /run/verify /srv/answer/verify.txt'
TimeoutStartSec=900
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl enable systemd-networkd answer > /dev/null 2>&1
[ -z "$(chroot "$root" dpkg --verify)" ] || fail "the system is not right from the start"
took "$(du -sm "$root" | cut -f1) MB, $(find "$root" -xdev | wc -l) files and folders"

say "backed up from inside"
cp "$(command -v "$lifeboat")" "$root/usr/local/bin/lifeboat"
mkdir -p "$root/etc/lifeboat" "$root/mnt/repo" "$folder/repo"
cat > "$root/etc/lifeboat/lifeboat.toml" <<'CONFIG'
[machine]
name = "atlas"
[repositories.disk]
url = "/mnt/repo/atlas"
offsite = true
[sources.machine]
paths = ["/"]
one_file_system = true
exclude = ["/tmp/*", "/var/tmp/*", "/run/*", "/mnt/*", "/var/cache/apt/archives/*.deb"]
[sources.system]
type = "system"
[jobs.daily]
sources = ["machine", "system"]
to = ["disk"]
schedule = "daily"
CONFIG
mount --bind "$folder/repo" "$root/mnt/repo"
for inner in proc sys dev; do mount --rbind "/$inner" "$root/$inner"; mount --make-rslave "$root/$inner"; done
inside() { chroot "$root" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
begin
inside lifeboat init -q -r disk --recovery-key-file /mnt/repo/recovery-key
inside lifeboat run daily
inside lifeboat plan -q --text /mnt/repo/plan.txt
for inner in dev sys proc mnt/repo; do umount -R "$root/$inner"; done
took "the repository has $(du -sm "$folder/repo" | cut -f1) MB"
grep -q -- '--system --disk' "$folder/repo/plan.txt" || fail "the recovery plan does not tell of it"
rm -rf --one-file-system "$root"

say "the machine is gone; what is left is the repository and its key. An empty disk:"
mkdir "$folder/home"
truncate -s 1600M "$folder/disk.img"
recover() {
  env -i HOME="$folder/home" PATH="/usr/sbin:/usr/bin:/sbin:/bin" "$(command -v "$lifeboat")" recover "$folder/repo/atlas" \
    --recovery-key="$folder/repo/recovery-key" --system --disk "$folder/disk.img" --mount "$folder/mounted" --network-name "eth0=$card" "$@"
}
recover --dry-run
begin
recover --yes
took "partitions, file systems, files and what starts them"

say "the disk as it is now"
sfdisk --list "$folder/disk.img" | sed -n '/^Device/,$p'
efi=$(sfdisk --json "$folder/disk.img" | tr -d ' \n' | sed 's/.*"start":\([0-9]*\),"size":\([0-9]*\),"type":"C12A7328-F81F-11D2-BA4B-00A0C93EC93B".*/\1 \2/')
mdir -/ -b -i "$folder/disk.img@@$((${efi% *} * 512))" ::
mcopy -i "$folder/disk.img@@$((${efi% *} * 512))" ::/EFI/BOOT/BOOTX64.EFI "$folder/BOOTX64.EFI"
[ "$(head -c 2 "$folder/BOOTX64.EFI")" = MZ ] || fail "what UEFI starts is no program"

get() {
  # One request, without any client that might be missing here.
  python3 - "$port" "$1" <<'PYTHON' 2>/dev/null || true
import sys, urllib.request
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/{sys.argv[2]}", timeout=5).read().decode(), end="")
PYTHON
}
start() {
  what=$1; shift
  say "started by $what, in software"
  begin
  qemu-system-x86_64 -machine pc,accel=tcg -m 768 -smp 2 -drive "file=$folder/disk.img,format=raw,if=virtio,snapshot=on" \
    -netdev "user,id=n,hostfwd=tcp:127.0.0.1:$port-:80" -device virtio-net-pci,netdev=n,addr=3 \
    -display none -serial "file:$folder/serial.log" -monitor none -no-reboot "$@" &
  machine=$!
  until [ "$(get index.html)" = "$token" ]; do
    [ "$(($(date +%s) - started))" -lt 900 ] || { tail -30 "$folder/serial.log"; fail "the service does not answer"; }
    kill -0 "$machine" 2>/dev/null || { tail -30 "$folder/serial.log"; fail "the machine ended"; }
    sleep 2
  done
  took "until its service answered on port $port with what it was told"
}
stop() { kill "$machine"; wait "$machine" 2>/dev/null || true; machine=; }

start "a BIOS"
begin
until verified=$(get verify.txt); [ -n "$verified" ]; do
  [ "$(($(date +%s) - started))" -lt 1200 ] || fail "dpkg --verify does not end"
  sleep 5
done
[ "$verified" = "dpkg ended with 0" ] || { echo "$verified"; fail "dpkg --verify found something"; }
took "dpkg --verify, inside the machine, found nothing"
stop
if [ -f /usr/share/ovmf/OVMF.fd ]; then
  start "UEFI" -bios /usr/share/ovmf/OVMF.fd
  stop
else
  echo "not started by UEFI: ovmf is not installed"
fi
say "The machine is back."
