#!/bin/sh
# Five disasters, and the way back from each. A demonstration, and a test: it stops with an error when anything
# that comes back differs from what was there.
#
#   docs/guide/five-disasters.sh      (or: LIFEBOAT=path/to/lifeboat docs/guide/five-disasters.sh)
#
# It runs the program in $LIFEBOAT, or the one built in this checkout, or the installed one, and touches nothing
# outside a scratch folder, which it removes.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${LIFEBOAT:-}" ]; then
    LIFEBOAT=lifeboat
    for built in release debug; do
        [ -x "$here/target/$built/lifeboat" ] && LIFEBOAT="$here/target/$built/lifeboat" && break
    done
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
cd "$scratch"
scratch=$(pwd -P)
export HOME="$scratch/home-of-the-program" TZ=UTC
unset LIFEBOAT_REPOSITORY LIFEBOAT_PASSWORD LIFEBOAT_PASSWORD_FILE LIFEBOAT_PASSWORD_COMMAND LIFEBOAT_KEY_FILE
mkdir "$HOME"

say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

# lifeboat REPOSITORY ARGUMENT...: with the password, and without anything remembered from earlier runs
lifeboat() {
    repo=$1
    shift
    "$LIFEBOAT" -q --no-cache -r "$repo" --password-file "$scratch/password" "$@"
}

# same FOLDER FOLDER: the same files with the same contents
same() {
    diff -r --no-dereference "$1" "$2" >"$scratch/differences" || {
        cat "$scratch/differences" >&2
        fail "$2 is not what it was"
    }
    say "   Compared, byte for byte: identical."
}

# flip FILE OFFSET: turns every bit of one byte
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059
    printf "\\$(printf %03o $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>"$scratch/dd"
}

# length FILE: its bytes
length() { wc -c <"$1" | tr -d ' '; }

make_documents() {
    mkdir -p documents/letters/2025 documents/photos
    i=0
    while [ $i -lt 40 ]; do
        say "letter $i, about the sea" >"documents/letters/2025/letter $i.txt"
        i=$((i + 1))
    done
    dd if=/dev/urandom of=documents/photos/harbour.raw bs=65536 count=32 2>"$scratch/dd"
    : >documents/empty
    ln "documents/letters/2025/letter 1.txt" documents/the-same-letter
    ln -s letters/2025 documents/newest
    cp -a documents original
}

say "A folder with letters and photos is backed up; a recovery key is written down."
say "a password nobody guesses" >password
make_documents
lifeboat repo init --argon-memory 64 --recovery-key-file "$scratch/recovery-key" 2>"$scratch/said"
lifeboat repo backup --tag before "$scratch/documents"
say

say "1. Files are deleted by mistake."
rm -r documents/letters documents/photos/harbour.raw documents/newest
say "   All letters and a photo are gone. Restoring them to where they were."
lifeboat repo restore "latest:$scratch/documents" --target "$scratch/documents"
same original documents
say

say "2. The disk that holds the repository rots."
cp -a repo rotten
flipped=0
for object in rotten/config rotten/keys/* rotten/index/* rotten/snapshots/* rotten/trees/*/* rotten/mirror/config; do
    flip "$object" $(($(length "$object") / 3))
    flipped=$((flipped + 1))
done
say "   One byte of each of $flipped objects is wrong now. Parity repairs them while they are read."
lifeboat rotten snapshots --json | grep -q '"before"' || fail "the snapshot is not listed"
lifeboat rotten restore "latest:$scratch/documents" --target "$scratch/back-2a"
same original back-2a
for object in rotten/config rotten/snapshots/*; do
    say "nothing but rubbish" >"$object"
done
say "   Now the configuration and the snapshot record are overwritten. Their mirrors take over."
lifeboat rotten restore "latest:$scratch/documents" --target "$scratch/back-2b"
same original back-2b
if lifeboat rotten check >"$scratch/said" 2>&1; then
    fail "check found nothing wrong in the rotten repository"
fi
say "   And \`lifeboat check\` reports the damage."
say

say "3. Ransomware encrypts the documents, and the next backup saves them like that."
find documents -type f ! -name '*.locked' >"$scratch/victims"
while IFS= read -r victim; do
    dd if=/dev/urandom of="$victim" bs=1024 count=2 2>"$scratch/dd"
    mv "$victim" "$victim.locked"
done <"$scratch/victims"
lifeboat repo backup --tag encrypted "$scratch/documents"
say "   The newest snapshot is worthless. The one before it is not."
lifeboat repo restore "latest~1:$scratch/documents" --target "$scratch/back-3"
same original back-3
lifeboat repo restore "latest:$scratch/documents" --target "$scratch/back-3-locked"
same documents back-3-locked
say

say "4. Objects of the repository are lost: the configuration and the first index segment."
cp -a repo holes
rm holes/config
for segment in holes/index/*; do
    rm "$segment"
    break
done
say "   The mirror of the configuration is read, and the packs tell what is in them."
lifeboat holes restore --tag before "latest:$scratch/documents" --target "$scratch/back-4"
same original back-4
say

say "5. The password is forgotten."
rm password
say "   The recovery key, printed on the first day, opens the repository as well."
"$LIFEBOAT" -q --no-cache -r repo --recovery-key="$scratch/recovery-key" \
    restore --tag before "latest:$scratch/documents" --target "$scratch/back-5"
same original back-5
say
say "Everything came back."
