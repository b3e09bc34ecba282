"""Prints everything about a tree that can be seen, one line per entry: compare.py FOLDER. Shares no code with the crate."""
import fcntl, hashlib, os, stat, struct, subprocess, sys

top = os.fsencode(sys.argv[1])
first = {}

def flags(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME)
    except OSError as error:
        return error.strerror
    try:
        # What somebody set; how the file system stores the file is its own matter.
        bits = struct.unpack("I", fcntl.ioctl(fd, 0x80086601, b"\0\0\0\0"))[0] & ~0x80000 & ~0x10000000
        project = struct.unpack("5I8x", fcntl.ioctl(fd, 0x801C581F, b"\0" * 28))[3]
        return f"{bits:#x}/{project}"
    except OSError as error:
        return error.strerror
    finally:
        os.close(fd)

def contents(path, size):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]

def show(path, name):
    s = os.lstat(path)
    parts = [ascii(name), oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns]
    if not stat.S_ISDIR(s.st_mode):
        parts += [s.st_nlink, s.st_size, ascii(first.setdefault((s.st_dev, s.st_ino), name))]
    if stat.S_ISREG(s.st_mode):
        parts += [contents(path, s.st_size), "sparse" if s.st_blocks * 512 < s.st_size else "dense", flags(path)]
    if stat.S_ISDIR(s.st_mode):
        parts += [flags(path)]
    if stat.S_ISLNK(s.st_mode):
        parts += [ascii(os.readlink(path))]
    if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
        parts += [s.st_rdev]
    for key in sorted(os.listxattr(path, follow_symlinks=False)):
        parts.append(f"{key}={os.getxattr(path, key, follow_symlinks=False).hex()}")
    print(*parts)
    if stat.S_ISDIR(s.st_mode):
        for child in sorted(os.listdir(path)):
            show(os.path.join(path, child), os.path.join(name, child))

# Some file systems allocate blocks only when they write them.
subprocess.run(["sync", "-f", top], check=True)
for child in sorted(os.listdir(top)):
    show(os.path.join(top, child), child)
