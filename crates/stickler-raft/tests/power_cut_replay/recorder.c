/*
 * A preloaded library that writes down what a process does to the files below a folder, in the order in which
 * it was done, each write with its bytes.
 *
 * One lock is held around every operation together with its record, so the order of records is the order of
 * execution. It is held around a sync, too: what is recorded before a sync was done before it began, and what
 * another thread writes meanwhile waits, as if it had come a moment later. A process that this library kills dies
 * with the lock held, so that nothing is done that isn't recorded.
 *
 * An operation that it does not know, it refuses with an abort: a recording is whole or there is none.
 *
 * A record is: kind (1 byte), inode (8), offset (8), length of what follows (4), all little endian; then bytes:
 *
 *   K  the folder has this file, when the process starts        path
 *   D  the folder has this directory, when the process starts   path, empty for the folder itself
 *   c  file created                                             path
 *   d  directory made                                           path
 *   w  bytes written at an offset                               the bytes
 *   t  file cut or extended to a length, the offset             -
 *   r  renamed                                                  old path, a zero byte, new path
 *   u  file removed                                             path
 *   x  directory removed                                        path
 *   f  fsync is done                                            -
 *   s  fdatasync is done                                        -
 *   p  sync_file_range is done: it promises nothing             -
 *   m  what the process wrote to the file of its marks          the bytes
 *
 * Paths are relative to the folder.
 *
 *   RECORDER_ROOT        the folder, an absolute path
 *   RECORDER_JOURNAL     the file of the records; they are appended
 *   RECORDER_MARKS       what is written to this file becomes marks
 *   RECORDER_OPERATIONS  if set, the process is killed right after so many operations (c to s)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root;
static size_t root_length;
static const char *marks;
static int journal = -1;
static long operations_left = -1;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what, const char *path) {
    fprintf(stderr, "recorder: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

/* ---- records ---- */

struct __attribute__((packed)) header {
    char kind;
    uint64_t inode;
    uint64_t offset;
    uint32_t length;
};

static void record(char kind, uint64_t inode, uint64_t offset, const void *bytes, size_t length) {
    int error = errno;
    struct header header = {kind, inode, offset, (uint32_t)length};
    struct iovec pieces[] = {{&header, sizeof header}, {(void *)bytes, length}};
    /* A file takes all of it in one call, or the disk is full. */
    if (syscall(SYS_writev, journal, pieces, 2) != (ssize_t)(sizeof header + length)) give_up("write", "journal");
    if (strchr("KDmp", kind) == NULL && operations_left > 0 && --operations_left == 0) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = error;
}

static uint64_t inode_of(int descriptor) {
    struct stat found;
    if (fstat(descriptor, &found) != 0) give_up("fstat", "a file");
    return found.st_ino;
}

/* ---- what is below the folder ---- */

static int is_inside(const char *path) {
    return root != NULL && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static const char *relative(const char *path) { return path[root_length] == 0 ? "" : path + root_length + 1; }

static int path_of(int descriptor, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int is_open_inside(int descriptor) {
    int error = errno;
    char path[PATH_MAX];
    int inside = root != NULL && path_of(descriptor, path) && is_inside(path);
    errno = error;
    return inside;
}

/* The path that a call with a directory's descriptor means. */
static int resolve(int directory, const char *path, char resolved[PATH_MAX]) {
    char base[PATH_MAX];
    if (root == NULL) return 0;
    if (path[0] == '/' || directory == AT_FDCWD) return snprintf(resolved, PATH_MAX, "%s", path) < PATH_MAX;
    return path_of(directory, base) && snprintf(resolved, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static void refuse(const char *operation, int inside) {
    if (!inside) return;
    fprintf(stderr, "recorder: the recording has no %s; teach it what a power cut leaves of one\n", operation);
    abort();
}

static void record_found(const char *path) {
    struct stat found;
    if (stat(path, &found) != 0) give_up("stat", path);
    const char *name = relative(path);
    record(S_ISDIR(found.st_mode) ? 'D' : 'K', found.st_ino, 0, name, strlen(name));
    if (!S_ISDIR(found.st_mode)) return;
    DIR *directory = opendir(path);
    if (directory == NULL) give_up("opendir", path);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char child[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child) abort();
        record_found(child);
    }
    closedir(directory);
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("RECORDER_ROOT"), *path = getenv("RECORDER_JOURNAL");
    const char *operations = getenv("RECORDER_OPERATIONS");
    if (folder == NULL || path == NULL) return;
    marks = getenv("RECORDER_MARKS");
    if (operations != NULL) operations_left = atol(operations);
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) give_up("open", path);
    root = folder;
    root_length = strlen(root);
    record_found(root);
}

/* ---- names ---- */

static int open_file(int directory, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || !resolve(directory, path, full) || !is_inside(full))
        return (int)syscall(SYS_openat, directory, path, flags, mode);
    pthread_mutex_lock(&recording);
    struct stat before;
    int existed = stat(full, &before) == 0;
    int descriptor = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (descriptor >= 0 && !existed) record('c', inode_of(descriptor), 0, relative(full), strlen(relative(full)));
    if (descriptor >= 0 && existed && (flags & O_TRUNC)) record('t', inode_of(descriptor), 0, NULL, 0);
    pthread_mutex_unlock(&recording);
    return descriptor;
}

static mode_t mode_in(int flags, va_list arguments) { return flags & O_CREAT ? va_arg(arguments, mode_t) : 0; }

#define OPEN(name, directory, ...)                                   \
    int name(__VA_ARGS__, int flags, ...) {                          \
        va_list arguments;                                           \
        va_start(arguments, flags);                                  \
        mode_t mode = mode_in(flags, arguments);                     \
        va_end(arguments);                                           \
        return open_file(directory, path, flags, mode);              \
    }
OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, directory, int directory, const char *path)
OPEN(openat64, directory, int directory, const char *path)

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&recording);
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    struct stat made;
    if (done == 0 && is_inside(path)) {
        if (stat(path, &made) != 0) give_up("stat", path);
        record('d', made.st_ino, 0, relative(path), strlen(relative(path)));
    }
    pthread_mutex_unlock(&recording);
    return done;
}

int unlinkat(int directory, const char *path, int flags) {
    char full[PATH_MAX];
    pthread_mutex_lock(&recording);
    int inside = resolve(directory, path, full) && is_inside(full);
    int done = (int)syscall(SYS_unlinkat, directory, path, flags);
    if (done == 0 && inside) record(flags & AT_REMOVEDIR ? 'x' : 'u', 0, 0, relative(full), strlen(relative(full)));
    pthread_mutex_unlock(&recording);
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int rename(const char *from, const char *to) {
    char both[2 * PATH_MAX];
    pthread_mutex_lock(&recording);
    int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0 && (is_inside(from) || is_inside(to))) {
        refuse("rename into or out of the folder", !is_inside(from) || !is_inside(to));
        int length = snprintf(both, sizeof both, "%s%c%s", relative(from), 0, relative(to));
        record('r', 0, 0, both, (size_t)length);
    }
    pthread_mutex_unlock(&recording);
    return done;
}

/* ---- content ---- */

static void record_pieces(int descriptor, uint64_t offset, const struct iovec *pieces, ssize_t written) {
    uint64_t inode = inode_of(descriptor);
    for (; written > 0; pieces++) {
        size_t length = pieces->iov_len < (size_t)written ? pieces->iov_len : (size_t)written;
        if (length > 0) record('w', inode, offset, pieces->iov_base, length);
        offset += length;
        written -= (ssize_t)length;
    }
}

ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    if (!is_open_inside(descriptor)) return syscall(SYS_writev, descriptor, pieces, count);
    pthread_mutex_lock(&recording);
    ssize_t written = syscall(SYS_writev, descriptor, pieces, count);
    if (written > 0) record_pieces(descriptor, (uint64_t)(lseek(descriptor, 0, SEEK_CUR) - written), pieces, written);
    pthread_mutex_unlock(&recording);
    return written;
}

static int is_for_marks(int descriptor) {
    char path[PATH_MAX];
    return marks != NULL && path_of(descriptor, path) && strcmp(path, marks) == 0;
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    if (root != NULL && is_for_marks(descriptor)) {
        pthread_mutex_lock(&recording);
        record('m', 0, 0, bytes, length);
        pthread_mutex_unlock(&recording);
        return (ssize_t)length;
    }
    if (!is_open_inside(descriptor)) return syscall(SYS_write, descriptor, bytes, length);
    struct iovec piece = {(void *)bytes, length};
    return writev(descriptor, &piece, 1);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
    if (!is_open_inside(descriptor)) return syscall(SYS_pwrite64, descriptor, bytes, length, offset);
    struct iovec piece = {(void *)bytes, length};
    pthread_mutex_lock(&recording);
    ssize_t written = syscall(SYS_pwrite64, descriptor, bytes, length, offset);
    if (written > 0) record_pieces(descriptor, (uint64_t)offset, &piece, written);
    pthread_mutex_unlock(&recording);
    return written;
}
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    return pwrite64(descriptor, bytes, length, offset);
}

int ftruncate64(int descriptor, off_t length) {
    pthread_mutex_lock(&recording);
    int done = (int)syscall(SYS_ftruncate, descriptor, length);
    if (done == 0 && is_open_inside(descriptor)) record('t', inode_of(descriptor), (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&recording);
    return done;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

/* ---- syncs ---- */

static int sync_with(long call, char kind, int descriptor) {
    pthread_mutex_lock(&recording);
    int done = (int)syscall(call, descriptor);
    if (done == 0 && is_open_inside(descriptor)) record(kind, inode_of(descriptor), 0, NULL, 0);
    pthread_mutex_unlock(&recording);
    return done;
}
int fsync(int descriptor) { return sync_with(SYS_fsync, 'f', descriptor); }
int fdatasync(int descriptor) { return sync_with(SYS_fdatasync, 's', descriptor); }

int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned flags) {
    pthread_mutex_lock(&recording);
    int done = (int)syscall(SYS_sync_file_range, descriptor, offset, length, flags);
    if (done == 0 && is_open_inside(descriptor)) record('p', inode_of(descriptor), (uint64_t)offset, NULL, 0);
    pthread_mutex_unlock(&recording);
    return done;
}

/* ---- what the recording does not know ---- */

ssize_t pwritev64(int descriptor, const struct iovec *pieces, int count, off64_t offset) {
    refuse("pwritev", is_open_inside(descriptor));
    return syscall(SYS_pwritev, descriptor, pieces, count, offset, offset >> 32);
}
ssize_t pwritev(int descriptor, const struct iovec *pieces, int count, off_t offset) {
    return pwritev64(descriptor, pieces, count, offset);
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
    refuse("fallocate", is_open_inside(descriptor));
    return (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
}
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return fallocate64(descriptor, mode, offset, length);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    char full[PATH_MAX];
    refuse("link", resolve(to_directory, to, full) && is_inside(full));
    return (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int symlink(const char *target, const char *path) {
    refuse("symlink", is_inside(path));
    return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned flags) {
    refuse("copy_file_range", is_open_inside(to));
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, length, flags);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    int writes = descriptor >= 0 && (protection & PROT_WRITE) && !(flags & MAP_PRIVATE);
    refuse("writing through mmap", writes && is_open_inside(descriptor));
    return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}
void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    return mmap64(address, length, protection, flags, descriptor, offset);
}
