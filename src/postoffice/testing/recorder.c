/* Recorder of what a process asks of the disk, loaded by LD_PRELOAD; `testing/disk.py` compiles it and reads its log.
 *
 * Logged for files below $RECORD_DIRECTORY, to $RECORD_LOG in append mode, so that all processes share one order:
 * writes and truncations after the call, creations, renames and unlinks after the call, syncs at begin and end.
 * Not seen: mmap, sendfile, copy_file_range, fallocate. The store uses none of them for what must last.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNCED_WRITE, TRUNCATE, CREATE, RENAME, UNLINK, SYNC_BEGIN, SYNC_END };
struct head { uint32_t kind, thread; uint64_t inode, offset; uint32_t path_size, data_size; };

static char root[PATH_MAX];
static size_t root_size;
static int log_fd = -1;

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("RECORD_DIRECTORY"), *log = getenv("RECORD_LOG");
    if (!directory || !log) return;
    root_size = strlen(strncpy(root, directory, sizeof root - 1));
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note(int kind, uint64_t inode, uint64_t offset, const char *path, size_t path_size,
                 const struct iovec *data, int count, size_t size) {
    struct head head = {kind, (uint32_t)syscall(SYS_gettid), inode, offset, path_size, size};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, path_size}, {NULL, 0}};
    char *joined = size ? malloc(size) : NULL;
    size_t filled = 0;
    for (int i = 0; i < count && filled < size; i++) {
        size_t part = data[i].iov_len < size - filled ? data[i].iov_len : size - filled;
        memcpy(joined + filled, data[i].iov_base, part);
        filled += part;
    }
    parts[2] = (struct iovec){joined, size};
    if (syscall(SYS_writev, log_fd, parts, 3) < 0) abort();
    free(joined);
}

/* The file's path below the root and its inode; 0 when it lies elsewhere. */
static int find(int fd, char *path, uint64_t *inode) {
    char link[64];
    struct stat st;
    if (log_fd < 0 || fd == log_fd) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    if (strncmp(path, root, root_size) || fstat(fd, &st)) return 0;
    *inode = st.st_ino;
    return 1;
}

static void note_write(int kind, int fd, const struct iovec *data, int count, ssize_t size, int64_t offset) {
    char path[PATH_MAX];
    uint64_t inode;
    int saved = errno;
    if (size > 0 && find(fd, path, &inode)) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - size;
        note(kind, inode, offset, path, strlen(path), data, count, size);
    }
    errno = saved;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    ssize_t done = real(fd, data, size);
    note_write(WRITE, fd, &(struct iovec){(void *)data, size}, 1, done, -1);
    return done;
}
#define PWRITE(name, type) ssize_t name(int fd, const void *data, size_t size, type offset) { \
    REAL(name); \
    ssize_t done = real(fd, data, size, offset); \
    note_write(WRITE, fd, &(struct iovec){(void *)data, size}, 1, done, offset); \
    return done; }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#define PWRITEV(name, type) ssize_t name(int fd, const struct iovec *data, int count, type offset) { \
    REAL(name); \
    ssize_t done = real(fd, data, count, offset); \
    note_write(WRITE, fd, data, count, done, offset); \
    return done; }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
#define PWRITEV2(name, type) ssize_t name(int fd, const struct iovec *data, int count, type offset, int flags) { \
    REAL(name); \
    ssize_t done = real(fd, data, count, offset, flags); \
    note_write(flags & (RWF_DSYNC | RWF_SYNC) ? SYNCED_WRITE : WRITE, fd, data, count, done, offset); \
    return done; }
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

#define TRUNC(name, type) int name(int fd, type size) { \
    REAL(name); \
    char path[PATH_MAX]; uint64_t inode; \
    int done = real(fd, size), saved = errno; \
    if (!done && find(fd, path, &inode)) note(TRUNCATE, inode, size, path, strlen(path), NULL, 0, 0); \
    errno = saved; \
    return done; }
TRUNC(ftruncate, off_t)
TRUNC(ftruncate64, off64_t)

#define SYNC(name) int name(int fd) { \
    REAL(name); \
    char path[PATH_MAX]; uint64_t inode; \
    int ours = find(fd, path, &inode); \
    if (ours) note(SYNC_BEGIN, inode, 0, path, strlen(path), NULL, 0, 0); \
    int done = real(fd), saved = errno; \
    if (ours && !done) note(SYNC_END, inode, 0, path, strlen(path), NULL, 0, 0); \
    errno = saved; \
    return done; }
SYNC(fsync)
SYNC(fdatasync)

static int open_noted(int directory, const char *name, int flags, mode_t mode) {
    struct stat st;
    char path[PATH_MAX];
    uint64_t inode;
    int created = (flags & O_CREAT) && log_fd >= 0 && fstatat(directory, name, &st, 0) != 0;
    int fd = syscall(SYS_openat, directory, name, flags, mode), saved = errno;
    if (fd >= 0 && log_fd >= 0) {
        if (created && find(fd, path, &inode)) note(CREATE, inode, 0, path, strlen(path), NULL, 0, 0);
        else if ((flags & O_TRUNC) && find(fd, path, &inode))
            note(TRUNCATE, inode, 0, path, strlen(path), NULL, 0, 0);
    }
    errno = saved;
    return fd;
}
#define MODE(flags) mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags) return open_noted(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_noted(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return open_noted(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return open_noted(at, name, flags | O_LARGEFILE, mode); }

int unlink(const char *name) {
    REAL(unlink);
    int done = real(name), saved = errno;
    if (!done && log_fd >= 0 && !strncmp(name, root, root_size)) note(UNLINK, 0, 0, name, strlen(name), NULL, 0, 0);
    errno = saved;
    return done;
}
int rename(const char *from, const char *to) {
    REAL(rename);
    int done = real(from, to), saved = errno;
    if (!done && log_fd >= 0 && !strncmp(from, root, root_size))
        note(RENAME, 0, 0, from, strlen(from), &(struct iovec){(void *)to, strlen(to)}, 1, strlen(to));
    errno = saved;
    return done;
}
int mkdir(const char *name, mode_t mode) {
    REAL(mkdir);
    struct stat st;
    int done = real(name, mode), saved = errno;
    if (!done && log_fd >= 0 && !strncmp(name, root, root_size) && !stat(name, &st))
        note(CREATE, st.st_ino, 1, name, strlen(name), NULL, 0, 0);
    errno = saved;
    return done;
}
