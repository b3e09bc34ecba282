"""Makes a tree with everything a Linux file system can hold: torture.py FOLDER. Needs root.

What this file system does not know is left out; the last line printed is the number of things left out."""
import errno, fcntl, os, socket, stat, struct, sys

top = os.fsencode(sys.argv[1])
os.chdir(top)
os.umask(0o022)

def touch(name, data=b"", mode=0o644):
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    os.write(fd, data)
    os.close(fd)

left_out = 0

def attempt(action):
    global left_out
    try:
        action()
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        left_out += 1

def setxattr(name, key, value, **options):
    attempt(lambda: os.setxattr(name, key, value, **options))

def flags(name, wanted):
    attempt(lambda: set_flags(name, wanted))

def set_flags(name, wanted):
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        now = struct.unpack("I", fcntl.ioctl(fd, 0x80086601, b"\0\0\0\0"))[0]
        fcntl.ioctl(fd, 0x40086602, struct.pack("I", now | wanted))
    finally:
        os.close(fd)

def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)

NONE = 0xFFFFFFFF
os.mkdir("names")
for byte in range(1, 256):
    if byte not in (0x2F, 0x2E):
        touch(b"names/" + bytes([byte]), bytes([byte]))
for name in [b"x" * 255, b"-rf", b" lead", b"trail. ", b"nfc\xc3\xa9", b"nfde\xcc\x81", b"Case", b"case", b"\xff\xfe", b"CON",
             b"a\nb", b"\x1b[31mred", b"..."]:
    touch(b"names/" + name)

os.mkdir("modes")
for mode in (0o000, 0o400, 0o644, 0o664, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777):
    touch(f"modes/{mode:o}")
    os.chmod(f"modes/{mode:o}", mode)
    os.mkdir(f"modes/d{mode:o}")
    os.chmod(f"modes/d{mode:o}", mode)

os.mkdir("owners")
for uid, gid in ((0, 1), (1, 0), (1000, 1000), (2**21 + 5, 7), (2**32 - 2, 2**32 - 2)):
    touch(f"owners/{uid}")
    os.chown(f"owners/{uid}", uid, gid)
    os.symlink("nowhere", f"owners/l{uid}")
    os.lchown(f"owners/l{uid}", uid, gid)
    os.mkfifo(f"owners/p{uid}", 0o666)
    os.chown(f"owners/p{uid}", uid, gid)
    os.chmod(f"owners/p{uid}", 0o622)
touch("owners/suid")
os.chown("owners/suid", 1000, 1000)
os.chmod("owners/suid", 0o6755)

os.mkdir("links")
touch("links/a", b"shared")
os.link("links/a", "links/b")
os.symlink(b"\xff\xfe target with \n", "links/s1")
os.link("links/s1", "links/s2", follow_symlinks=False)
os.symlink(b"y" * 1000, "links/long")
attempt(lambda: os.symlink(b"y" * 4000, "links/longest"))
os.mkfifo("links/p1")
os.link("links/p1", "links/p2")
os.mknod("links/c1", 0o620 | stat.S_IFCHR, os.makedev(1, 3))
os.link("links/c1", "links/c2")
attempt(lambda: os.mknod("links/b0", 0o660 | stat.S_IFBLK, os.makedev(259, 1000000)))
os.mknod("links/b1", 0o660 | stat.S_IFBLK, os.makedev(8, 17))
sock = socket.socket(socket.AF_UNIX)
sock.bind("links/socket")

os.mkdir("xattrs")
touch("xattrs/file")
setxattr("xattrs/file", "user.empty", b"")
setxattr("xattrs/file", "user.binary", bytes(range(256)))
setxattr("xattrs/file", "user.big", b"v" * 3000)
touch("xattrs/many")
for i in range(60):
    setxattr("xattrs/many", f"user.attribute-{i:03}", str(i).encode())
touch("xattrs/trusted")
setxattr("xattrs/trusted", "trusted.secret", b"\0\1")
touch("xattrs/capable", b"program", 0o755)
setxattr("xattrs/capable", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
os.mkdir("xattrs/dir")
setxattr("xattrs/dir", "user.on-directory", b"d")
os.symlink("nowhere", "xattrs/link")
setxattr("xattrs/link", "trusted.on-link", b"l", follow_symlinks=False)
os.mkfifo("xattrs/pipe")
setxattr("xattrs/pipe", "trusted.on-pipe", b"p", follow_symlinks=False)
touch("xattrs/acl", mode=0o640)
setxattr("xattrs/acl", "system.posix_acl_access",
            acl((1, 6, NONE), (2, 7, 1234), (4, 4, NONE), (8, 5, 77), (16, 7, NONE), (32, 0, NONE)))
os.mkdir("xattrs/acl-dir")
touch("xattrs/acl-dir/made-before")
setxattr("xattrs/acl-dir", "system.posix_acl_default",
            acl((1, 7, NONE), (2, 7, 1234), (4, 5, NONE), (16, 7, NONE), (32, 5, NONE)))
touch("xattrs/acl-dir/inherits")
os.mkdir("xattrs/acl-dir/sub")

os.mkdir("flags")
for letter, flag in (("d", 0x40), ("A", 0x80), ("S", 0x8)):
    touch("flags/" + letter, b"x")
    flags("flags/" + letter, flag)
for letter, flag in (("c", 0x4), ("C", 0x800000)):
    touch("flags/" + letter)
    flags("flags/" + letter, flag)
    with open("flags/" + letter, "wb") as file:
        file.write(b"compressible " * 10000)
    os.mkdir("flags/dir" + letter)
    flags("flags/dir" + letter, flag)
    touch("flags/dir" + letter + "/inherits")
for letter, flag in (("T", 0x20000), ("D", 0x10000)):
    os.mkdir("flags/dir" + letter)
    flags("flags/dir" + letter, flag)
    touch("flags/dir" + letter + "/inside")
touch("flags/a", b"log")
setxattr("flags/a", "user.before", b"1")
touch("flags/i", b"immutable", 0o600)
os.utime("flags/i", ns=(5, 5))
flags("flags/a", 0x20)
flags("flags/i", 0x10)

def set_project(name, project):
    fd = os.open(name, os.O_RDONLY)
    try:
        now = list(struct.unpack("5I8x", fcntl.ioctl(fd, 0x801C581F, b"\0" * 28)))
        fcntl.ioctl(fd, 0x401C5820, struct.pack("5I8x", *now[:3], project, *now[4:]))
    finally:
        os.close(fd)

os.mkdir("project")
touch("project/file")
attempt(lambda: set_project("project/file", 1234567))
attempt(lambda: set_project("project", 77))
flags("project", 0x20000000)
touch("project/inherits")
os.mkdir("project/sub")

os.mkdir("times")
for i, ns in enumerate((-2147483648 * 10**9, -1, -1_500_000_001, 0, 1, 999_999_999, 2147483648 * 10**9,
                        4294967296 * 10**9 + 7, 9223372036 * 10**9, 10413792000 * 10**9, 15032385535 * 10**9)):
    touch(f"times/{i}")
    os.utime(f"times/{i}", ns=(0, ns))
    os.symlink("x", f"times/l{i}")
    os.utime(f"times/l{i}", ns=(0, ns), follow_symlinks=False)

os.mkdir("holes")
for name, size, pieces in (("three", 1 << 26, (0, 1 << 24, (1 << 26) - 1)), ("end", 1 << 20, (0,)), ("all", 1 << 24, ())):
    fd = os.open("holes/" + name, os.O_CREAT | os.O_WRONLY)
    os.truncate(fd, size)
    for at in pieces:
        os.pwrite(fd, b"!", at)
    os.close(fd)

os.mkdir("empty")
os.utime("empty", ns=(0, 123456789))
touch("empty-file")
print(left_out)
